/**
 * A compiled part of an expression, and how parts are made to fit each other.
 *
 * @module
 */
import type { Batch, ColumnData, DataType } from "../batch.ts";
import { isNumeric, sameType } from "../batch.ts";
import { columnCast } from "./cast.ts";
import { mapRows, repeat } from "./columnar.ts";
import { isPlain, type MaybeType, nameOf } from "./types.ts";

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
  | "text"
  | "list"
  | "any";

/**
 * The argument as a function's kind, without a `cast` written: numbers widen; a scalar becomes a
 * string; a string becomes a number (float64), a timestamp or bytes (Spark's implicit casts).
 * `text` is a string or binary, `number` any numeric type, `list` any list, `any` anything.
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
  int32: "a whole number",
  int64: "a whole number",
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
    case "float64":
      return type === "void" || type === "string" || isNumeric(type)
        ? castTo(node, "float64")
        : undefined;
    case "int32":
    case "int64":
      return type === "void" || type === "int32" || type === "int64"
        ? castTo(node, kind)
        : undefined;
    case "string":
      return type === "void" || isPlain(type) ? castTo(node, "string") : undefined;
    case "binary":
    case "timestamp":
      return type === "void" || type === "string" || type === kind ? castTo(node, kind) : undefined;
    case "boolean":
      return type === "void" || type === kind ? castTo(node, kind) : undefined;
  }
}
