/**
 * Casts, with Spark's rules outside ANSI mode: what cannot be cast becomes null, integers wrap,
 * fractions are cut off, floats out of an integer's range become its nearest end.
 *
 * @module
 */
import { type ColumnData, type DataType, isNumeric, sameType } from "../batch.ts";
import { mapRows } from "./columnar.ts";
import { formatTimestamp, parseTimestamp } from "./timestamps.ts";

/** Casts a column; undefined when there is no such cast. */
export type ColumnCast = (column: ColumnData, numRows: number) => ColumnData;

// deno-lint-ignore no-explicit-any -- a value of the type that the cast is from
type ValueCast = (value: any) => unknown;

/** How columns of one type are cast to another; undefined when they cannot. */
export function columnCast(from: DataType, to: DataType): ColumnCast | undefined {
  if (sameType(from, to)) return (column) => column;
  if (to === "float64" && (from === "int32" || from === "float32")) {
    return (column) => Array.isArray(column) ? column : new Float64Array(column as Int32Array);
  }
  const cast = valueCast(from, to);
  return cast && ((column, numRows) => mapRows(to, numRows, [column], cast));
}

/** How a value that is not null is cast; undefined when it cannot. */
export function valueCast(from: DataType, to: DataType): ValueCast | undefined {
  if (sameType(from, to)) return (value) => value;
  if (to === "string") return textOf(from);
  if (typeof to !== "string") return nestedCast(from, to);
  if (typeof from !== "string") return undefined;
  return CASTS[from]?.[to] ?? (isNumeric(from) ? FROM_NUMBER[to] : undefined);
}

/** Spark's text of a double: `1.0`, `1.0E10`. */
export function formatDouble(value: number): string {
  return formatFloat(value, String(value));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const INTEGER = /^([+-]?\d+)(?:\.\d*)?$|^[+-]?\.\d*$/;
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?[df]?$/i;
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...["t", "true", "y", "yes", "1"].map((text) => [text, true] as const),
  ...["f", "false", "n", "no", "0"].map((text) => [text, false] as const),
]);

// float32 and float64 share the casts: Math.fround does what else a float32 needs.
const FROM_NUMBER: Readonly<Record<string, ValueCast>> = {
  int32: (value: number) => Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(value))) | 0,
  int64: toInt64,
  float32: Math.fround,
  float64: (value: number) => value,
  boolean: (value: number) => value !== 0,
  timestamp: toTimestamp,
};

const CASTS: Readonly<Record<string, Readonly<Record<string, ValueCast>>>> = {
  int64: {
    int32: (value: bigint) => Number(BigInt.asIntN(32, value)),
    float32: (value: bigint) => Math.fround(Number(value)),
    float64: Number,
    boolean: (value: bigint) => value !== 0n,
    timestamp: (value: bigint) => toTimestamp(Number(value)),
  },
  boolean: {
    int32: Number,
    int64: BigInt,
    float32: Number,
    float64: Number,
    timestamp: (value: boolean) => value ? 0.001 : 0,
  },
  string: {
    int32: (value: string) => {
      const number = toInteger(value);
      return number !== null && BigInt.asIntN(32, number) === number ? Number(number) : null;
    },
    int64: (value: string) => {
      const number = toInteger(value);
      return number !== null && BigInt.asIntN(64, number) === number ? number : null;
    },
    float32: (value: string) => {
      const number = toDouble(value);
      return number === null ? null : Math.fround(number);
    },
    float64: toDouble,
    boolean: (value: string) => BOOLEANS.get(trim(value).toLowerCase()) ?? null,
    timestamp: parseTimestamp,
    binary: (value: string) => encoder.encode(value),
  },
  timestamp: {
    int32: (value: number) => Number(BigInt.asIntN(32, BigInt(Math.floor(value / 1000)))),
    int64: (value: number) => BigInt(Math.floor(value / 1000)),
    float32: (value: number) => Math.fround(value / 1000),
    float64: (value: number) => value / 1000,
    boolean: (value: number) => value !== 0,
  },
};

function nestedCast(from: DataType, to: Exclude<DataType, string>): ValueCast | undefined {
  if (typeof from === "string") return undefined;
  if ("list" in from && "list" in to) {
    const cast = valueCast(from.list, to.list);
    return cast &&
      ((items: ArrayLike<unknown>) =>
        Array.from(items, (item) => item === null ? null : cast(item)));
  }
  if ("struct" in from && "struct" in to && from.struct.length === to.struct.length) {
    const casts = to.struct.map((field, position) =>
      valueCast(from.struct[position]!.type, field.type)
    );
    if (casts.includes(undefined)) return undefined;
    return (struct: Record<string, unknown>) => {
      const result: Record<string, unknown> = {};
      for (let position = 0; position < casts.length; position++) {
        const value = struct[from.struct[position]!.name] ?? null;
        result[to.struct[position]!.name] = value === null ? null : casts[position]!(value);
      }
      return result;
    };
  }
  return undefined;
}

function textOf(from: DataType): ValueCast | undefined {
  if (typeof from === "string") {
    switch (from) {
      case "float64":
        return formatDouble;
      case "float32":
        return (value: number) => formatFloat(value, shortestFloat32(value));
      case "timestamp":
        return formatTimestamp;
      case "binary":
        return (value: Uint8Array) => decoder.decode(value);
      default:
        return String;
    }
  }
  if ("tensor" in from) return undefined;
  if ("list" in from) {
    const item = textOf(from.list);
    return item &&
      ((items: ArrayLike<unknown>) => `[${Array.from(items, orNull(item)).join(", ")}]`);
  }
  const texts = from.struct.map((field) => textOf(field.type));
  if (texts.includes(undefined)) return undefined;
  return (struct: Record<string, unknown>) =>
    `{${
      from.struct.map((field, position) => orNull(texts[position]!)(struct[field.name] ?? null))
        .join(", ")
    }}`;
}

function orNull(text: ValueCast): (value: unknown) => unknown {
  return (value) => value === null ? "null" : text(value);
}

/** @param seconds since 1970; null when it is no number or further away than dates go */
function toTimestamp(seconds: number): number | null {
  // Microseconds are the finest that Spark has.
  return Math.abs(seconds) <= 8.64e12 ? Math.trunc(seconds * 1e6) / 1000 : null;
}

/** Cut off, or the nearest end of the range; NaN gives 0. */
export function toInt64(value: number): bigint {
  if (Number.isNaN(value)) return 0n;
  if (value >= 2 ** 63) return 2n ** 63n - 1n;
  return value <= -(2 ** 63) ? -(2n ** 63n) : BigInt(Math.trunc(value));
}

function toInteger(text: string): bigint | null {
  const match = INTEGER.exec(trim(text));
  if (match === null) return null;
  const digits = match[1] ?? "0";
  return BigInt(digits.startsWith("+") ? digits.slice(1) : digits);
}

function toDouble(text: string): number | null {
  const trimmed = trim(text);
  if (DECIMAL.test(trimmed)) return Number(trimmed.replace(/[df]$/i, ""));
  if (/^nan$/i.test(trimmed)) return NaN;
  const match = /^([+-]?)inf(?:inity)?$/i.exec(trimmed);
  if (match === null) return null;
  return match[1] === "-" ? -Infinity : Infinity;
}

/** Without blanks and control characters around; of Unicode's blanks Spark takes none. */
function trim(text: string): string {
  return text.replace(/^[\0-\x20\x7f]+|[\0-\x20\x7f]+$/g, "");
}

/** @param digits the shortest decimal text of the value */
function formatFloat(value: number, digits: string): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e7) return digits.includes(".") ? digits : `${digits}.0`;
  const [mantissa, exponent] = Number(digits).toExponential().split("e");
  return `${mantissa!.includes(".") ? mantissa : `${mantissa}.0`}E${Number(exponent)}`;
}

/** The fewest digits that tell a float32 from its neighbours. */
function shortestFloat32(value: number): string {
  for (let precision = 1; precision < 9; precision++) {
    const text = value.toPrecision(precision);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(Number(value.toPrecision(9)));
}
