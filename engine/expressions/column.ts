/**
 * Expressions built by functions, under Spark's names: `length(col("value")).plus(1)`. They make the
 * same trees as the parser makes of text, and `String(column)` is that text.
 *
 * As in PySpark, a string in the place of a column is the column's name; patterns, formats, paths and
 * the like are taken as they are, and so is what a column is compared with.
 *
 * @module
 */
import type { DataType } from "../batch.ts";
import { type Expression, negative, numberLiteral, print, printType } from "./expression.ts";
import { parseExpression, parseType } from "./parser.ts";
import { formatTimestamp } from "./timestamps.ts";

/** A column, or the name of one. */
export type ColumnOrName = Column | string;

/** What can be written as a value: a list becomes a call of `array`, a `Date` a timestamp. */
export type Literal =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Date
  | readonly (Literal | Column)[];

/** A value as it is, or a column. */
export type ColumnOrLiteral = Column | Literal;

/** An expression over columns. Immutable: every method returns a new one. */
export class Column {
  /** The tree. */
  readonly expression: Expression;

  /** Made by {@linkcode col}, {@linkcode lit}, {@linkcode expr} and the functions. */
  constructor(expression: Expression) {
    this.expression = expression;
  }

  /** The text, in one form for equal expressions; parsed again, it gives the same tree. */
  toString(): string {
    return print(this.expression);
  }

  /** The sum. */
  plus(other: ColumnOrLiteral): Column {
    return this.#call("+", other);
  }

  /** The difference. */
  minus(other: ColumnOrLiteral): Column {
    return this.#call("-", other);
  }

  /** The product. */
  multiply(other: ColumnOrLiteral): Column {
    return this.#call("*", other);
  }

  /** The quotient, float64; null by zero. */
  divide(other: ColumnOrLiteral): Column {
    return this.#call("/", other);
  }

  /** The remainder, with the sign of this one; null by zero. */
  mod(other: ColumnOrLiteral): Column {
    return this.#call("%", other);
  }

  /** The negative. */
  negate(): Column {
    return new Column(negative(operand(this)));
  }

  /** Equal; null when one is null. */
  equalTo(other: ColumnOrLiteral): Column {
    return this.#call("=", other);
  }

  /** Not equal; null when one is null. */
  notEqual(other: ColumnOrLiteral): Column {
    return this.#call("!=", other);
  }

  /** Less. */
  lt(other: ColumnOrLiteral): Column {
    return this.#call("<", other);
  }

  /** Less or equal. */
  leq(other: ColumnOrLiteral): Column {
    return this.#call("<=", other);
  }

  /** Greater. */
  gt(other: ColumnOrLiteral): Column {
    return this.#call(">", other);
  }

  /** Greater or equal. */
  geq(other: ColumnOrLiteral): Column {
    return this.#call(">=", other);
  }

  /** Equal, or both null; never null. */
  eqNullSafe(other: ColumnOrLiteral): Column {
    return this.#call("<=>", other);
  }

  /** Both; false wins over null. */
  and(other: ColumnOrLiteral): Column {
    return this.#call("and", other);
  }

  /** At least one; true wins over null. */
  or(other: ColumnOrLiteral): Column {
    return this.#call("or", other);
  }

  /** The opposite. */
  not(): Column {
    return this.#call("not");
  }

  /** Whether it is null. */
  isNull(): Column {
    return this.#call("isnull");
  }

  /** Whether it is not null. */
  isNotNull(): Column {
    return this.#call("isnotnull");
  }

  /** Whether it is NaN; false for null. */
  isNaN(): Column {
    return this.#call("isnan");
  }

  /** Whether one of the values, or of the items of the one list given, is equal. Without any: false. */
  isin(...values: readonly ColumnOrLiteral[]): Column {
    const [first] = values;
    const items = values.length === 1 && Array.isArray(first) ? first : values;
    return items.length === 0 ? lit(false) : this.#call("in", ...items);
  }

  /** At least `low` and at most `high`. */
  between(low: ColumnOrLiteral, high: ColumnOrLiteral): Column {
    return this.#call("between", low, high);
  }

  /** Whether the text is like a pattern: `%` is any text, `_` one character. */
  like(pattern: ColumnOrLiteral): Column {
    return this.#call("like", pattern);
  }

  /** The same as {@linkcode Column.like} in any letter case. */
  ilike(pattern: ColumnOrLiteral): Column {
    return this.#call("ilike", pattern);
  }

  /** Whether a regular expression matches somewhere in the text. */
  rlike(pattern: ColumnOrLiteral): Column {
    return this.#call("rlike", pattern);
  }

  /** Whether the text has another in it. */
  contains(part: ColumnOrLiteral): Column {
    return this.#call("contains", part);
  }

  /** Whether the text begins with another. */
  startsWith(prefix: ColumnOrLiteral): Column {
    return this.#call("startswith", prefix);
  }

  /** Whether the text ends with another. */
  endsWith(suffix: ColumnOrLiteral): Column {
    return this.#call("endswith", suffix);
  }

  /** Part of the text; the first place is 1. */
  substr(start: ColumnOrLiteral, length: ColumnOrLiteral): Column {
    return this.#call("substring", start, length);
  }

  /**
   * As another type; what cannot be cast is null.
   * @param type in DDL, or as a schema has it
   * @throws {PlanError} when there is no such type
   */
  cast(type: string | DataType): Column {
    const to = typeof type === "string" ? parseType(type) : type;
    return new Column({ kind: "cast", of: operand(this), type: to });
  }

  /** Under another name. */
  as(name: string): Column {
    return new Column({ kind: "alias", of: operand(this), name });
  }

  /** Same as {@linkcode Column.as}. */
  alias(name: string): Column {
    return this.as(name);
  }

  /** A field of the struct. */
  getField(name: string): Column {
    return new Column({ kind: "field", of: operand(this), name });
  }

  /** An item of the list, from 0, or a field of the struct. */
  getItem(key: ColumnOrLiteral): Column {
    return new Column({ kind: "item", of: operand(this), index: operand(key) });
  }

  /**
   * One more case, after {@linkcode when}.
   * @throws {TypeError} when this is none, or has its `otherwise`
   */
  when(condition: Column, value: ColumnOrLiteral): Column {
    const { whens } = this.#openCase("when");
    const last = { when: operand(condition), then: operand(value) };
    return new Column({ kind: "case", whens: [...whens, last] });
  }

  /**
   * The value when no condition is true; without it, null.
   * @throws {TypeError} when this is no {@linkcode when}, or has its `otherwise`
   */
  otherwise(value: ColumnOrLiteral): Column {
    return new Column({ ...this.#openCase("otherwise"), otherwise: operand(value) });
  }

  #openCase(method: string): Extract<Expression, { kind: "case" }> {
    const { expression } = this;
    if (expression.kind !== "case" || "operand" in expression) {
      throw new TypeError(`Cannot call ${method} on "${this}": it must follow when(...)`);
    }
    if ("otherwise" in expression) {
      throw new TypeError(`Cannot call ${method} on "${this}": otherwise(...) was the last`);
    }
    return expression;
  }

  #call(name: string, ...others: readonly ColumnOrLiteral[]): Column {
    return call(name, this, ...others);
  }
}

/**
 * A column by its name. `a.b` is the field `b` of the column `a`; a name with a dot stands between
 * backticks; `*` is all columns.
 * @throws {TypeError} when the name is none
 */
export function col(name: string): Column {
  if (name === "*") return new Column({ kind: "star" });
  if (!/[.`]/.test(name)) return new Column({ kind: "column", name });
  if (!DOTTED_NAME.test(name)) {
    throw new TypeError(
      `Cannot read the column name ${JSON.stringify(name)}: ` +
        "wanted names with dots between, those with a dot or backtick between backticks",
    );
  }
  const [first, ...rest] = (name.match(NAME_PART) ?? []).map((part) =>
    part.startsWith("`") ? part.slice(1, -1).replaceAll("``", "`") : part
  );
  return new Column(
    rest.reduce<Expression>(
      (of, name) => ({ kind: "field", of, name }),
      { kind: "column", name: first! },
    ),
  );
}

/**
 * A value. A number is an int32 where it is one, a float64 otherwise; a bigint is an int64.
 * @throws {TypeError} when the value is of no such type
 * @throws {RangeError} when a bigint is no int64
 */
export function lit(value: ColumnOrLiteral): Column {
  return value instanceof Column ? value : new Column(literal(value));
}

/**
 * An expression by its text.
 * @throws {PlanError} with the position of the first thing that is wrong
 */
export function expr(sql: string): Column {
  return new Column(parseExpression(sql));
}

/** The first case of a `case`: more follow by `.when`, the rest by `.otherwise`. */
export function when(condition: Column, value: ColumnOrLiteral): Column {
  return new Column({
    kind: "case",
    whens: [{ when: operand(condition), then: operand(value) }],
  });
}

/** The opposite of a condition. */
export function not(condition: Column): Column {
  return call("not", condition);
}

/** A struct of columns, under their names; a column without one is `col1`, `col2` and so on. */
export function struct(...columns: readonly ColumnOrName[]): Column {
  const args = columns.map((column) =>
    column instanceof Column ? column.expression : col(column).expression
  );
  return new Column({ kind: "call", name: "struct", args });
}

/**
 * A function of yours, by the module and the export it has there: a closure cannot cross a worker's
 * wall. It is called once a row with plain values, nulls included, and must not be async.
 * @param returnType in DDL, or as a schema has it. Default string
 * @returns a function of columns
 * @throws {PlanError} when there is no such type
 */
export function udf(
  module: string | URL,
  exportName: string,
  returnType: string | DataType = "string",
): (...columns: readonly ColumnOrName[]) => Column {
  const type = typeof returnType === "string" ? parseType(returnType) : returnType;
  const head = [String(module), exportName, printType(type)];
  return (...columns) => call("udf", ...head, ...columns.map(toColumn));
}

/** Whether it is null. */
export function isnull(value: ColumnOrName): Column {
  return call("isnull", toColumn(value));
}

/** Whether it is not null. */
export function isnotnull(value: ColumnOrName): Column {
  return call("isnotnull", toColumn(value));
}

/** One value or the other. */
function ifElse(condition: ColumnOrName, value: ColumnOrName, otherwise: ColumnOrName): Column {
  return call("if", toColumn(condition), toColumn(value), toColumn(otherwise));
}

export { ifElse as if };

/** The first value that is not null. */
export function coalesce(...values: readonly ColumnOrName[]): Column {
  return call("coalesce", ...values.map(toColumn));
}

/** `a`, or null when it is equal to `b`. */
export function nullif(a: ColumnOrName, b: ColumnOrName): Column {
  return call("nullif", toColumn(a), toColumn(b));
}

/** Whether a text is like a pattern: `%` is any text, `_` one character. */
export function like(text: ColumnOrName, pattern: ColumnOrName, escape?: ColumnOrLiteral): Column {
  return call("like", toColumn(text), toColumn(pattern), escape);
}

/** The same as {@linkcode like} in any letter case. */
export function ilike(text: ColumnOrName, pattern: ColumnOrName, escape?: ColumnOrLiteral): Column {
  return call("ilike", toColumn(text), toColumn(pattern), escape);
}

/** Whether a regular expression matches somewhere in a text. */
export function rlike(text: ColumnOrName, pattern: ColumnOrName): Column {
  return call("rlike", toColumn(text), toColumn(pattern));
}

/** Number of characters of a text, of bytes of a binary. */
export function length(text: ColumnOrName): Column {
  return call("length", toColumn(text));
}

/** Number of bytes; a text's in UTF-8. */
export function octet_length(text: ColumnOrName): Column {
  return call("octet_length", toColumn(text));
}

/** In upper case. */
export function upper(text: ColumnOrName): Column {
  return call("upper", toColumn(text));
}

/** In lower case. */
export function lower(text: ColumnOrName): Column {
  return call("lower", toColumn(text));
}

/** Each word with its first letter in upper case and the rest in lower case. */
export function initcap(text: ColumnOrName): Column {
  return call("initcap", toColumn(text));
}

/** Without these characters at both ends. Default: spaces. */
export function trim(text: ColumnOrName, characters?: ColumnOrName): Column {
  return call("trim", toColumn(text), characters === undefined ? characters : toColumn(characters));
}

/** Without these characters in front. Default: spaces. */
export function ltrim(text: ColumnOrName, characters?: ColumnOrName): Column {
  return call(
    "ltrim",
    toColumn(text),
    characters === undefined ? characters : toColumn(characters),
  );
}

/** Without these characters at the end. Default: spaces. */
export function rtrim(text: ColumnOrName, characters?: ColumnOrName): Column {
  return call(
    "rtrim",
    toColumn(text),
    characters === undefined ? characters : toColumn(characters),
  );
}

/** Part of a text or binary. The first place is 1; a negative start counts from the end. */
export function substring(
  text: ColumnOrName,
  start: ColumnOrName | number,
  length?: ColumnOrName | number,
): Column {
  return call(
    "substring",
    toColumn(text),
    toColumn(start),
    length === undefined ? length : toColumn(length),
  );
}

/** The first characters. */
export function left(text: ColumnOrName, length: ColumnOrName | number): Column {
  return call("left", toColumn(text), toColumn(length));
}

/** The last characters. */
export function right(text: ColumnOrName, length: ColumnOrName | number): Column {
  return call("right", toColumn(text), toColumn(length));
}

/** The texts, binaries or lists one after another. Null when one is. */
export function concat(...values: readonly ColumnOrName[]): Column {
  return call("concat", ...values.map(toColumn));
}

/** The texts, or the texts in lists, with a separator between; nulls are skipped. */
export function concat_ws(separator: ColumnOrLiteral, ...values: readonly ColumnOrName[]): Column {
  return call("concat_ws", separator, ...values.map(toColumn));
}

/** The parts between the matches of a regular expression, at most `limit` if that is above 0. */
export function split(
  text: ColumnOrName,
  pattern: ColumnOrLiteral,
  limit?: ColumnOrLiteral,
): Column {
  return call("split", toColumn(text), pattern, limit);
}

/** With every occurrence of `search` replaced; without a replacement, removed. */
export function replace(
  text: ColumnOrName,
  search: ColumnOrName,
  replacement?: ColumnOrName,
): Column {
  return call(
    "replace",
    toColumn(text),
    toColumn(search),
    replacement === undefined ? replacement : toColumn(replacement),
  );
}

/** With each character of `from` replaced by the one at its place in `to`, or removed. */
export function translate(text: ColumnOrName, from: ColumnOrLiteral, to: ColumnOrLiteral): Column {
  return call("translate", toColumn(text), from, to);
}

/** With every match of a regular expression replaced; `$1` is the first group. */
export function regexp_replace(
  text: ColumnOrName,
  pattern: ColumnOrLiteral,
  replacement: ColumnOrLiteral,
): Column {
  return call("regexp_replace", toColumn(text), pattern, replacement);
}

/** A group of the first match of a regular expression, or `''`. Default: 1; 0 is all of it. */
export function regexp_extract(
  text: ColumnOrName,
  pattern: ColumnOrLiteral,
  group?: ColumnOrLiteral,
): Column {
  return call("regexp_extract", toColumn(text), pattern, group);
}

/** Filled up in front, or cut off, to a number of characters. Default `pad`: a space. */
export function lpad(text: ColumnOrName, length: ColumnOrLiteral, pad?: ColumnOrLiteral): Column {
  return call("lpad", toColumn(text), length, pad);
}

/** Filled up at the end, or cut off, to a number of characters. Default `pad`: a space. */
export function rpad(text: ColumnOrName, length: ColumnOrLiteral, pad?: ColumnOrLiteral): Column {
  return call("rpad", toColumn(text), length, pad);
}

/** A text or list from end to beginning. */
export function reverse(value: ColumnOrName): Column {
  return call("reverse", toColumn(value));
}

/** The text so many times. */
export function repeat(text: ColumnOrName, times: ColumnOrName | number): Column {
  return call("repeat", toColumn(text), toColumn(times));
}

/** The place of the first occurrence, from 1; 0 when there is none. */
export function instr(text: ColumnOrName, search: ColumnOrLiteral): Column {
  return call("instr", toColumn(text), search);
}

/** The place of the first occurrence at or after `start`, from 1; 0 when there is none. */
export function locate(
  search: ColumnOrLiteral,
  text: ColumnOrName,
  start?: ColumnOrLiteral,
): Column {
  return call("locate", search, toColumn(text), start);
}

/** Whether a text begins with another. */
export function startswith(text: ColumnOrName, prefix: ColumnOrName): Column {
  return call("startswith", toColumn(text), toColumn(prefix));
}

/** Whether a text ends with another. */
export function endswith(text: ColumnOrName, suffix: ColumnOrName): Column {
  return call("endswith", toColumn(text), toColumn(suffix));
}

/** Whether a text has another in it. */
export function contains(text: ColumnOrName, part: ColumnOrName): Column {
  return call("contains", toColumn(text), toColumn(part));
}

/** A binary as base64. */
export function base64(binary: ColumnOrName): Column {
  return call("base64", toColumn(binary));
}

/** The bytes of base64; null when it is none. */
export function unbase64(text: ColumnOrName): Column {
  return call("unbase64", toColumn(text));
}

/** A binary or a whole number in upper-case hexadecimal. */
export function hex(value: ColumnOrName): Column {
  return call("hex", toColumn(value));
}

/** The MD5 digest of a binary in hexadecimal. */
export function md5(binary: ColumnOrName): Column {
  return call("md5", toColumn(binary));
}

/** The SHA-2 digest of 224, 256 (also as 0), 384 or 512 bits in hexadecimal; null for other bits. */
export function sha2(binary: ColumnOrName, bits: ColumnOrLiteral): Column {
  return call("sha2", toColumn(binary), bits);
}

/** Without the sign. */
export function abs(number: ColumnOrName): Column {
  return call("abs", toColumn(number));
}

/** Rounded to so many digits after the point; halves away from 0. Default: 0 digits. */
export function round(number: ColumnOrName, digits?: ColumnOrLiteral): Column {
  return call("round", toColumn(number), digits);
}

/** The greatest whole number that is not above it, int64. */
export function floor(number: ColumnOrName): Column {
  return call("floor", toColumn(number));
}

/** The least whole number that is not below it, int64. */
export function ceil(number: ColumnOrName): Column {
  return call("ceil", toColumn(number));
}

/** The square root; NaN below 0. */
export function sqrt(number: ColumnOrName): Column {
  return call("sqrt", toColumn(number));
}

/** e to the power. */
export function exp(number: ColumnOrName): Column {
  return call("exp", toColumn(number));
}

/** The natural logarithm; null unless above 0. */
export function ln(number: ColumnOrName): Column {
  return call("ln", toColumn(number));
}

/** The logarithm to a base, the natural one without; null unless above 0. */
export function log(number: ColumnOrName): Column;
export function log(base: ColumnOrName | number, number: ColumnOrName): Column;
export function log(...args: readonly (ColumnOrName | number)[]): Column {
  return call("log", ...args.map(toColumn));
}

/** The logarithm to base 10; null unless above 0. */
export function log10(number: ColumnOrName): Column {
  return call("log10", toColumn(number));
}

/** The logarithm to base 2; null unless above 0. */
export function log2(number: ColumnOrName): Column {
  return call("log2", toColumn(number));
}

/** The base to the power of the exponent. */
export function power(base: ColumnOrName | number, exponent: ColumnOrName | number): Column {
  return call("power", toColumn(base), toColumn(exponent));
}

/** -1.0, 0.0 or 1.0. */
export function sign(number: ColumnOrName): Column {
  return call("sign", toColumn(number));
}

/** The remainder, with the sign of the dividend; null by zero. */
export function mod(dividend: ColumnOrName | number, divisor: ColumnOrName | number): Column {
  return call("mod", toColumn(dividend), toColumn(divisor));
}

/** Whether it is NaN; false for null. */
export function isnan(number: ColumnOrName): Column {
  return call("isnan", toColumn(number));
}

/** The greatest value; nulls are skipped. */
export function greatest(...values: readonly ColumnOrName[]): Column {
  return call("greatest", ...values.map(toColumn));
}

/** The least value; nulls are skipped. */
export function least(...values: readonly ColumnOrName[]): Column {
  return call("least", ...values.map(toColumn));
}

/** Number of items; -1 for null. */
export function size(list: ColumnOrName): Column {
  return call("size", toColumn(list));
}

/** Number of items; null for null. */
export function array_size(list: ColumnOrName): Column {
  return call("array_size", toColumn(list));
}

/** The item at a place, from 1, or from the end if negative; null when there is none. */
export function element_at(list: ColumnOrName, place: ColumnOrLiteral): Column {
  return call("element_at", toColumn(list), place);
}

/** A list of the values. */
export function array(...values: readonly ColumnOrName[]): Column {
  return call("array", ...values.map(toColumn));
}

/** Whether a value is in a list; null when it is not but a null is. */
export function array_contains(list: ColumnOrName, value: ColumnOrLiteral): Column {
  return call("array_contains", toColumn(list), value);
}

/** The items as text with a separator between; nulls are skipped without a text for them. */
export function array_join(
  list: ColumnOrName,
  separator: ColumnOrLiteral,
  nullText?: ColumnOrLiteral,
): Column {
  return call("array_join", toColumn(list), separator, nullText);
}

/** A struct of these fields: a name, its value, a name, its value and so on. */
export function named_struct(...namesAndValues: readonly ColumnOrName[]): Column {
  return call(
    "named_struct",
    ...namesAndValues.map((each, position) => position % 2 === 0 ? lit(each) : toColumn(each)),
  );
}

/** What is at a path such as `$.a[0].b` of JSON text, as text; null when there is nothing. */
export function get_json_object(json: ColumnOrName, path: ColumnOrLiteral): Column {
  return call("get_json_object", toColumn(json), path);
}

/** As JSON text; null fields are left out. */
export function to_json(value: ColumnOrName): Column {
  return call("to_json", toColumn(value));
}

/** The time of the batch: the same in all its rows. */
export function current_timestamp(): Column {
  return call("current_timestamp");
}

/** The start of the year, quarter, month, week, day, hour, minute or second. */
export function date_trunc(unit: ColumnOrLiteral, timestamp: ColumnOrName): Column {
  return call("date_trunc", unit, toColumn(timestamp));
}

/** Seconds since 1970, int64, of a time or of text by a pattern. Default: of now. */
export function unix_timestamp(timestamp?: ColumnOrName, pattern?: ColumnOrLiteral): Column {
  return call("unix_timestamp", timestamp === undefined ? timestamp : toColumn(timestamp), pattern);
}

/** The time that a text says, by a pattern or in ISO form; null when it says none. */
export function to_timestamp(text: ColumnOrName, pattern?: ColumnOrLiteral): Column {
  return call("to_timestamp", toColumn(text), pattern);
}

/** The text of the time so many seconds after 1970. */
export function from_unixtime(seconds: ColumnOrName, pattern?: ColumnOrLiteral): Column {
  return call("from_unixtime", toColumn(seconds), pattern);
}

/** The text of a time by a pattern such as `yyyy-MM-dd`. */
export function date_format(timestamp: ColumnOrName, pattern: ColumnOrLiteral): Column {
  return call("date_format", toColumn(timestamp), pattern);
}

/** The year. */
export function year(timestamp: ColumnOrName): Column {
  return call("year", toColumn(timestamp));
}

/** The quarter, 1 to 4. */
export function quarter(timestamp: ColumnOrName): Column {
  return call("quarter", toColumn(timestamp));
}

/** The month, 1 to 12. */
export function month(timestamp: ColumnOrName): Column {
  return call("month", toColumn(timestamp));
}

/** The day of the month. */
export function day(timestamp: ColumnOrName): Column {
  return call("day", toColumn(timestamp));
}

/** The day of the week; Sunday is 1. */
export function dayofweek(timestamp: ColumnOrName): Column {
  return call("dayofweek", toColumn(timestamp));
}

/** The hour, 0 to 23. */
export function hour(timestamp: ColumnOrName): Column {
  return call("hour", toColumn(timestamp));
}

/** The minute. */
export function minute(timestamp: ColumnOrName): Column {
  return call("minute", toColumn(timestamp));
}

/** The second. */
export function second(timestamp: ColumnOrName): Column {
  return call("second", toColumn(timestamp));
}

// Other names that Spark has for the same.
export {
  ceil as ceiling,
  coalesce as ifnull,
  coalesce as nvl,
  current_timestamp as now,
  day as dayofmonth,
  endswith as ends_with,
  length as char_length,
  length as character_length,
  length as len,
  locate as charindex,
  locate as position,
  lower as lcase,
  power as pow,
  rlike as regexp,
  rlike as regexp_like,
  sign as signum,
  size as cardinality,
  startswith as starts_with,
  substring as mid,
  substring as substr,
  trim as btrim,
  upper as ucase,
};

/** Names with dots between; one with a dot or backtick in it stands between backticks. */
const DOTTED_NAME = /^(?:`(?:[^`]|``)+`|[^.`]+)(?:\.(?:`(?:[^`]|``)+`|[^.`]+))*$/;
const NAME_PART = /`(?:[^`]|``)+`|[^.`]+/g;

/** A call; arguments that were left out are undefined. */
function call(name: string, ...args: readonly (ColumnOrLiteral | undefined)[]): Column {
  const given = args.filter((arg) => arg !== undefined);
  return new Column({ kind: "call", name, args: given.map(operand) });
}

function toColumn(value: ColumnOrName | number): Column {
  return typeof value === "string" ? col(value) : lit(value);
}

/** The tree of a part; the name it had for itself means nothing there. */
function operand(value: ColumnOrLiteral): Expression {
  if (!(value instanceof Column)) return literal(value);
  const { expression } = value;
  return expression.kind === "alias" ? expression.of : expression;
}

function literal(value: Literal): Expression {
  if (typeof value === "number") return numberLiteral(value);
  if (typeof value === "string") return { kind: "literal", value, type: "string" };
  if (typeof value === "boolean") return { kind: "literal", value, type: "boolean" };
  if (typeof value === "bigint") {
    if (BigInt.asIntN(64, value) === value) return { kind: "literal", value, type: "int64" };
    throw new RangeError(`Cannot use ${value} as a value: it is out of the range of int64`);
  }
  if (value === null) return { kind: "literal", value, type: undefined };
  if (value instanceof Uint8Array) return { kind: "literal", value, type: "binary" };
  if (value instanceof Date && !Number.isNaN(value.getTime())) {
    const text: Expression = {
      kind: "literal",
      value: formatTimestamp(value.getTime()),
      type: "string",
    };
    return { kind: "cast", of: text, type: "timestamp" };
  }
  if (Array.isArray(value)) return { kind: "call", name: "array", args: value.map(operand) };
  throw new TypeError(
    `Cannot use ${
      String(value)
    } as a value: wanted null, a boolean, a number, a bigint, a string, ` +
      "a Uint8Array, a Date, a list of these, or a Column",
  );
}
