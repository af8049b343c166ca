/**
 * Timestamps as text and in parts. A timestamp is milliseconds since 1970; all is in UTC.
 *
 * @module
 */

/** Reads `2024`, `2024-05`, `2024-05-06`, `2024-05-06 07:08:09.123Z` and the like; null when it cannot. */
export function parseTimestamp(text: string): number | null {
  const match = ISO.exec(text.trim());
  if (match === null) return null;
  const [, year, month, day, hour, minute, second, fraction, zone] = match;
  return instant({
    year: Number(year),
    month: Number(month ?? 1),
    day: Number(day ?? 1),
    hour: Number(hour ?? 0),
    minute: Number(minute ?? 0),
    second: Number(second ?? 0),
    millisecond: Number(`0.${fraction ?? 0}`) * 1000,
    offset: zone === undefined ? 0 : zoneOffset(zone),
  });
}

/** Spark's text of a timestamp: `2024-05-06 07:08:09.123`, the fraction only as far as it goes. */
export function formatTimestamp(timestamp: number): string {
  const whole = Math.floor(timestamp);
  const micros = Math.min(999, Math.round((timestamp - whole) * 1000));
  const date = new Date(whole);
  const fraction = `${pad(date.getUTCMilliseconds(), 3)}${pad(micros, 3)}`.replace(/0+$/, "");
  return `${pad(date.getUTCFullYear(), 4)}-${pad(date.getUTCMonth() + 1)}-` +
    `${pad(date.getUTCDate())} ${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}:` +
    `${pad(date.getUTCSeconds())}${fraction === "" ? "" : `.${fraction}`}`;
}

/**
 * A pattern of Spark's (and Java's): `yyyy MM dd HH hh mm ss SSS a X`, `MMM` and `EEE` for names, other
 * text between single quotes.
 */
export class TimestampPattern {
  readonly #parts: readonly Part[];
  readonly #regexp: RegExp;

  /** @throws {RangeError} naming a letter that is not supported */
  constructor(pattern: string) {
    this.#parts = splitPattern(pattern);
    this.#regexp = new RegExp(`^${this.#parts.map(partRegExp).join("")}$`, "i");
  }

  /** The timestamp that a text says, or null when it does not fit the pattern. */
  parse(text: string): number | null {
    const match = this.#regexp.exec(text);
    if (match === null) return null;
    const fields: Fields = { ...START };
    let afternoon: boolean | undefined;
    let group = 1;
    for (const part of this.#parts) {
      if ("literal" in part) continue;
      const found = match[group++]!;
      if (part.letter === "a") afternoon = found.toLowerCase() === "pm";
      else if (part.letter === "X") fields.offset = zoneOffset(found);
      else if (part.letter === "S") fields.millisecond = Number(`0.${found}`) * 1000;
      else if (part.letter === "M" && part.width > 2) {
        fields.month = MONTHS.findIndex((name) => name.slice(0, 3) === capital(found.slice(0, 3))) +
          1;
      } else if (part.letter !== "E") {
        const number = Number(found);
        fields[FIELD_OF[part.letter]!] = part.letter === "y" && part.width === 2
          ? 2000 + number
          : number;
      }
    }
    if (afternoon !== undefined) fields.hour = fields.hour % 12 + (afternoon ? 12 : 0);
    return instant(fields);
  }

  /** The text of a timestamp. */
  format(timestamp: number): string {
    const date = new Date(Math.floor(timestamp));
    return this.#parts.map((part) => "literal" in part ? part.literal : formatPart(part, date))
      .join("");
  }
}

/** The start of the unit that a timestamp lies in. */
export const TRUNCATE: Readonly<Record<string, (timestamp: number) => number>> = {
  // Beyond the safe integers there are no microseconds to cut off, and the product would be rounded.
  microsecond: (t) => Number.isSafeInteger(Math.floor(t * 1000)) ? Math.floor(t * 1000) / 1000 : t,
  millisecond: Math.floor,
  second: (t) => Math.floor(t / 1000) * 1000,
  minute: (t) => Math.floor(t / 60_000) * 60_000,
  hour: (t) => Math.floor(t / HOUR) * HOUR,
  day: (t) => Math.floor(t / DAY) * DAY,
  // 1970-01-01 was a Thursday; weeks start on Monday.
  week: (t) => (Math.floor((t / DAY + 3) / 7) * 7 - 3) * DAY,
  month: (t) => startOf(t, (month) => month),
  quarter: (t) => startOf(t, (month) => month - month % 3),
  year: (t) => startOf(t, () => 0),
};

/** Other names of the units of {@linkcode TRUNCATE}. */
export const UNIT_ALIASES: Readonly<Record<string, string>> = {
  yyyy: "year",
  yy: "year",
  mon: "month",
  mm: "month",
  dd: "day",
};

const HOUR = 3_600_000, DAY = 24 * HOUR;
const ISO =
  /^(\d{4,6})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d{0,9}))?)?)?\s*(Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?)?)?)?$/i;
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

interface Fields {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  millisecond: number;
  /** Milliseconds ahead of UTC. */
  offset: number;
}

const START: Fields = {
  year: 1970,
  month: 1,
  day: 1,
  hour: 0,
  minute: 0,
  second: 0,
  millisecond: 0,
  offset: 0,
};

type Part = { readonly literal: string } | { readonly letter: string; readonly width: number };

const FIELD_OF: Readonly<Record<string, keyof Fields>> = {
  y: "year",
  M: "month",
  d: "day",
  H: "hour",
  h: "hour",
  m: "minute",
  s: "second",
};

/** The timestamp of its parts, or null when there is no such date or time. */
function instant(fields: Fields): number | null {
  const { year, month, day, hour, minute, second, millisecond, offset } = fields;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const exists = date.getUTCFullYear() === year && date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  // Microseconds are the finest that Spark has.
  return exists ? date.getTime() + Math.floor(millisecond * 1000 + 1e-6) / 1000 - offset : null;
}

function zoneOffset(zone: string): number {
  const match = /^([+-])(\d{1,2}):?(\d{2})?$/.exec(zone);
  if (match === null) return 0;
  const minutes = Number(match[2]) * 60 + Number(match[3] ?? 0);
  return (match[1] === "-" ? -minutes : minutes) * 60_000;
}

function splitPattern(pattern: string): Part[] {
  const parts: Part[] = [];
  for (const [run, quoted] of pattern.matchAll(/'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+|'/g)) {
    const letter = run[0]!;
    if (quoted !== undefined) {
      parts.push({ literal: quoted === "" ? "'" : quoted.replaceAll("''", "'") });
    } else if (/[A-Za-z]/.test(letter)) {
      if (!"yMdHhmsSaXE".includes(letter)) {
        throw new RangeError(
          `Cannot use the pattern "${pattern}": letter "${letter}" is not one of y M d H h m s S a X E; ` +
            `other text stands between single quotes`,
        );
      }
      parts.push({ letter, width: run.length });
    } else parts.push({ literal: run });
  }
  return parts;
}

function partRegExp(part: Part): string {
  if ("literal" in part) return part.literal.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  const { letter, width } = part;
  if (letter === "a") return "(am|pm)";
  if (letter === "X") return "(Z|[+-]\\d{2}(?::?\\d{2})?)";
  if (letter === "E") {
    return `(${DAYS.map((name) => width > 3 ? name : name.slice(0, 3)).join("|")})`;
  }
  if (letter === "M" && width > 2) {
    return `(${MONTHS.map((name) => width > 3 ? name : name.slice(0, 3)).join("|")})`;
  }
  return width === 1 ? "(\\d+)" : `(\\d{${width}})`;
}

function formatPart({ letter, width }: { letter: string; width: number }, date: Date): string {
  switch (letter) {
    case "y":
      return width === 2 ? pad(date.getUTCFullYear() % 100) : pad(date.getUTCFullYear(), width);
    case "M": {
      const name = MONTHS[date.getUTCMonth()]!;
      if (width > 3) return name;
      return width === 3 ? name.slice(0, 3) : pad(date.getUTCMonth() + 1, width);
    }
    case "E": {
      const name = DAYS[date.getUTCDay()]!;
      return width > 3 ? name : name.slice(0, 3);
    }
    case "d":
      return pad(date.getUTCDate(), width);
    case "H":
      return pad(date.getUTCHours(), width);
    case "h":
      return pad((date.getUTCHours() + 11) % 12 + 1, width);
    case "m":
      return pad(date.getUTCMinutes(), width);
    case "s":
      return pad(date.getUTCSeconds(), width);
    case "S":
      return pad(date.getUTCMilliseconds(), 3).padEnd(width, "0").slice(0, width);
    case "a":
      return date.getUTCHours() < 12 ? "AM" : "PM";
    default:
      return "Z";
  }
}

function startOf(timestamp: number, firstMonth: (month: number) => number): number {
  const date = new Date(Math.floor(timestamp));
  const start = new Date(0);
  start.setUTCFullYear(date.getUTCFullYear(), firstMonth(date.getUTCMonth()), 1);
  return start.getTime();
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase();
}

function pad(number: number, width = 2): string {
  return number < 0 ? `-${pad(-number, width)}` : String(number).padStart(width, "0");
}
