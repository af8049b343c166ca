/**
 * The types that a model's tensors may have, and how their elements are kept.
 *
 * @module
 */
import type { ScalarType, TensorElement } from "../engine/batch.ts";

/** Element types by the names that ONNX Runtime uses. */
export type ElementType =
  | "float32"
  | "uint8"
  | "int8"
  | "uint16"
  | "int16"
  | "int32"
  | "int64"
  | "string"
  | "bool"
  | "float16"
  | "float64"
  | "uint32"
  | "uint64";

/** Elements of a tensor: float16 as bits, bool as 0 and 1. */
export type Elements =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | string[];

/** A tensor as plain data, row-major. */
export interface TensorData {
  readonly type: ElementType;
  readonly data: Elements;
  readonly dims: readonly number[];
}

/** Element types by their numbers in `TensorProto.DataType`; those that ONNX Runtime for JavaScript lacks are left out. */
export const ELEMENT_OF_NUMBER: Readonly<Record<number, ElementType>> = {
  1: "float32",
  2: "uint8",
  3: "int8",
  4: "uint16",
  5: "int16",
  6: "int32",
  7: "int64",
  8: "string",
  9: "bool",
  10: "float16",
  11: "float64",
  12: "uint32",
  13: "uint64",
};

const ARRAYS = {
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
  float16: Uint16Array,
  float64: Float64Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
} as const;

/** Room for elements, all of them 0, `false` or empty text. */
export function elements(type: ElementType, length: number): Elements {
  return type === "string" ? new Array<string>(length).fill("") : new ARRAYS[type](length);
}

/** The elements in a buffer, low byte first; it is not copied. */
export function elementsIn(
  type: Exclude<ElementType, "string">,
  buffer: ArrayBuffer,
): Exclude<Elements, string[]> {
  return new ARRAYS[type](buffer);
}

/** Bytes of one element. */
export function bytesPerElement(type: Exclude<ElementType, "string">): number {
  return ARRAYS[type].BYTES_PER_ELEMENT;
}

/** The type of a column of such elements. */
export function scalarOf(type: ElementType): Exclude<ScalarType, "timestamp" | "binary"> {
  switch (type) {
    case "string":
    case "float32":
    case "float64":
    case "int32":
    case "int64":
      return type;
    case "bool":
      return "boolean";
    case "float16":
      return "float32";
    case "uint32":
    case "uint64":
      return "int64";
    default:
      return "int32";
  }
}

/** The element type of a tensor column of such elements; undefined where columns have none. */
export function tensorElementOf(type: ElementType): TensorElement | undefined {
  const scalar = scalarOf(type);
  return scalar === "string" || scalar === "boolean" ? undefined : scalar;
}

/** The least and the greatest integer of a type; undefined for types of other things. */
export function integerRange(type: ElementType): readonly [bigint, bigint] | undefined {
  const found = /^(u?)int(\d+)$/.exec(type);
  if (found === null) return undefined;
  const bits = BigInt(found[2]!);
  return found[1] === "u" ? [0n, 2n ** bits - 1n] : [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
}
