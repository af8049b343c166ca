/**
 * From the elements of a model's output to the values of a column.
 *
 * @module
 */
import type { DataType } from "../engine/batch.ts";
import { type Elements, type ElementType, scalarOf, sizeOf, tensorElementOf } from "./element.ts";
import { fromFloat16 } from "./float16.ts";
import type { Dimension } from "./model_metadata.ts";

/**
 * The type of a column for an output: a scalar, a list for one axis, a tensor for more of known lengths,
 * nested lists for others; one list of all values where not even the number of axes is known.
 * @param shape of one row
 */
export function columnTypeOf(
  type: ElementType,
  shape: readonly Dimension[] | undefined,
): DataType {
  const scalar = scalarOf(type);
  if (shape === undefined) return { list: scalar };
  const element = tensorElementOf(type);
  if (
    shape.length > 1 && element !== undefined && shape.every((length) => typeof length === "number")
  ) {
    return { tensor: element, shape: shape as number[] };
  }
  return shape.reduce<DataType>((inner) => ({ list: inner }), scalar);
}

/**
 * The value of one row.
 * @param data elements as columns have them, see {@linkcode columnElements}
 * @param start where the row's begin
 * @param shape of the row
 * @throws {RangeError} when the shape does not fit the column
 */
export function valueOf(
  column: DataType,
  data: ArrayLike<unknown>,
  start: number,
  shape: readonly number[],
): unknown {
  const size = sizeOf(shape);
  if (typeof column === "string") {
    if (size !== 1) throw unexpected(shape, "a single value");
    return data[start];
  }
  const list = data as unknown[];
  if ("tensor" in column) {
    if (size !== sizeOf(column.shape)) {
      throw unexpected(shape, `[${column.shape.join(", ")}]`);
    }
    return list.slice(start, start + size);
  }
  let depth = 0;
  for (let type: DataType = column; typeof type === "object" && "list" in type; type = type.list) {
    depth++;
  }
  if (depth === 1) return list.slice(start, start + size);
  if (depth !== shape.length) throw unexpected(shape, `${depth} axes`);
  return nested(list, start, shape);
}

/** The elements as columns have them: numbers, bigints, booleans or text. */
export function columnElements(type: ElementType, data: Elements): ArrayLike<unknown> {
  switch (type) {
    case "float16":
      return Float32Array.from(data as Uint16Array, fromFloat16);
    case "bool":
      return Array.from(data as Uint8Array, (each) => each !== 0);
    case "uint32":
      return BigInt64Array.from(Array.from(data as Uint32Array, BigInt));
    case "uint64": {
      // What is over the greatest int64 comes out negative.
      const { buffer, byteOffset, length } = data as BigUint64Array;
      return new BigInt64Array(buffer as ArrayBuffer, byteOffset, length);
    }
    case "int8":
    case "uint8":
    case "int16":
    case "uint16":
      return Int32Array.from(data as Int16Array);
    default:
      return data;
  }
}

function nested(data: readonly unknown[], start: number, shape: readonly number[]): unknown {
  const [length = 0, ...inner] = shape;
  if (inner.length === 0) return data.slice(start, start + length);
  const size = sizeOf(inner);
  return Array.from({ length }, (_, at) => nested(data, start + at * size, inner));
}

function unexpected(shape: readonly number[], wanted: string): RangeError {
  return new RangeError(`the model gave the shape [${shape.join(", ")}] a row, wanted ${wanted}`);
}
