/**
 * From the values of a column to the elements of a model's input.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type DataType, type ScalarType, typeName } from "../engine/batch.ts";
import {
  bytesPerElement,
  type Elements,
  elements,
  elementsIn,
  type ElementType,
  integerRange,
  sizeOf,
} from "./element.ts";
import { toFloat16 } from "./float16.ts";
import type { Dimension } from "./model_metadata.ts";

/** The elements of one row, with their shape: what the batch axis strings together. */
export interface RowTensor {
  readonly data: Elements;
  readonly shape: readonly number[];
}

/** Reads the values of a column for an input. */
export interface ColumnReader {
  /** Axes whose length is known before the data comes. */
  readonly shape: readonly Dimension[];
  /** @throws {RangeError} saying what is wrong with the value */
  read(value: unknown): RowTensor;
}

/**
 * Prepares to read a column for an input.
 * @param shape of one row of the input; undefined: any
 * @throws {RangeError} saying why such values never fit
 */
export function columnReader(
  column: DataType,
  type: ElementType,
  shape: readonly Dimension[] | undefined,
): ColumnReader {
  if (typeof column === "object" && "tensor" in column) {
    return tensorReader(column, type, shape);
  }
  if (column === "binary" || column === "string" && type !== "string") {
    return bytesReader(column, type, shape);
  }
  let depth = 0, leaf: DataType = column;
  for (; typeof leaf === "object" && "list" in leaf; leaf = leaf.list) depth++;
  if (typeof leaf === "object") throw new RangeError(`wanted ${wanted(type)}`);
  const convert = converter(leaf, type);
  if (depth === 0) return scalarReader(type, shape, convert);
  const isFlat = depth === 1 && shape !== undefined && shape.length > 1;
  if (!isFlat && shape !== undefined && shape.length !== depth) {
    throw new RangeError(
      shape.length === 0
        ? "wanted a single value, not a list"
        : `wanted lists ${shape.length} deep, or one list of all values`,
    );
  }
  const axes = shape ?? new Array<Dimension>(depth).fill("");
  const reshape = isFlat ? reshaper(axes) : undefined;
  return {
    shape: axes,
    read: (value) => {
      const found = shapeOf(value, depth);
      const own = reshape === undefined ? checkedShape(found, axes) : reshape(found[0]!);
      return { data: flat(value, type, found, convert), shape: own };
    },
  };
}

type Convert = (value: unknown) => number | bigint | string;
type TensorType = Extract<DataType, { readonly tensor: unknown }>;

function scalarReader(
  type: ElementType,
  shape: readonly Dimension[] | undefined,
  convert: Convert,
): ColumnReader {
  if (shape?.some((length) => typeof length === "number" && length !== 1)) {
    throw new RangeError(
      `wanted a list of ${shape.map((length) => length || "any number").join(" × ")} values`,
    );
  }
  const ones = (shape ?? []).map(() => 1);
  return {
    shape: ones,
    read: (value) => {
      const data = elements(type, 1) as unknown[];
      data[0] = convert(value);
      return { data: data as Elements, shape: ones };
    },
  };
}

function tensorReader(
  column: TensorType,
  type: ElementType,
  shape: readonly Dimension[] | undefined,
): ColumnReader {
  const convert = converter(column.tensor, type);
  let own = column.shape;
  if (shape !== undefined) {
    // Many have a batch axis of 1 in front already.
    if (own.length === shape.length + 1 && own[0] === 1) own = own.slice(1);
    if (own.length === 1 && shape.length > 1) own = reshaper(shape)(own[0]!);
    else checkedShape(own, shape);
  }
  const size = sizeOf(own);
  return {
    shape: own,
    read: (value) => {
      if (value === null) throw new RangeError("it is null");
      const { length } = value as ArrayLike<unknown>;
      if (length !== size) throw new RangeError(`it has ${length} elements, wanted ${size}`);
      return { data: flat(value, type, [size], convert), shape: own };
    },
  };
}

function bytesReader(
  column: "binary" | "string",
  type: ElementType,
  shape: readonly Dimension[] | undefined,
): ColumnReader {
  if (type === "string") throw new RangeError("wanted text");
  const width = bytesPerElement(type);
  const axes = shape ?? [""];
  const reshape = reshaper(axes);
  return {
    shape: axes,
    read: (value) => {
      if (value === null) throw new RangeError("it is null");
      const bytes = column === "binary" ? value as Uint8Array : decodeBase64(value as string);
      if (bytes.length % width !== 0) {
        throw new RangeError(
          `it has ${bytes.length} bytes, wanted a multiple of ${width} for ${type}`,
        );
      }
      const data = elementsIn(type, new Uint8Array(bytes).buffer);
      if (type === "bool") { for (let at = 0; at < data.length; at++) data[at] = data[at] ? 1 : 0; }
      return { data, shape: reshape(data.length) };
    },
  };
}

/** Gives a number of elements the one shape that they can have. */
function reshaper(axes: readonly Dimension[]): (size: number) => readonly number[] {
  const known = axes.filter((length) => typeof length === "number");
  const unknown = axes.length - known.length;
  if (unknown > 1) {
    throw new RangeError(
      `its values do not tell the lengths of ${unknown} axes: wanted nested lists, or a tensor of known shape`,
    );
  }
  const block = sizeOf(known);
  return (size) => {
    if (size === 0 || size % block !== 0 || unknown === 0 && size !== block) {
      throw new RangeError(
        `it has ${size} elements, wanted ${unknown === 0 ? block : `a multiple of ${block}`}`,
      );
    }
    return axes.map((length) => typeof length === "number" ? length : size / block);
  };
}

/** The lengths of nested lists, by the first of each. */
function shapeOf(value: unknown, depth: number): number[] {
  const shape: number[] = [];
  for (let axis = 0, inner = value; axis < depth; axis++) {
    if (inner === null || inner === undefined) {
      throw new RangeError(axis === 0 ? "it is null" : `it has null in place of a list`);
    }
    const list = inner as ArrayLike<unknown>;
    if (list.length === 0) {
      throw new RangeError(axis === 0 ? "it is an empty list" : "it has an empty list in it");
    }
    shape.push(list.length);
    inner = list[0];
  }
  return shape;
}

/** @throws {RangeError} when lengths are not those that the model wants */
function checkedShape(
  shape: readonly number[],
  axes: readonly Dimension[],
): readonly number[] {
  const fits = shape.length === axes.length &&
    shape.every((length, axis) => typeof axes[axis] !== "number" || axes[axis] === length);
  if (!fits) {
    const list = axes.map((length) => length || "?").join(", ");
    throw new RangeError(`it has the shape [${shape.join(", ")}], wanted [${list}]`);
  }
  return shape;
}

/** The elements of nested lists of a shape, or of one typed array. */
function flat(
  value: unknown,
  type: ElementType,
  shape: readonly number[],
  convert: Convert,
): Elements {
  const data = elements(type, sizeOf(shape));
  const last = shape.length - 1;
  let filled = 0;
  if (last === 0 && ArrayBuffer.isView(value) && copied(value, data)) return data;
  const fill = (value: unknown, axis: number): void => {
    if (value === null || value === undefined) {
      throw new RangeError("it has null in place of a list");
    }
    const list = value as ArrayLike<unknown>;
    if (list.length !== shape[axis]) {
      throw new RangeError(
        `it has lists of ${shape[axis]} and of ${list.length} at one depth: wanted equal lengths`,
      );
    }
    if (axis < last) {
      for (let at = 0; at < list.length; at++) fill(list[at], axis + 1);
    } else {
      const into = data as unknown[];
      for (let at = 0; at < list.length; at++) into[filled++] = convert(list[at]);
    }
  };
  fill(value, 0);
  return data;
}

/** Copies at once what needs no conversion but that of typed arrays. */
function copied(from: ArrayBufferView, to: Elements): boolean {
  const isFloat = to instanceof Float32Array || to instanceof Float64Array;
  const fits = from.constructor === to.constructor ||
    isFloat && !(from instanceof BigInt64Array || from instanceof BigUint64Array);
  if (fits) (to as Float64Array).set(from as Float64Array);
  return fits;
}

/**
 * Converts single values.
 * @throws {RangeError} when no value of the column's type fits
 */
function converter(column: ScalarType, type: ElementType): Convert {
  const convert = CONVERTERS[kindOf(type)]?.[column];
  if (convert === undefined) throw new RangeError(`wanted ${wanted(type)}`);
  const range = integerRange(type);
  const checked: Convert = range === undefined || type === column
    ? convert as Convert
    : type.endsWith("int64")
    ? bigIntegers(range)
    : integers(range);
  const last = type === "float16"
    ? (value: unknown) => toFloat16(checked(value) as number)
    : checked;
  return (value) => {
    if (value === null || value === undefined) {
      throw new RangeError("it is null, or has null in it");
    }
    return last(value);
  };
}

type Kind = "float" | "integer" | "bool" | "string";

function kindOf(type: ElementType): Kind {
  if (type === "bool" || type === "string") return type;
  return type.startsWith("float") ? "float" : "integer";
}

const same = (value: unknown) => value;

const CONVERTERS: Readonly<
  Record<Kind, Partial<Record<ScalarType, (value: unknown) => unknown>>>
> = {
  float: { int32: same, int64: Number, float32: same, float64: same },
  integer: { int32: same, int64: same },
  bool: { boolean: (value) => value ? 1 : 0 },
  string: { string: same },
};

function wanted(type: ElementType): string {
  return { float: "numbers", integer: "int32 or int64", bool: "boolean", string: "text" }[
    kindOf(type)
  ];
}

function integers([least, most]: readonly [bigint, bigint]): Convert {
  const low = Number(least), high = Number(most);
  return (value) => {
    const number = Number(value);
    if (number < low || number > high) throw outOfRange(value, least, most);
    return number;
  };
}

function bigIntegers([least, most]: readonly [bigint, bigint]): Convert {
  return (value) => {
    const integer = BigInt(value as number | bigint);
    if (integer < least || integer > most) throw outOfRange(value, least, most);
    return integer;
  };
}

function outOfRange(value: unknown, least: bigint, most: bigint): RangeError {
  return new RangeError(`it has ${value}, wanted ${least} to ${most}`);
}

function decodeBase64(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  // What is no base64 is passed over, and so missing in the length.
  if (bytes.length === lengthOf(text)) return bytes;
  const clean = text.replace(/\s+/g, "");
  if (bytes.length !== lengthOf(clean)) throw new RangeError("it is no base64");
  return bytes;
}

/** Bytes that base64 without white space stands for. */
function lengthOf(text: string): number {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return Math.floor((text.length - padding) * 3 / 4);
}

/** How messages describe a column: `column "x" (list<float32>)`. */
export function columnText(name: string, type: DataType): string {
  return `column "${name}" (${typeName(type)})`;
}
