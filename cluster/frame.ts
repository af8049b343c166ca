/**
 * The binary form of what an exchange carries: batches column by column, exactly; replies; failures.
 * Numbers travel as the bytes of typed arrays (little-endian, as on every machine that Deno runs on),
 * all else as MessagePack.
 *
 * Frames on a stream are `length u32 | kind u8 | number u32 | payload`, big-endian; `length` counts what
 * comes after it.
 *
 * @module
 */
import { Packr } from "msgpackr/pack";
import { Unpackr } from "msgpackr/unpack";
import {
  Batch,
  type ColumnData,
  type DataType,
  type Field,
  SCALAR_TYPES,
  type ScalarType,
  Schema,
  typeName,
} from "../engine/batch.ts";
import type { RowFailure } from "../engine/pipeline.ts";
import type { Reply } from "../plugins/contract.ts";
import { ExchangeError, type StageRequest, type StageResponse } from "./exchange.ts";

/** Bytes that are no frame, or no message. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** Longest frame, in bytes. */
export const MAX_FRAME_BYTES = 256 * 1024 * 1024;

const HEADER_BYTES = 9;

/** What came over a stream. */
export interface Frame {
  readonly kind: number;
  /** Which call it belongs to. */
  readonly number: number;
  readonly payload: Uint8Array;
}

/**
 * A frame as bytes.
 * @throws {FrameError} when it is too long
 */
export function encodeFrame(kind: number, number: number, payload: Uint8Array): Uint8Array {
  const length = HEADER_BYTES + payload.length;
  if (length > MAX_FRAME_BYTES) {
    throw new FrameError(
      `Cannot send a frame of ${length} bytes: at most ${MAX_FRAME_BYTES} are allowed`,
    );
  }
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length - 4);
  view.setUint8(4, kind);
  view.setUint32(5, number);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #buffer = new Uint8Array(65_536);
  #start = 0;
  #end = 0;

  /** Where the next bytes of the stream are to be put; tell {@linkcode FrameReader.filled} how many. */
  room(): Uint8Array {
    if (this.#start === this.#end) this.#start = this.#end = 0;
    const held = this.#end - this.#start;
    if (this.#end === this.#buffer.length) {
      // More than the bytes at hand ask for is never set aside, whatever a frame says of its length.
      const roomy = held * 2 > this.#buffer.length
        ? new Uint8Array(this.#buffer.length * 2)
        : this.#buffer;
      roomy.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = roomy;
      this.#start = 0;
      this.#end = held;
    }
    return this.#buffer.subarray(this.#end);
  }

  filled(count: number): void {
    this.#end += count;
  }

  /** Whether the stream has stopped inside a frame. */
  get isCut(): boolean {
    return this.#end > this.#start;
  }

  /**
   * The next whole frame; undefined when more bytes are needed. Its payload is a copy.
   * @throws {FrameError} when the length is not one
   */
  next(): Frame | undefined {
    const held = this.#end - this.#start;
    if (held < 4) return undefined;
    const view = new DataView(this.#buffer.buffer, this.#start);
    const length = view.getUint32(0);
    if (length < HEADER_BYTES - 4 || length > MAX_FRAME_BYTES - 4) {
      throw new FrameError(`Cannot read a frame of ${length} bytes: that is no length of one`);
    }
    if (held < length + 4) return undefined;
    const payload = this.#buffer.slice(this.#start + HEADER_BYTES, this.#start + 4 + length);
    this.#start += 4 + length;
    return { kind: view.getUint8(4), number: view.getUint32(5), payload };
  }
}

/**
 * @throws {TypeError} when a value does not fit its column
 */
export function encodeRequest({ stage, batch }: StageRequest): Uint8Array {
  return pack([stage, ...encodeBatch(batch)]);
}

/** @throws {FrameError} when the bytes are no request */
export function decodeRequest(bytes: Uint8Array): StageRequest {
  return decoding("request", () => {
    const [stage, ...batch] = tuple(unpack(bytes), 4);
    return { stage: count(stage), batch: decodeBatch(batch) };
  });
}

/** Replies that are none become a 500. */
export function encodeResponse({ replies, failures }: StageResponse): Uint8Array {
  return pack([
    replies.map(([id, reply]) => [encodeText(id), ...encodeReply(reply)]),
    failures.map(({ id, status, message }) => [encodeText(id), status, encodeText(message)]),
  ]);
}

/** @throws {FrameError} when the bytes are no response */
export function decodeResponse(bytes: Uint8Array): StageResponse {
  return decoding("response", () => {
    const [replies, failures] = tuple(unpack(bytes), 2);
    return {
      replies: items(replies).map((each) => {
        const [id, status, body, headers] = tuple(each, 4);
        return [decodeText(id), decodeReply(status, body, headers)] as const;
      }),
      failures: items(failures).map((each): RowFailure => {
        const [id, status, message] = tuple(each, 3);
        return { id: decodeText(id), status: count(status), message: decodeText(message) };
      }),
    };
  });
}

/** A few values as bytes: texts and numbers. */
export function encodeValues(values: readonly (string | number)[]): Uint8Array {
  return pack(values.map((value) => typeof value === "string" ? encodeText(value) : value));
}

/** @throws {FrameError} when the bytes are not so many values */
export function decodeValues(bytes: Uint8Array, length: number): unknown[] {
  return decoding(
    "message",
    () =>
      tuple(unpack(bytes), length).map((value) =>
        typeof value === "number" ? value : decodeText(value)
      ),
  );
}

/** An error as bytes; {@linkcode decodeError} reads it. */
export function encodeError(error: unknown): Uint8Array {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return encodeValues([name, message]);
}

/** @throws {FrameError} when the bytes are no error */
export function decodeError(bytes: Uint8Array): Error {
  const [name, message] = decodeValues(bytes, 2).map(String);
  return name === "ExchangeError"
    ? new ExchangeError(message)
    : Object.assign(new Error(message), { name });
}

// A packer that keeps no records of its own: a frame is read without what came before it.
const packer = new Packr({ useRecords: false, variableMapSize: true, bundleStrings: false });
const unpacker = new Unpackr({ useRecords: false, int64AsType: "bigint", mapsAsObjects: false });

function pack(value: unknown): Uint8Array {
  return packer.pack(value);
}

function unpack(bytes: Uint8Array): unknown {
  return unpacker.unpack(bytes);
}

function decoding<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FrameError(`Cannot read a ${what}: ${why}`, { cause: error });
  }
}

const schemaTexts = new WeakMap<Schema, string>();
/** Schemas by their text: few, and each comes again and again. */
const schemas = new Map<string, Schema>();
const MAX_SCHEMAS = 64;

function encodeBatch(batch: Batch): unknown[] {
  const { schema, numRows } = batch;
  let text = schemaTexts.get(schema);
  if (text === undefined) schemaTexts.set(schema, text = JSON.stringify(schema));
  const columns = schema.fields.map(({ name, type }, position) => {
    try {
      return encodeColumn(type, batch.columnAt(position));
    } catch (error) {
      throw new TypeError(`Cannot send column "${name}": ${(error as Error).message}`);
    }
  });
  return [text, numRows, columns];
}

function decodeBatch([text, numRows, columns]: readonly unknown[]): Batch {
  const schema = decodeSchema(text);
  const rows = count(numRows);
  const data = tuple(columns, schema.fields.length).map((column, position) =>
    decodeColumn(schema.fields[position]!.type, column, rows)
  );
  return new Batch(schema, data, rows);
}

function decodeSchema(text: unknown): Schema {
  if (typeof text !== "string") throw new TypeError("wanted a schema");
  let schema = schemas.get(text);
  if (schema === undefined) {
    schema = new Schema(decodeFields(JSON.parse(text)));
    if (schemas.size >= MAX_SCHEMAS) schemas.clear();
    schemas.set(text, schema);
  }
  return schema;
}

function decodeFields(fields: unknown): Field[] {
  return items(fields).map((field) => {
    const { name, type, nullable } = object(field);
    if (typeof name !== "string") throw new TypeError("wanted the name of a column");
    return {
      name,
      type: decodeType(type),
      ...(typeof nullable === "boolean" ? { nullable } : {}),
    };
  });
}

function decodeType(type: unknown): DataType {
  if (SCALAR_TYPES.includes(type as ScalarType)) return type as ScalarType;
  const { struct, list, tensor, shape } = object(type);
  if (struct !== undefined) return { struct: decodeFields(struct) };
  if (list !== undefined) return { list: decodeType(list) };
  if (typeof tensor !== "string" || !Object.hasOwn(TENSORS, tensor)) {
    throw new TypeError("wanted a type");
  }
  return { tensor: tensor as keyof typeof TENSORS, shape: items(shape).map(count) };
}

type Numbers = Int32Array | BigInt64Array | Float32Array | Float64Array;
type NumbersType = { new (length: number): Numbers; new (buffer: ArrayBuffer): Numbers } & {
  readonly BYTES_PER_ELEMENT: number;
};

const TENSORS = {
  int32: Int32Array as unknown as NumbersType,
  int64: BigInt64Array as unknown as NumbersType,
  float32: Float32Array as unknown as NumbersType,
  float64: Float64Array as unknown as NumbersType,
} as const;

/** The typed array of a column without nulls. */
const PACKED: { readonly [type in ScalarType]?: NumbersType } = {
  ...TENSORS,
  timestamp: TENSORS.float64,
};

/** What stands for a value in a column's mask; of lists, 2 is one that is a typed array. */
const NULL = 0, VALUE = 1, TYPED = 2;

function encodeColumn(type: DataType, data: ArrayLike<unknown>): unknown {
  if (typeof type === "string") {
    switch (type) {
      case "string":
        return Array.from(data, (value) => isNull(value) ? null : encodeText(value));
      case "binary":
        return Array.from(data, (value) => isNull(value) ? null : encodeBinary(value));
      case "boolean":
        return Uint8Array.from(data, (value) => isNull(value) ? NULL : boolean(value) ? 2 : 1);
      default:
        return encodeNumbers(type, data);
    }
  }
  if ("struct" in type) {
    const mask = maskOf(data, (value) => {
      if (typeof value !== "object") throw unfit(type, value);
      return VALUE;
    });
    const columns = type.struct.map((field) =>
      encodeColumn(
        field.type,
        Array.from(
          data,
          (value) => isNull(value) ? null : (value as Record<string, unknown>)[field.name],
        ),
      )
    );
    return [mask, columns];
  }
  if ("list" in type) {
    const packed = typeof type.list === "string" ? PACKED[type.list] : undefined;
    const all: unknown[] = [];
    const mask = maskOf(data, (value) => {
      if (!Array.isArray(value) && !ArrayBuffer.isView(value)) throw unfit(type, value);
      const list = value as ArrayLike<unknown>;
      for (let at = 0; at < list.length; at++) all.push(list[at]);
      return packed !== undefined && value instanceof packed ? TYPED : VALUE;
    });
    return [mask, lengthsOf(data), encodeColumn(type.list, all)];
  }
  const TensorArray = TENSORS[type.tensor];
  const mask = maskOf(data, (value) => {
    if (!(value instanceof TensorArray)) throw unfit(type, value);
    return VALUE;
  });
  const lengths = lengthsOf(data);
  const all = new TensorArray(
    Array.from(data).reduce((sum: number, each) => sum + ((each as Numbers)?.length ?? 0), 0),
  );
  let offset = 0;
  for (let row = 0; row < data.length; row++) {
    const value = data[row] as Float64Array | null;
    if (isNull(value)) continue;
    (all as Float64Array).set(value!, offset);
    offset += value!.length;
  }
  return [mask, lengths, bytesOf(all)];
}

function decodeColumn(type: DataType, column: unknown, numRows: number): ColumnData {
  if (typeof type === "string") {
    switch (type) {
      case "string":
        return tuple(column, numRows).map((value) => value === null ? null : decodeText(value));
      case "binary":
        return tuple(column, numRows).map((value) => value === null ? null : copyOf(bytes(value)));
      case "boolean":
        return Array.from(bytes(column, numRows), (value) => value === NULL ? null : value === 2);
      default:
        return decodeNumbers(type, column, numRows);
    }
  }
  if ("struct" in type) {
    const [mask, fields] = tuple(column, 2);
    const present = bytes(mask, numRows);
    const columns = tuple(fields, type.struct.length).map((field, position) =>
      decodeColumn(type.struct[position]!.type, field, numRows)
    );
    return Array.from(present, (mark, row) => {
      if (mark === NULL) return null;
      const struct: Record<string, unknown> = {};
      for (let position = 0; position < columns.length; position++) {
        setField(struct, type.struct[position]!.name, columns[position]![row]);
      }
      return struct;
    });
  }
  const [mask, rest, values] = tuple(column, 3);
  const present = bytes(mask, numRows);
  const lengths = new Uint32Array(copyOf(bytes(rest, numRows * 4)).buffer);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  let offset = 0;
  if ("tensor" in type) {
    const TensorArray = TENSORS[type.tensor];
    const all = numbersOf(TensorArray, values, total) as Float64Array;
    return Array.from(present, (mark, row) => {
      const start = offset;
      offset += lengths[row]!;
      return mark === NULL ? null : all.slice(start, offset);
    });
  }
  if (total > MAX_FRAME_BYTES) throw new TypeError(`wanted a list, got ${total} items`);
  const all = Array.from(decodeColumn(type.list, values, total));
  const packed = typeof type.list === "string" ? PACKED[type.list] : undefined;
  return Array.from(present, (mark, row) => {
    const start = offset;
    offset += lengths[row]!;
    if (mark === NULL) return null;
    const list = all.slice(start, offset);
    if (mark !== TYPED || packed === undefined) return list;
    return fill(new packed(list.length), list);
  });
}

/** A typed array as its bytes; an array as a mask and the bytes of its values. */
function encodeNumbers(type: ScalarType, data: ArrayLike<unknown>): unknown {
  const packed = PACKED[type]!;
  if (data instanceof packed) return bytesOf(data);
  const mask = maskOf(data, (value) => {
    if (type === "int64" ? typeof value !== "bigint" : typeof value !== "number") {
      throw unfit(type, value);
    }
    return VALUE;
  });
  return [mask, bytesOf(fill(new (unpackedAs(type))(data.length), data))];
}

function decodeNumbers(type: ScalarType, column: unknown, numRows: number): ColumnData {
  if (!Array.isArray(column)) return numbersOf(PACKED[type]!, column, numRows);
  const [mask, values] = tuple(column, 2);
  const present = bytes(mask, numRows);
  const numbers = numbersOf(unpackedAs(type), values, numRows);
  return Array.from(present, (mark, row) => mark === NULL ? null : numbers[row]!);
}

/** The values of an array need not have been rounded to what the typed array of the type can hold. */
function unpackedAs(type: ScalarType): NumbersType {
  return type === "int64" ? TENSORS.int64 : TENSORS.float64;
}

function fill(numbers: Numbers, values: ArrayLike<unknown>): Numbers {
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    if (!isNull(value)) numbers[at] = value as number;
  }
  return numbers;
}

function numbersOf(type: NumbersType, value: unknown, length: number): Numbers {
  const copy = copyOf(bytes(value, length * type.BYTES_PER_ELEMENT));
  return new type(copy.buffer);
}

function maskOf(data: ArrayLike<unknown>, mark: (value: unknown) => number): Uint8Array {
  const mask = new Uint8Array(data.length);
  for (let row = 0; row < data.length; row++) {
    const value = data[row];
    mask[row] = isNull(value) ? NULL : mark(value);
  }
  return mask;
}

function lengthsOf(data: ArrayLike<unknown>): Uint8Array {
  return bytesOf(
    Uint32Array.from(data, (value) => isNull(value) ? 0 : (value as ArrayLike<unknown>).length),
  );
}

/**
 * Text as MessagePack has it, which knows only UTF-8: halves of surrogate pairs, and a mark at the start
 * that decoders take away, travel as UTF-16.
 */
function encodeText(value: unknown): string | Uint8Array {
  if (typeof value !== "string") throw unfit("string", value);
  if (value.isWellFormed() && !value.startsWith("\ufeff")) return value;
  const units = new Uint16Array(value.length);
  for (let at = 0; at < value.length; at++) units[at] = value.charCodeAt(at);
  return bytesOf(units);
}

function decodeText(value: unknown): string {
  if (typeof value === "string") return value;
  const given = bytes(value);
  if (given.length % 2 !== 0) throw new TypeError("wanted text");
  const units = new Uint16Array(copyOf(given).buffer);
  let text = "";
  for (let start = 0; start < units.length; start += 8192) {
    text += String.fromCharCode(...units.subarray(start, start + 8192));
  }
  return text;
}

function encodeBinary(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw unfit("binary", value);
  return value;
}

function encodeReply(reply: Reply): unknown[] {
  try {
    const { status, body, headers } = reply;
    if (!Number.isInteger(status)) throw unfit("int32", status);
    return [
      status,
      body === null ? null : typeof body === "string" ? [encodeText(body)] : encodeBinary(body),
      headers?.map(([name, value]) => [encodeText(name), encodeText(value)]) ?? null,
    ];
  } catch (error) {
    const message = `Cannot send a reply home: ${(error as Error).message}`;
    const json = [["content-type", "application/json"]];
    return [500, [encodeText(JSON.stringify({ error: message }))], json];
  }
}

function decodeReply(status: unknown, body: unknown, headers: unknown): Reply {
  return {
    status: count(status),
    body: body === null
      ? null
      : Array.isArray(body)
      ? decodeText(tuple(body, 1)[0])
      : copyOf(bytes(body)),
    ...(headers === null ? {} : {
      headers: items(headers).map((header) => {
        const [name, value] = tuple(header, 2);
        return [decodeText(name), decodeText(value)] as const;
      }),
    }),
  };
}

function isNull(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

function boolean(value: unknown): boolean {
  if (typeof value !== "boolean") throw unfit("boolean", value);
  return value;
}

function unfit(type: DataType, value: unknown): TypeError {
  const got = typeof value === "object" ? value?.constructor?.name ?? "an object" : typeof value;
  return new TypeError(`wanted ${typeName(type)}, got ${got}`);
}

function setField(struct: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== "__proto__") struct[name] = value;
  else {
    Object.defineProperty(struct, name, {
      value,
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Bytes of their own, at the start of a buffer; those of the frame need not be aligned. */
function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function bytes(value: unknown, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError("wanted bytes");
  if (length !== undefined && value.length !== length) {
    throw new TypeError(`wanted ${length} bytes, got ${value.length}`);
  }
  return value;
}

function items(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new TypeError("wanted a list");
  return value;
}

function tuple(value: unknown, length: number): unknown[] {
  const list = items(value);
  if (list.length !== length) throw new TypeError(`wanted ${length} values, got ${list.length}`);
  return list;
}

function object(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new TypeError("wanted a map");
  return value as Record<string, unknown>;
}

function count(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new TypeError("wanted a whole number");
  }
  return value;
}
