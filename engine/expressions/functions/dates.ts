/**
 * Functions of time. All is in UTC.
 *
 * @module
 */
import { isNumeric } from "../../batch.ts";
import { repeat } from "../columnar.ts";
import { parseTimestamp, TimestampPattern, TRUNCATE, UNIT_ALIASES } from "../timestamps.ts";
import { memoizeLast } from "../columnar.ts";
import { castTo, combineRows, constant, type Node } from "../node.ts";
import { acceptAll, acceptAt, checkCount, define, type FunctionSpec, rowwise } from "./define.ts";

const DEFAULT_PATTERN = "yyyy-MM-dd HH:mm:ss";
const patternOf = memoizeLast((pattern: string) => new TimestampPattern(pattern));

export const DATE_FUNCTIONS = {
  current_timestamp: define(
    "current_timestamp()",
    "The time of the batch: the same in all its rows.",
    (args) => {
      checkCount("current_timestamp()", args, 0, 0);
      return NOW;
    },
    ["now"],
  ),
  date_trunc: rowwise(
    "date_trunc(unit, timestamp)",
    "The start of the year, quarter, month, week, day, hour, minute or second.",
    ["string", "timestamp"],
    "timestamp",
    (unit: string, timestamp: number) => truncation(unit)?.(timestamp) ?? null,
    {
      nullable: true,
      check(unit) {
        if (unit !== undefined && truncation(unit) === undefined) {
          throw new RangeError(
            `"${unit}" is no unit: there are ${Object.keys(TRUNCATE).join(", ")}`,
          );
        }
      },
    },
  ),
  unix_timestamp: define(
    "unix_timestamp([timestamp or text[, pattern]])",
    "Seconds since 1970, int64, by the pattern yyyy-MM-dd HH:mm:ss; of now when nothing is given.",
    (args) => {
      const usage = "unix_timestamp([timestamp or text[, pattern]])";
      checkCount(usage, args, 0, 2);
      const [first = NOW] = args;
      const time = first.type === "string"
        ? readTime(usage, args.length === 1 ? [first, constant("string", DEFAULT_PATTERN)] : args)
        : acceptAt(0, first, "timestamp");
      return combineRows("int64", [time], (value: number) => BigInt(Math.floor(value / 1000)));
    },
  ),
  to_timestamp: define(
    "to_timestamp(text or seconds[, pattern])",
    "The time that a text says, by a pattern or in ISO form; null when it says none.",
    (args) => {
      const usage = "to_timestamp(text or seconds[, pattern])";
      checkCount(usage, args, 1, 2);
      const { type } = args[0]!;
      if (type === "timestamp") return args[0]!;
      // A number: seconds since 1970.
      if (type !== "void" && isNumeric(type) && args.length === 1) {
        return castTo(args[0]!, "timestamp")!;
      }
      return readTime(usage, args);
    },
  ),
  from_unixtime: rowwise(
    "from_unixtime(seconds[, pattern])",
    "The text of the time so many seconds after 1970.",
    ["int64", "string?"],
    "string",
    (seconds: bigint, pattern = DEFAULT_PATTERN) =>
      patternOf(pattern).format(Number(seconds) * 1000),
    { check: (_, pattern) => checkPattern(pattern) },
  ),
  date_format: rowwise(
    "date_format(timestamp, pattern)",
    "The text of a time by a pattern such as yyyy-MM-dd.",
    ["timestamp", "string"],
    "string",
    (timestamp: number, pattern: string) => patternOf(pattern).format(timestamp),
    { check: (_, pattern) => checkPattern(pattern) },
  ),
  year: part("year", "The year.", (date) => date.getUTCFullYear()),
  quarter: part(
    "quarter",
    "The quarter, 1 to 4.",
    (date) => Math.floor(date.getUTCMonth() / 3) + 1,
  ),
  month: part("month", "The month, 1 to 12.", (date) => date.getUTCMonth() + 1),
  day: part("day", "The day of the month.", (date) => date.getUTCDate(), ["dayofmonth"]),
  dayofweek: part("dayofweek", "The day of the week; Sunday is 1.", (date) => date.getUTCDay() + 1),
  hour: part("hour", "The hour, 0 to 23.", (date) => date.getUTCHours()),
  minute: part("minute", "The minute.", (date) => date.getUTCMinutes()),
  second: part("second", "The second.", (date) => date.getUTCSeconds()),
};

const NOW: Node = {
  type: "timestamp",
  nullable: false,
  throws: false,
  evaluate: (batch, now) => repeat("timestamp", now, batch.numRows),
};

function part(
  name: string,
  summary: string,
  f: (date: Date) => number,
  aliases: readonly string[] = [],
): FunctionSpec {
  return rowwise(
    `${name}(timestamp)`,
    summary,
    ["timestamp"],
    "int32",
    (timestamp: number) => f(new Date(Math.floor(timestamp))),
    { aliases },
  );
}

function readTime(usage: string, args: readonly Node[]): Node {
  const nodes = acceptAll(usage, ["string", "string?"], args);
  checkPattern(nodes[1]?.literal?.value as string | null | undefined);
  return combineRows(
    "timestamp",
    nodes,
    (text: string, pattern?: string) =>
      pattern === undefined ? parseTimestamp(text) : patternOf(pattern).parse(text),
    true,
  );
}

function checkPattern(pattern: string | null | undefined) {
  if (typeof pattern === "string") new TimestampPattern(pattern);
}

function truncation(unit: string): ((timestamp: number) => number) | undefined {
  const name = unit.toLowerCase();
  const full = Object.hasOwn(UNIT_ALIASES, name) ? UNIT_ALIASES[name]! : name;
  return Object.hasOwn(TRUNCATE, full) ? TRUNCATE[full] : undefined;
}
