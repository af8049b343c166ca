/**
 * How types meet: names, promotion, and what may stand for what.
 *
 * @module
 */
import { type DataType, isNumeric, sameType, type ScalarType, typeName } from "../batch.ts";

/** A type, or `void`: that of the bare `null`, which may stand for any type. */
export type MaybeType = DataType | "void";

/** The names of scalar types, Spark's among them, in lower case. */
export const TYPE_NAMES: Readonly<Record<string, ScalarType>> = {
  string: "string",
  text: "string",
  varchar: "string",
  int32: "int32",
  int: "int32",
  integer: "int32",
  smallint: "int32",
  tinyint: "int32",
  short: "int32",
  byte: "int32",
  int64: "int64",
  bigint: "int64",
  long: "int64",
  float32: "float32",
  float: "float32",
  real: "float32",
  float64: "float64",
  double: "float64",
  boolean: "boolean",
  bool: "boolean",
  timestamp: "timestamp",
  binary: "binary",
};

const WIDTH = { int32: 0, int64: 1, float32: 2, float64: 3 } as const;

/** The numeric types. */
export type NumericType = keyof typeof WIDTH;

/** The wider of two numeric types: int32 < int64 < float32 < float64. */
export function widerNumber(a: NumericType, b: NumericType): NumericType {
  return WIDTH[a] >= WIDTH[b] ? a : b;
}

/**
 * The type that values of all these types can be widened to without a `cast`, Spark's rule for
 * `coalesce`, `case` and lists: the widest number; a scalar next to a string becomes a string.
 * Undefined when there is none; `void` when all are `void`.
 */
export function commonType(types: readonly MaybeType[]): MaybeType | undefined {
  return types.reduce<MaybeType | undefined>(
    (common, type) => common === undefined ? undefined : commonOfTwo(common, type),
    "void",
  );
}

/** The name of a type in messages. */
export function nameOf(type: MaybeType): string {
  return type === "void" ? "null" : typeName(type);
}

function commonOfTwo(a: MaybeType, b: MaybeType): MaybeType | undefined {
  if (a === "void") return b;
  if (b === "void") return a;
  if (sameType(a, b)) return a;
  if (isNumeric(a) && isNumeric(b)) return widerNumber(a, b);
  if (a === "string" && isPlain(b) || b === "string" && isPlain(a)) return "string";
  if (typeof a === "string" || typeof b === "string") return undefined;
  if ("list" in a && "list" in b) {
    const item = commonOfTwo(a.list, b.list);
    return item === undefined || item === "void" ? undefined : { list: item };
  }
  if ("struct" in a && "struct" in b && a.struct.length === b.struct.length) {
    const fields = [];
    for (const [position, field] of a.struct.entries()) {
      const other = b.struct[position]!;
      const type = field.name === other.name ? commonOfTwo(field.type, other.type) : undefined;
      if (type === undefined || type === "void") return undefined;
      fields.push({ name: field.name, type });
    }
    return { struct: fields };
  }
  return undefined;
}

/** Whether values have a text: any scalar but binary. */
export function isPlain(type: MaybeType): boolean {
  return typeof type === "string" && type !== "binary" && type !== "void";
}
