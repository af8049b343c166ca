/**
 * A compiled part of an expression, and how parts are made to fit each other.
 *
 * @module
 */
import type { Batch, ColumnData, DataType } from "../batch.ts";
import { isNumeric, sameType } from "../batch.ts";
import { columnCast, valueCast } from "./cast.ts";
import { mapRows, repeat } from "./columnar.ts";
import { type MaybeType, nameOf } from "./types.ts";

/** A compiled part of an expression. */
export interface Node {
  readonly type: MaybeType;
  /** Whether there may be nulls. */
  readonly nullable: boolean;
  /** Whether it runs code of the user's, which may throw: it is then evaluated only where needed. */
  readonly throws: boolean;
  /** The value, when it is the same for every row. */
  readonly literal?: { readonly value: unknown };
  /** One value a row. `now` is the time of the batch. */
  evaluate(batch: Batch, now: number): ColumnData;
}

/** A node over other nodes, evaluated in full. */
export function combine(
  type: DataType,
  args: readonly Node[],
  kernel: (columns: ColumnData[], numRows: number) => ColumnData,
  nullable: boolean = args.some((arg) => arg.nullable),
): Node {
  return {
    type,
    nullable,
    throws: args.some((arg) => arg.throws),
    evaluate: (batch, now) => kernel(args.map((arg) => arg.evaluate(batch, now)), batch.numRows),
  };
}

/** A node that calls a function for every row without a null among the arguments. */
export function combineRows(
  type: DataType,
  args: readonly Node[],
  // deno-lint-ignore no-explicit-any -- the values are as varied as the columns
  f: (...values: any[]) => unknown,
  nullable?: boolean,
): Node {
  return combine(
    type,
    args,
    (columns, numRows) => mapRows(type, numRows, columns, f),
    nullable,
  );
}

/** A node of one value. */
export function constant(type: MaybeType, value: unknown): Node {
  return {
    type,
    nullable: value === null,
    throws: false,
    literal: { value },
    evaluate: (batch) => repeat(type === "void" ? "string" : type, value, batch.numRows),
  };
}

/** The node cast to a type, or undefined when there is no such cast. */
export function castTo(node: Node, type: DataType): Node | undefined {
  if (node.type === "void") return constant(type, null);
  if (sameType(node.type, type)) return node;
  if (node.literal !== undefined) {
    const { value } = node.literal;
    const cast = valueCast(node.type, type);
    return cast && constant(type, value === null ? null : cast(value));
  }
  const cast = columnCast(node.type, type);
  if (cast === undefined) return undefined;
  const widened = isNumeric(node.type) && isNumeric(type);
  return combine(
    type,
    [node],
    (columns, numRows) => cast(columns[0]!, numRows),
    node.nullable || !widened,
  );
}

/**
 * A node whose formula reads a part several times, though the part is evaluated once for each row.
 * @param use makes the node, given what stands for the part
 */
export function sharing(part: Node, use: (part: Node) => Node): Node {
  const { type } = part;
  if (part.literal !== undefined || type === "void") return use(part);
  // A column of the batch goes with its rows wherever only some of them are evaluated.
  const name = `\0shared ${shared++}`;
  const whole = use({
    type,
    nullable: part.nullable,
    throws: false,
    evaluate: (batch) => batch.column(name),
  });
  return {
    type: whole.type,
    nullable: whole.nullable,
    throws: part.throws || whole.throws,
    evaluate: (batch, now) =>
      whole.evaluate(batch.withColumn(name, type, part.evaluate(batch, now)), now),
  };
}

let shared = 0;

/** What a function says it takes; see {@linkcode accept}. */
export type Kind =
  | "string"
  | "binary"
  | "boolean"
  | "timestamp"
  | "int32"
  | "int64"
  | "float64"
  | "number"
  | "whole"
  | "text"
  | "list"
  | "any";

/**
 * The argument as a function's kind, without a `cast` written, by Spark's implicit casts: a number
 * becomes one of any type; a scalar becomes a string; a string becomes a number, a timestamp or bytes.
 * `text` is a string or binary, `number` any numeric type (float64 from a string), `whole` an int32 or
 * int64 and nothing else, `list` any list, `any` anything.
 * @throws {TypeError} saying what is wanted and what is given
 */
export function accept(node: Node, kind: Kind): Node {
  const accepted = acceptOrNot(node, kind);
  if (accepted === undefined) {
    throw new TypeError(`wanted ${WANTED[kind] ?? kind}, given ${nameOf(node.type)}`);
  }
  return accepted;
}

const WANTED: Partial<Record<Kind, string>> = {
  int32: "a number",
  int64: "a number",
  whole: "a whole number",
  float64: "a number",
  number: "a number",
  text: "string or binary",
  list: "a list",
};

function acceptOrNot(node: Node, kind: Kind): Node | undefined {
  const { type } = node;
  switch (kind) {
    case "any":
      return type === "void" ? castTo(node, "string") : node;
    case "text":
      return type === "binary" ? node : acceptOrNot(node, "string");
    case "list":
      return typeof type === "object" && "list" in type ? node : undefined;
    case "number":
      if (type === "void" || type === "string") return castTo(node, "float64");
      return isNumeric(type) ? node : undefined;
    case "int32":
    case "int64":
    case "float64":
      return type === "void" || type === "string" || isNumeric(type)
        ? castTo(node, kind)
        : undefined;
    case "whole":
      if (type === "void") return castTo(node, "int32");
      return type === "int32" || type === "int64" ? node : undefined;
    case "string":
      return typeof type === "string" ? castTo(node, "string") : undefined;
    case "binary":
    case "timestamp":
      return type === "void" || type === "string" || type === kind ? castTo(node, kind) : undefined;
    case "boolean":
      return type === "void" || type === kind ? castTo(node, kind) : undefined;
  }
}
