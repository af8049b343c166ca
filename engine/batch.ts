/**
 * The columnar micro-batch: what moves through the engine. Single rows never do.
 *
 * A {@linkcode Batch} is a {@linkcode Schema} and columns of equal length. It is frozen once built;
 * every method returns a new batch that shares the columns it did not change.
 *
 * | type | stored without nulls | stored with nulls | a value is |
 * |---|---|---|---|
 * | int32, float32, float64 | `Int32Array`, `Float32Array`, `Float64Array` | `Array` | `number` |
 * | int64 | `BigInt64Array` | `Array` | `bigint` |
 * | timestamp | `Float64Array` | `Array` | `number`: milliseconds since 1970 UTC, fractions allowed |
 * | string, boolean | `Array` | `Array` | `string`, `boolean` |
 * | binary | `Array` | `Array` | `Uint8Array` |
 * | struct | `Array` | `Array` | plain object, one property a field |
 * | list | `Array` | `Array` | `Array` of values |
 * | tensor | `Array` | `Array` | typed array of the element type, row-major |
 *
 * @module
 */

/** The scalar types by name. */
export const SCALAR_TYPES = [
  "string",
  "int32",
  "int64",
  "float32",
  "float64",
  "boolean",
  "timestamp",
  "binary",
] as const;

/** The name of a scalar type. */
export type ScalarType = typeof SCALAR_TYPES[number];

/** The types a tensor's elements may have. */
export type TensorElement = "int32" | "int64" | "float32" | "float64";

/** The type of a column: a scalar's name, or the description of a nested type. */
export type DataType =
  | ScalarType
  | { readonly struct: readonly Field[] }
  | { readonly list: DataType }
  | { readonly tensor: TensorElement; readonly shape: readonly number[] };

/** A named column of a schema, or a named field of a struct. */
export interface Field {
  readonly name: string;
  readonly type: DataType;
  /** Whether values may be null. Default true. */
  readonly nullable?: boolean;
}

/** The values of a column; see the table at the top of this module for which type uses which. */
export type ColumnData =
  | readonly unknown[]
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** The order and types of a batch's columns. Names are unique and case-sensitive. */
export class Schema {
  readonly fields: readonly Field[];
  readonly #index: Map<string, number>;

  /** @throws {TypeError} when two fields share a name */
  constructor(fields: readonly Field[]) {
    this.#index = new Map();
    for (const [position, field] of fields.entries()) {
      if (this.#index.has(field.name)) {
        throw new TypeError(
          `Cannot build a schema with column "${field.name}" twice: names must be unique`,
        );
      }
      this.#index.set(field.name, position);
    }
    this.fields = Object.freeze(fields.slice());
  }

  /** The column names, in order. */
  get names(): string[] {
    return this.fields.map((field) => field.name);
  }

  /** Whether there is a column of this name. */
  has(name: string): boolean {
    return this.#index.has(name);
  }

  /** The position of a column, or -1. */
  indexOf(name: string): number {
    return this.#index.get(name) ?? -1;
  }

  /** The field of this name, or undefined. */
  find(name: string): Field | undefined {
    const position = this.#index.get(name);
    return position === undefined ? undefined : this.fields[position];
  }

  /**
   * The field of this name.
   * @throws {RangeError} naming the columns there are, when there is none of this name
   */
  field(name: string): Field {
    const field = this.find(name);
    if (field === undefined) throw unknownColumn(name, this.names);
    return field;
  }

  /** A schema with the field put in place of the one of its name, or added at the end. */
  with(field: Field): Schema {
    const position = this.indexOf(field.name);
    if (position < 0) return new Schema([...this.fields, field]);
    return new Schema(this.fields.with(position, field));
  }

  /** A schema of these columns, in this order. */
  select(names: readonly string[]): Schema {
    return new Schema(names.map((name) => this.field(name)));
  }

  /** A schema without these columns; names that it lacks are ignored. */
  without(names: readonly string[]): Schema {
    return new Schema(this.fields.filter((field) => !names.includes(field.name)));
  }

  /** Whether both have the same columns of the same types in the same order. */
  equals(other: Schema): boolean {
    return this === other || sameFields(this.fields, other.fields);
  }

  /** The schema in DDL: `id string, value string`. */
  toString(): string {
    return this.fields.map((field) => `${field.name} ${typeName(field.type)}`).join(", ");
  }

  /** Plain data, for JSON and for other threads; {@linkcode Schema.fromJSON} reads it. */
  toJSON(): readonly Field[] {
    return this.fields;
  }

  /** The schema of what {@linkcode Schema.toJSON} gave. */
  static fromJSON(fields: readonly Field[]): Schema {
    return new Schema(fields);
  }
}

/** A batch as plain data that `postMessage` can carry. */
export interface WireBatch {
  readonly numRows: number;
  /** The fields; left out when the receiver has them already. */
  readonly fields?: readonly Field[];
  readonly columns: readonly ColumnData[];
}

/**
 * Columns of equal length under a schema.
 *
 * @example Build, change, read
 * ```ts
 * import { Batch, Schema } from "./batch.ts";
 * import assert from "node:assert/strict";
 *
 * const schema = new Schema([{ name: "id", type: "string" }, { name: "n", type: "int32" }]);
 * const batch = Batch.fromRows(schema, [{ id: "a", n: 1 }, { id: "b", n: 2 }]);
 * const kept = batch.filter([false, true]).withColumn("double", "int32", Int32Array.of(4));
 * assert.deepEqual(kept.rows(), [{ id: "b", n: 2, double: 4 }]);
 * ```
 */
export class Batch {
  readonly schema: Schema;
  readonly numRows: number;
  readonly #columns: readonly ColumnData[];

  /**
   * @param schema the columns' names and types
   * @param columns one per field; kept, not copied: do not change them afterwards
   * @param numRows the length of each column; needed only when there are no columns
   * @throws {RangeError} when the number of columns or their lengths do not agree
   */
  constructor(schema: Schema, columns: readonly ColumnData[], numRows?: number) {
    const rows = numRows ?? columns[0]?.length ?? 0;
    if (columns.length !== schema.fields.length) {
      throw new RangeError(
        `Cannot build a batch of ${columns.length} columns: the schema has ${schema.fields.length}`,
      );
    }
    for (let position = 0; position < columns.length; position++) {
      if (columns[position]!.length !== rows) {
        throw new RangeError(
          `Cannot build a batch: column "${schema.fields[position]!.name}" has ` +
            `${columns[position]!.length} values, the batch has ${rows} rows`,
        );
      }
    }
    this.schema = schema;
    this.numRows = rows;
    this.#columns = columns;
    Object.freeze(this);
  }

  /** A batch without rows. */
  static empty(schema: Schema): Batch {
    return new Batch(schema, schema.fields.map((field) => pack(field.type, [])), 0);
  }

  /**
   * A batch of rows given as objects. Absent and undefined properties become null; properties that
   * the schema lacks are ignored.
   * @throws {TypeError} when a value does not fit its column, naming row, column, type and value
   */
  static fromRows(schema: Schema, rows: readonly Record<string, unknown>[]): Batch {
    const columns = schema.fields.map((field) => {
      const values = rows.map((row, index) => checkValue(field, row[field.name], index));
      return pack(field.type, values);
    });
    return new Batch(schema, columns, rows.length);
  }

  /** All rows of the batches, in order. The batches must have equal schemas. */
  static concat(batches: readonly Batch[]): Batch {
    const first = batches[0];
    if (first === undefined) throw new RangeError("Cannot concat no batches: give at least one");
    if (batches.length === 1) return first;
    for (const batch of batches) {
      if (!batch.schema.equals(first.schema)) {
        throw new TypeError(
          `Cannot concat batches of different schemas: (${first.schema}) and (${batch.schema})`,
        );
      }
    }
    const numRows = batches.reduce((sum, batch) => sum + batch.numRows, 0);
    const columns = first.schema.fields.map((_, position) =>
      concatData(batches.map((batch) => batch.#columns[position]!), numRows)
    );
    return new Batch(first.schema, columns, numRows);
  }

  /**
   * The values of a column; do not change them.
   * @throws {RangeError} naming the columns there are
   */
  column(name: string): ColumnData {
    const position = this.schema.indexOf(name);
    if (position < 0) throw unknownColumn(name, this.schema.names);
    return this.#columns[position]!;
  }

  /** The values of the column at a position of the schema. */
  columnAt(position: number): ColumnData {
    const data = this.#columns[position];
    if (data === undefined) throw new RangeError(`No column at position ${position}`);
    return data;
  }

  /** A batch of these columns, in this order. */
  select(names: readonly string[]): Batch {
    return new Batch(
      this.schema.select(names),
      names.map((name) => this.column(name)),
      this.numRows,
    );
  }

  /** A batch without these columns; names it lacks are ignored. */
  drop(names: readonly string[]): Batch {
    return this.select(this.schema.names.filter((name) => !names.includes(name)));
  }

  /**
   * A batch with a column put in place of the one of its name, or added at the end.
   * @param data one value a row. An `Array` is stored as a typed array where the type allows.
   */
  withColumn(name: string, type: DataType, data: ColumnData): Batch {
    const packed = Array.isArray(data) ? pack(type, data) : data;
    const schema = this.schema.with({ name, type });
    const position = this.schema.indexOf(name);
    const columns = position < 0 ? [...this.#columns, packed] : this.#columns.with(
      position,
      packed,
    );
    return new Batch(schema, columns, this.numRows);
  }

  /** A batch with a column under another name. */
  rename(from: string, to: string): Batch {
    const position = this.schema.indexOf(from);
    if (position < 0) throw unknownColumn(from, this.schema.names);
    const fields = this.schema.fields.with(position, {
      ...this.schema.fields[position]!,
      name: to,
    });
    return new Batch(new Schema(fields), this.#columns, this.numRows);
  }

  /**
   * The rows whose mask value is `true` (null and false are left out, as SQL's `where` does).
   * @param mask one value a row
   */
  filter(mask: ArrayLike<unknown>): Batch {
    if (mask.length !== this.numRows) {
      throw new RangeError(
        `Cannot filter ${this.numRows} rows by a mask of ${mask.length}: lengths must agree`,
      );
    }
    const indices: number[] = [];
    for (let row = 0; row < mask.length; row++) {
      if (mask[row] === true || mask[row] === 1) indices.push(row);
    }
    return indices.length === this.numRows ? this : this.take(indices);
  }

  /** The rows at these positions, in this order; a position may repeat. */
  take(indices: ArrayLike<number>): Batch {
    const columns = this.#columns.map((data) => takeData(data, indices));
    return new Batch(this.schema, columns, indices.length);
  }

  /** The rows from `start` up to but not including `end`. */
  slice(start: number, end: number = this.numRows): Batch {
    const from = Math.max(0, start), to = Math.max(from, Math.min(end, this.numRows));
    if (from === 0 && to === this.numRows) return this;
    return new Batch(this.schema, this.#columns.map((data) => data.slice(from, to)), to - from);
  }

  /** One row as an object. */
  row(index: number): Record<string, unknown> {
    if (!(index >= 0 && index < this.numRows)) {
      throw new RangeError(`No row ${index}: the batch has ${this.numRows}`);
    }
    const row: Record<string, unknown> = {};
    const { fields } = this.schema;
    for (let position = 0; position < fields.length; position++) {
      row[fields[position]!.name] = this.#columns[position]![index];
    }
    return row;
  }

  /** All rows as objects, for those who want rows: each call builds them anew. */
  rows(): Record<string, unknown>[] {
    return Array.from({ length: this.numRows }, (_, index) => this.row(index));
  }

  /**
   * The batch as plain data for `postMessage`.
   * @param known the schema that the receiver already has; its fields are then not sent
   */
  toWire(known?: Schema): WireBatch {
    const { numRows } = this;
    if (known !== undefined && known.equals(this.schema)) {
      return { numRows, columns: this.#columns };
    }
    return { numRows, fields: this.schema.fields, columns: this.#columns };
  }

  /**
   * The batch of what {@linkcode Batch.toWire} gave.
   * @param known the schema to use when the message has no fields
   */
  static fromWire(wire: WireBatch, known?: Schema): Batch {
    const schema = wire.fields === undefined ? known : new Schema(wire.fields);
    if (schema === undefined) {
      throw new TypeError("Cannot read a batch without fields: no schema is known");
    }
    return new Batch(schema, wire.columns, wire.numRows);
  }
}

/** A type in DDL: `struct<a: int32, b: list<string>>`, `tensor<float32>[3, 224, 224]`. */
export function typeName(type: DataType): string {
  if (typeof type === "string") return type;
  if ("struct" in type) {
    return `struct<${
      type.struct.map((field) => `${field.name}: ${typeName(field.type)}`).join(", ")
    }>`;
  }
  if ("list" in type) return `list<${typeName(type.list)}>`;
  return `tensor<${type.tensor}>[${type.shape.join(", ")}]`;
}

/** Whether two types are the same. Nullability is not part of a type. */
export function sameType(a: DataType, b: DataType): boolean {
  if (a === b) return true;
  if (typeof a === "string" || typeof b === "string") return false;
  if ("struct" in a) return "struct" in b && sameFields(a.struct, b.struct);
  if ("list" in a) return "list" in b && sameType(a.list, b.list);
  return "tensor" in b && a.tensor === b.tensor && a.shape.length === b.shape.length &&
    a.shape.every((size, axis) => size === b.shape[axis]);
}

/** Whether values of the type are numbers: int32, int64, float32 or float64. */
export function isNumeric(type: DataType): type is "int32" | "int64" | "float32" | "float64" {
  return type === "int32" || type === "int64" || type === "float32" || type === "float64";
}

/**
 * Values as the column storage of a type: a typed array for a numeric or timestamp column without
 * nulls, the array itself otherwise. Values are trusted to be of the type.
 */
export function pack(type: DataType, values: readonly unknown[]): ColumnData {
  const length = values.length;
  switch (type) {
    case "int32":
      return packNumbers(new Int32Array(length), values);
    case "float32":
      return packNumbers(new Float32Array(length), values);
    case "float64":
    case "timestamp":
      return packNumbers(new Float64Array(length), values);
    case "int64": {
      const packed = new BigInt64Array(length);
      for (let row = 0; row < length; row++) {
        const value = values[row];
        if (value === null || value === undefined) return values;
        packed[row] = value as bigint;
      }
      return packed;
    }
    default:
      return values;
  }
}

/**
 * Says what is wrong with a value for a type, or undefined when it fits. Null always fits here.
 * @returns text such as `wanted int32, got "abc"`
 */
export function mismatch(type: DataType, value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof type === "string") {
    return SCALAR_CHECKS[type](value) ? undefined : `wanted ${type}, got ${show(value)}`;
  }
  if ("struct" in type) {
    if (typeof value !== "object" || Array.isArray(value) || ArrayBuffer.isView(value)) {
      return `wanted ${typeName(type)}, got ${show(value)}`;
    }
    for (const field of type.struct) {
      const inner = mismatch(field.type, (value as Record<string, unknown>)[field.name]);
      if (inner !== undefined) return `field "${field.name}": ${inner}`;
    }
    return undefined;
  }
  if ("list" in type) {
    if (!Array.isArray(value) && !ArrayBuffer.isView(value)) {
      return `wanted ${typeName(type)}, got ${show(value)}`;
    }
    const items = value as unknown as ArrayLike<unknown>;
    for (let index = 0; index < items.length; index++) {
      const inner = mismatch(type.list, items[index]);
      if (inner !== undefined) return `item ${index}: ${inner}`;
    }
    return undefined;
  }
  const size = type.shape.reduce((product, axis) => product * axis, 1);
  if (!(value instanceof TENSOR_ARRAYS[type.tensor]) || value.length !== size) {
    return `wanted ${typeName(type)}, got ${show(value)}`;
  }
  return undefined;
}

const TENSOR_ARRAYS = {
  int32: Int32Array,
  int64: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;

const SCALAR_CHECKS: Record<ScalarType, (value: unknown) => boolean> = {
  string: (value) => typeof value === "string",
  int32: (value) => Number.isInteger(value) && (value as number) === ((value as number) | 0),
  int64: (value) => typeof value === "bigint" && BigInt.asIntN(64, value) === value,
  float32: (value) => typeof value === "number",
  float64: (value) => typeof value === "number",
  boolean: (value) => typeof value === "boolean",
  timestamp: (value) => typeof value === "number" && Number.isFinite(value),
  binary: (value) => value instanceof Uint8Array,
};

function checkValue(field: Field, value: unknown, row: number): unknown {
  const wrong = mismatch(field.type, value);
  if (wrong !== undefined) {
    throw new TypeError(`Cannot store row ${row}, column "${field.name}": ${wrong}`);
  }
  return value ?? null;
}

function show(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`;
  const text =
    JSON.stringify(value, (_, inner) => typeof inner === "bigint" ? `${inner}` : inner) ??
      String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function packNumbers<T extends Int32Array | Float32Array | Float64Array>(
  packed: T,
  values: readonly unknown[],
): T | readonly unknown[] {
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (value === null || value === undefined) return values;
    packed[row] = value as number;
  }
  return packed;
}

function takeData(data: ColumnData, indices: ArrayLike<number>): ColumnData {
  const length = indices.length;
  if (data instanceof BigInt64Array) {
    const taken = new BigInt64Array(length);
    for (let row = 0; row < length; row++) taken[row] = data[indices[row]!]!;
    return taken;
  }
  const taken: unknown[] | Int32Array | Float32Array | Float64Array = Array.isArray(data)
    ? new Array(length)
    : new (data.constructor as new (length: number) => Float64Array)(length);
  for (let row = 0; row < length; row++) taken[row] = data[indices[row]!] as number;
  return taken;
}

function concatData(parts: readonly ColumnData[], length: number): ColumnData {
  const first = parts[0]!;
  if (Array.isArray(first) || parts.some((part) => part.constructor !== first.constructor)) {
    const joined: unknown[] = [];
    for (const part of parts) for (let row = 0; row < part.length; row++) joined.push(part[row]);
    return joined;
  }
  const joined = new (first.constructor as new (length: number) => Float64Array)(length);
  let offset = 0;
  for (const part of parts) {
    joined.set(part as Float64Array, offset);
    offset += part.length;
  }
  return joined;
}

function sameFields(a: readonly Field[], b: readonly Field[]): boolean {
  return a === b ||
    a.length === b.length &&
      a.every((field, position) =>
        field.name === b[position]!.name && sameType(field.type, b[position]!.type)
      );
}

function unknownColumn(name: string, names: readonly string[]): RangeError {
  return new RangeError(`No column "${name}": there are ${names.map((n) => `"${n}"`).join(", ")}`);
}
