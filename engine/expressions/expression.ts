/**
 * A SQL scalar expression as a tree, and its one canonical text.
 *
 * Operators are calls too: `a + b` is the call `+`, `a is null` the call `isnull`, `a in (1, 2)` the
 * call `in`. The parser and the `Column` functions make the same trees, so they print alike.
 *
 * @module
 */
import { type DataType, typeName } from "../batch.ts";

/** The value of a literal. */
export type LiteralValue = null | boolean | number | bigint | string | Uint8Array;

/** The tree of an expression. */
export type Expression =
  /** `type` is undefined for the bare `null`. */
  | { readonly kind: "literal"; readonly value: LiteralValue; readonly type: DataType | undefined }
  | { readonly kind: "column"; readonly name: string }
  /** `of.name`: a field of a struct. */
  | { readonly kind: "field"; readonly of: Expression; readonly name: string }
  /** `of[index]`: an item of a list, from 0. */
  | { readonly kind: "item"; readonly of: Expression; readonly index: Expression }
  | { readonly kind: "call"; readonly name: string; readonly args: readonly Expression[] }
  | {
    readonly kind: "case";
    readonly operand?: Expression;
    readonly whens: readonly { readonly when: Expression; readonly then: Expression }[];
    readonly otherwise?: Expression;
  }
  | { readonly kind: "cast"; readonly of: Expression; readonly type: DataType }
  /** `of as name`: at the top, or as an argument of `struct`. */
  | { readonly kind: "alias"; readonly of: Expression; readonly name: string }
  /** `*`: all columns; at the top only. */
  | { readonly kind: "star" };

/** The words that are a name only between backticks, in any letter case. */
export const RESERVED = [
  "and",
  "as",
  "between",
  "case",
  "cast",
  "distinct",
  "div",
  "else",
  "end",
  "escape",
  "false",
  "from",
  "ilike",
  "in",
  "is",
  "like",
  "not",
  "null",
  "or",
  "rlike",
  "then",
  "true",
  "when",
] as const;

/** The canonical text: parsed again, it gives the same tree. */
export function print(expression: Expression): string {
  return printAt(expression, 0);
}

/** The name a column gets that is made by the expression: its alias, column or field, or its text. */
export function outputName(expression: Expression): string {
  const { kind } = expression;
  return kind === "alias" || kind === "column" || kind === "field"
    ? expression.name
    : print(expression);
}

/** The columns that an expression reads; undefined: all of them (`*`). */
export function columnsOf(expression: Expression): ReadonlySet<string> | undefined {
  const columns = new Set<string>();
  return collect(expression, columns) ? columns : undefined;
}

/** A number as a literal: int32 where it fits, float64 otherwise. NaN and infinities are casts. */
export function numberLiteral(value: number): Expression {
  if (Number.isInteger(value) && value === (value | 0) && !Object.is(value, -0)) {
    return { kind: "literal", value, type: "int32" };
  }
  if (Number.isFinite(value)) return { kind: "literal", value, type: "float64" };
  return {
    kind: "cast",
    of: { kind: "literal", value: String(value), type: "string" },
    type: "float64",
  };
}

/** `-operand`. Of a number literal it is one: so the least integers can be written. Integers wrap. */
export function negative(operand: Expression): Expression {
  const call: Expression = { kind: "call", name: "negative", args: [operand] };
  if (operand.kind !== "literal") return call;
  const { value, type } = operand;
  if (typeof value === "bigint") {
    return { kind: "literal", value: BigInt.asIntN(64, -value), type };
  }
  if (typeof value !== "number") return call;
  return { kind: "literal", value: type === "int32" ? (0 - value) | 0 : -value, type };
}

/** Quotes a name where it must be. */
export function quoteName(name: string): string {
  return PLAIN_NAME.test(name) && !RESERVED_SET.has(name.toLowerCase()) && !NOW.test(name)
    ? name
    : `\`${name.replaceAll("`", "``")}\``;
}

/** A string literal. */
export function quoteString(text: string): string {
  const escaped = text.replace(/[\\'\n\r\t\0]/g, (char) => ESCAPES[char]!);
  return `'${escaped}'`;
}

/** A name that needs no backticks, unless it is reserved. */
export const NAME = /[\p{L}_][\p{L}\p{M}\p{N}_]*/u;

/** A type in DDL that reads back as it is, with odd names of fields between backticks. */
export function printType(type: DataType): string {
  if (typeof type === "string" || "tensor" in type) return typeName(type);
  if ("list" in type) return `list<${printType(type.list)}>`;
  const fields = type.struct.map((field) =>
    `${quoteName(field.name)}: ${printType(field.type)}${
      field.nullable === false ? " not null" : ""
    }`
  );
  return `struct<${fields.join(", ")}>`;
}

// Alone, the word is a call.
const NOW = /^current_timestamp$/i;
const PLAIN_NAME = new RegExp(`^${NAME.source}$`, "u");
const RESERVED_SET: ReadonlySet<string> = new Set(RESERVED);
const ESCAPES: Record<string, string> = {
  "\\": "\\\\",
  "'": "''",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\0": "\\0",
};

// How tightly an operator binds; the grammar in parser.ts has one rule for each.
const OR = 1, AND = 2, NOT = 3, PREDICATE = 4, COMPARISON = 5, SUM = 6, PRODUCT = 7;
const UNARY = 8, POSTFIX = 9;

const BINARY: ReadonlyMap<string, number> = new Map([
  ["or", OR],
  ["and", AND],
  ["=", COMPARISON],
  ["<=>", COMPARISON],
  ["!=", COMPARISON],
  ["<", COMPARISON],
  ["<=", COMPARISON],
  [">", COMPARISON],
  [">=", COMPARISON],
  ["+", SUM],
  ["-", SUM],
  ["||", SUM],
  ["*", PRODUCT],
  ["/", PRODUCT],
  ["%", PRODUCT],
  ["div", PRODUCT],
]);

/** Prints an expression, in parentheses when it binds less tightly than `outer`. */
function printAt(expression: Expression, outer: number): string {
  const [text, binding] = printBare(expression);
  return binding < outer ? `(${text})` : text;
}

function printBare(expression: Expression): [text: string, binding: number] {
  switch (expression.kind) {
    case "literal":
      return printLiteral(expression.value, expression.type);
    case "column":
      return [quoteName(expression.name), POSTFIX];
    case "field": {
      const of = printAt(expression.of, POSTFIX);
      // A dot after digits belongs to the number.
      const apart = /^\d/.test(of) ? `(${of})` : of;
      return [`${apart}.${quoteName(expression.name)}`, POSTFIX];
    }
    case "item":
      return [`${printAt(expression.of, POSTFIX)}[${print(expression.index)}]`, POSTFIX];
    case "cast":
      return [`cast(${print(expression.of)} as ${printType(expression.type)})`, POSTFIX];
    case "alias":
      return [`${print(expression.of)} as ${quoteName(expression.name)}`, 0];
    case "star":
      return ["*", POSTFIX];
    case "case": {
      const operand = expression.operand === undefined ? "" : ` ${print(expression.operand)}`;
      const whens = expression.whens.map(({ when, then }) =>
        ` when ${print(when)} then ${print(then)}`
      );
      const otherwise = expression.otherwise === undefined
        ? ""
        : ` else ${print(expression.otherwise)}`;
      return [`case${operand}${whens.join("")}${otherwise} end`, POSTFIX];
    }
    case "call":
      return printCall(expression.name, expression.args);
  }
}

function printCall(name: string, args: readonly Expression[]): [string, number] {
  const at = (index: number, outer: number) => printAt(args[index]!, outer);
  const { length } = args;
  const binary = BINARY.get(name);
  if (binary !== undefined && length === 2) {
    return [`${at(0, binary)} ${name} ${at(1, binary + 1)}`, binary];
  }
  if (name === "not" && length === 1) return [`not ${at(0, NOT)}`, NOT];
  if (name === "negative" && length === 1) {
    const operand = at(0, UNARY);
    return [operand.startsWith("-") ? `-(${operand})` : `-${operand}`, UNARY];
  }
  if (name === "isnull" && length === 1) return [`${at(0, PREDICATE)} is null`, PREDICATE];
  if (name === "isnotnull" && length === 1) return [`${at(0, PREDICATE)} is not null`, PREDICATE];
  if (name === "in" && length > 1) {
    return [`${at(0, PREDICATE)} in (${args.slice(1).map(print).join(", ")})`, PREDICATE];
  }
  if (name === "between" && length === 3) {
    const [low, high] = [at(1, COMPARISON), at(2, COMPARISON)];
    return [`${at(0, PREDICATE)} between ${low} and ${high}`, PREDICATE];
  }
  if ((name === "like" || name === "ilike") && (length === 2 || length === 3)) {
    const escape = length === 3 ? ` escape ${at(2, COMPARISON)}` : "";
    return [`${at(0, PREDICATE)} ${name} ${at(1, COMPARISON)}${escape}`, PREDICATE];
  }
  if (name === "rlike") {
    if (length === 2) return [`${at(0, PREDICATE)} rlike ${at(1, COMPARISON)}`, PREDICATE];
    // Called wrongly: the word of the operator is no name of a function.
    name = "regexp_like";
  }
  return [`${name}(${args.map(print).join(", ")})`, POSTFIX];
}

function printLiteral(value: LiteralValue, type: DataType | undefined): [string, number] {
  if (typeof value === "string") return [quoteString(value), POSTFIX];
  if (value instanceof Uint8Array) return [`X'${toHex(value)}'`, POSTFIX];
  if (typeof value === "bigint" || typeof value === "number") {
    const negative = value < 0 || Object.is(value, -0);
    return [printNumber(value, type), negative ? UNARY : POSTFIX];
  }
  return [String(value), POSTFIX];
}

function printNumber(value: number | bigint, type: DataType | undefined): string {
  if (type === "int64") return `${value}L`;
  if (type === "int32") return `${value}`;
  const text = Object.is(value, -0) ? "-0" : String(value);
  if (type === "float32") return `${text}F`;
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** Bytes in lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function collect(expression: Expression, columns: Set<string>): boolean {
  switch (expression.kind) {
    case "literal":
      return true;
    case "column":
      columns.add(expression.name);
      return true;
    case "star":
      return false;
    default:
      return childrenOf(expression).every((child) => collect(child, columns));
  }
}

/** The direct parts of an expression, in the order of its text. */
export function childrenOf(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case "field":
    case "cast":
    case "alias":
      return [expression.of];
    case "item":
      return [expression.of, expression.index];
    case "call":
      return expression.args;
    case "case":
      return [
        ...(expression.operand === undefined ? [] : [expression.operand]),
        ...expression.whens.flatMap(({ when, then }) => [when, then]),
        ...(expression.otherwise === undefined ? [] : [expression.otherwise]),
      ];
    default:
      return [];
  }
}
