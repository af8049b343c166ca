/**
 * JSON to typed columns. What depends on the schema alone is decided once; then there is one
 * `JSON.parse` a body and no closure.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type DataType, type Field, Schema, type TensorElement, typeName } from "./batch.ts";
import { parseTimestamp } from "./expressions/timestamps.ts";
import { PlanError } from "../plugins/errors.ts";

/**
 * Which bodies pass. `full`: those in which every field and every list item is there and fits.
 * `partial`: those that are a JSON object, in which the fields declared `not null` are there and fit;
 * other fields become null where they do not. `none`: all, with nulls for what does not fit.
 */
export type ParsingCheck = "none" | "partial" | "full";

/** Besides, `given`: what is there fits, and the fields declared `not null` are there. */
export type JsonCheck = ParsingCheck | "given";

/** Reads bodies, or rows, of one schema. */
export class JsonReader {
  /** The columns it fills: the schema's, not nullable where the check makes sure of that. */
  readonly schema: Schema;
  readonly #fields: readonly FieldReader[];
  readonly #lenient: boolean;
  readonly #misfit: Misfit = { path: [], wanted: "", given: "", exact: false, inexact: false };

  /** @throws {PlanError} when a field has a name that objects cannot have */
  constructor(schema: Schema, check: JsonCheck) {
    this.#lenient = check === "none";
    this.#fields = schema.fields.map((field) => fieldReader(field, check));
    this.schema = new Schema(schema.fields.map((field) => checkedField(field, check)));
  }

  /**
   * Reads a body into a row of the columns.
   * @param body its text; null when there is none, undefined when its bytes are no text
   * @param columns one a field
   * @returns what is wrong with the body, or undefined when it passes
   */
  read(
    body: string | null | undefined,
    columns: readonly unknown[][],
    row: number,
  ): string | undefined {
    const wrong = this.#read(body, columns, row);
    if (wrong === undefined || !this.#lenient) return wrong;
    for (const column of columns) column[row] = null;
  }

  /**
   * Reads a row that is an object already, whose integers are as exact as they can be.
   * @returns what is wrong with the row, or undefined when it passes
   */
  readRow(value: JsonObject, columns: readonly unknown[][], row: number): string | undefined {
    const misfit = this.#misfit;
    misfit.exact = true;
    return this.#fill(value, columns, row) ? undefined : misfitText(misfit);
  }

  #read(
    body: string | null | undefined,
    columns: readonly unknown[][],
    row: number,
  ): string | undefined {
    if (body === undefined) return `${AT_ROOT}, given bytes that are not UTF-8`;
    if (body === null || body.trim() === "") return `${AT_ROOT}, given nothing`;
    // A byte order mark is no part of the JSON.
    const json = body.charCodeAt(0) === 0xfeff ? body.slice(1) : body;
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch (error) {
      return `${AT_ROOT}, given text that is not JSON${positionOf(error)}`;
    }
    const misfit = this.#misfit;
    misfit.exact = misfit.inexact = false;
    let fits = this.#fill(value, columns, row);
    if (misfit.inexact) {
      misfit.exact = true;
      fits = this.#fill(parseExactly(json), columns, row);
    }
    if (fits) return undefined;
    if (misfit.path.length === 0) return `${AT_ROOT}, given ${kindOf(value)}`;
    return `Cannot read ${misfitText(misfit)}`;
  }

  #fill(value: unknown, columns: readonly unknown[][], row: number): boolean {
    const misfit = this.#misfit;
    misfit.path.length = 0;
    if (!isObject(value)) return false;
    const fields = this.#fields;
    for (let at = 0; at < fields.length; at++) {
      const given = readField(fields[at]!, value, misfit);
      if (given === undefined) return false;
      columns[at]![row] = given;
    }
    return true;
  }
}

/** Why a value does not fit; one of these serves all rows. */
interface Misfit {
  /** Innermost first. */
  readonly path: (string | number)[];
  wanted: string;
  given: string;
  /** Whether large integers have been read from the text, as bigints. */
  exact: boolean;
  /** Set when an integer was too large to be exact. */
  inexact: boolean;
}

/** A value of the type; undefined when it does not fit, and why is in `misfit`. */
type Reader = (value: NonNullable<unknown>, misfit: Misfit) => unknown;

interface FieldReader {
  readonly name: string;
  readonly wanted: string;
  /** Whether there must be a value. */
  readonly required: boolean;
  /** Whether a value that does not fit becomes null. */
  readonly lenient: boolean;
  /** Whether every object has something of this name, so that it must be its own. */
  readonly inherited: boolean;
  readonly read: Reader;
}

type JsonObject = Readonly<Record<string, unknown>>;

const AT_ROOT = "Cannot read the body: wanted a JSON object";

/** How much of a value a message shows, in characters. */
const SHOWN = 32;

function fieldReader({ name, type, nullable }: Field, check: JsonCheck): FieldReader {
  if (name === "__proto__") {
    throw new PlanError(`Cannot read a field named "${name}": choose another name`);
  }
  return {
    name,
    wanted: wantedOf(type),
    required: isRequired(nullable, check),
    lenient: check !== "given" && !isRequired(nullable, check),
    inherited: name in Object.prototype,
    read: readerOf(type, check),
  };
}

function isRequired(nullable: boolean | undefined, check: JsonCheck): boolean {
  return check === "full" || (check === "partial" || check === "given") && nullable === false;
}

/** A value, null in place of one that is not there; undefined when that may not be. */
function readField(field: FieldReader, object: JsonObject, misfit: Misfit): unknown {
  const { name } = field;
  const given = field.inherited && !Object.hasOwn(object, name) ? undefined : object[name];
  if (given !== undefined && given !== null) {
    const value = field.read(given, misfit);
    if (value !== undefined) return value;
  } else if (field.required) {
    misfit.wanted = field.wanted;
    misfit.given = given === null ? "null" : "nothing";
  } else return null;
  if (field.lenient) {
    misfit.path.length = 0;
    return null;
  }
  misfit.path.push(name);
  return undefined;
}

function readerOf(type: DataType, check: JsonCheck): Reader {
  if (typeof type === "string") return SCALARS[type];
  if ("struct" in type) return structReader(type.struct, check);
  if ("list" in type) return listReader(type.list, check);
  return tensorReader(type.tensor, type.shape, typeName(type));
}

const SCALARS = {
  string: (value, misfit) => typeof value === "string" ? value : refuse(misfit, "string", value),
  boolean: (value, misfit) => typeof value === "boolean" ? value : refuse(misfit, "boolean", value),
  int32: (value, misfit) =>
    typeof value === "number" && value === (value | 0) ? value | 0 : refuse(misfit, "int32", value),
  int64: readInt64,
  float32: (value, misfit) => {
    const number = typeof value === "bigint" ? Number(value) : value;
    const rounded = typeof number === "number" ? Math.fround(number) : NaN;
    return Number.isFinite(rounded) ? rounded : refuse(misfit, "float32", value);
  },
  float64: (value, misfit) => {
    const number = typeof value === "bigint" ? Number(value) : value;
    return Number.isFinite(number) ? number : refuse(misfit, "float64", value);
  },
  timestamp: readTimestamp,
  binary: readBase64,
} satisfies Record<string, Reader>;

function readInt64(value: unknown, misfit: Misfit): unknown {
  if (typeof value === "number") {
    if (Number.isSafeInteger(value)) return BigInt(value);
    if (!misfit.exact && Number.isInteger(value) && Math.abs(value) <= 2 ** 63) {
      misfit.inexact = true;
    }
  } else if (typeof value === "bigint" && BigInt.asIntN(64, value) === value) return value;
  return refuse(misfit, "int64", value);
}

function readTimestamp(value: unknown, misfit: Misfit): unknown {
  if (typeof value === "string") {
    const timestamp = parseTimestamp(value);
    if (timestamp !== null) return timestamp;
    // Spark reads numbers as seconds. Dates go no further than this.
  } else if (typeof value === "number" && Math.abs(value) <= 8.64e12) return value * 1000;
  return refuse(misfit, WANTED_TIMESTAMP, value);
}

function readBase64(value: unknown, misfit: Misfit): unknown {
  if (typeof value === "string") {
    const digits = value.length - (value.endsWith("==") ? 2 : value.endsWith("=") ? 1 : 0);
    const complete = digits === value.length ? digits % 4 !== 1 : value.length % 4 === 0;
    if (complete && BASE64.test(value)) {
      const bytes = Buffer.from(value, "base64");
      // A small buffer is a piece of a shared one, which would go along to other threads.
      return bytes.byteLength === bytes.buffer.byteLength
        ? new Uint8Array(bytes.buffer)
        : new Uint8Array(bytes);
    }
  }
  return refuse(misfit, WANTED_BINARY, value);
}

function structReader(fields: readonly Field[], check: JsonCheck): Reader {
  const readers = fields.map((field) => fieldReader(field, check));
  return (value, misfit) => {
    if (!isObject(value)) return refuse(misfit, "an object", value);
    const struct: Record<string, unknown> = {};
    for (let at = 0; at < readers.length; at++) {
      const inner = readField(readers[at]!, value, misfit);
      if (inner === undefined) return undefined;
      struct[readers[at]!.name] = inner;
    }
    return struct;
  };
}

function listReader(type: DataType, check: JsonCheck): Reader {
  const read = readerOf(type, check);
  const wanted = wantedOf(type);
  const required = check === "full";
  const lenient = !required && check !== "given";
  return (value, misfit) => {
    if (!Array.isArray(value)) return refuse(misfit, "a list", value);
    const items: unknown[] = new Array(value.length);
    for (let at = 0; at < items.length; at++) {
      const given: unknown = value[at];
      if (given === null && !required) {
        items[at] = null;
        continue;
      }
      let item = given === null ? refuse(misfit, wanted, null) : read(given!, misfit);
      if (item === undefined) {
        if (!lenient) {
          misfit.path.push(at);
          return undefined;
        }
        misfit.path.length = 0;
        item = null;
      }
      items[at] = item;
    }
    return items;
  };
}

const TENSOR_ARRAYS = {
  int32: Int32Array,
  int64: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;

function tensorReader(element: TensorElement, shape: readonly number[], name: string): Reader {
  const size = shape.reduce((product, axis) => product * axis, 1);
  const read: Reader = SCALARS[element];
  return (value, misfit) => {
    const elements = new TENSOR_ARRAYS[element](size) as Float64Array;
    const end = fill(elements, 0, 0, value, misfit);
    return end < 0 ? undefined : elements;
  };

  /** @returns the position after what was filled in, or -1 when the value does not fit */
  function fill(
    elements: Float64Array,
    start: number,
    axis: number,
    value: unknown,
    misfit: Misfit,
  ): number {
    if (axis === shape.length) {
      const number = value === null ? refuse(misfit, element, null) : read(value!, misfit);
      if (number === undefined) return -1;
      elements[start] = number as number;
      return start + 1;
    }
    if (!Array.isArray(value) || value.length !== shape[axis]) {
      refuse(misfit, `a list of ${shape[axis]} (${name})`, value);
      return -1;
    }
    let end = start;
    for (let at = 0; at < value.length; at++) {
      end = fill(elements, end, axis + 1, value[at], misfit);
      if (end < 0) {
        misfit.path.push(at);
        return -1;
      }
    }
    return end;
  }
}

function refuse(misfit: Misfit, wanted: string, value: unknown): undefined {
  misfit.wanted = wanted;
  misfit.given = show(value);
}

const WANTED_TIMESTAMP = "timestamp (ISO 8601 text, or seconds since 1970)";
const WANTED_BINARY = "binary (base64 text)";
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

function wantedOf(type: DataType): string {
  if (type === "timestamp") return WANTED_TIMESTAMP;
  if (type === "binary") return WANTED_BINARY;
  if (typeof type === "string" || "tensor" in type) return typeName(type);
  return "struct" in type ? "an object" : "a list";
}

/** Not the value of a body as a whole: that is not sent back. */
function show(value: unknown): string {
  if (typeof value === "string") {
    return value.length <= SHOWN
      ? JSON.stringify(value)
      : `${JSON.stringify(value.slice(0, SHOWN))}... (${value.length} characters)`;
  }
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "string" ? "text" : `a ${typeof value}`;
}

function misfitText({ path, wanted, given }: Misfit): string {
  return `field "${pathText(path)}": wanted ${wanted}, given ${given}`;
}

/** `a.b[2].c`. */
function pathText(path: readonly (string | number)[]): string {
  return path.reduceRight<string>(
    (text, step) =>
      typeof step === "number" ? `${text}[${step}]` : text === "" ? step : `${text}.${step}`,
    "",
  );
}

/** V8's messages quote the text, so only the position is taken from them. */
function positionOf(error: unknown): string {
  const { message } = error as Error;
  const found = / at position (\d+)/.exec(message);
  if (found !== null) return ` (at position ${found[1]})`;
  return message.startsWith("Unexpected end") ? " (it ends too early)" : "";
}

/** The value of a JSON text, with bigints for integers that a number would round. */
function parseExactly(json: string): unknown {
  return JSON.parse(json, exactInteger as (key: string, value: unknown) => unknown);
}

function exactInteger(_key: string, value: unknown, context: { readonly source: string }): unknown {
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) &&
      Math.abs(value) <= 2 ** 63
    ? integerOf(context.source) ?? value
    : value;
}

/**
 * The integer that the text of a number up to 2^63 is, such as `9007199254740993` or `1e18`; undefined
 * for a fraction, and for a text so long that working with it would take its time.
 */
function integerOf(source: string): bigint | undefined {
  if (source.length > MAX_DIGITS) return undefined;
  const [, sign, whole, fraction = "", exponent = "0"] = NUMBER.exec(source)!;
  const digits = BigInt(`${whole}${fraction}`);
  const shift = Number(exponent) - fraction.length;
  const size = 10n ** BigInt(Math.abs(shift));
  if (shift < 0 && digits % size !== 0n) return undefined;
  const value = shift < 0 ? digits / size : digits * size;
  return sign === "-" ? -value : value;
}

const MAX_DIGITS = 40;
const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The field as it is after the check, inner fields too. */
function checkedField({ name, type, nullable }: Field, check: JsonCheck): Field {
  const checked = { name, type: checkedType(type, check) };
  return isRequired(nullable, check) ? { ...checked, nullable: false } : checked;
}

function checkedType(type: DataType, check: JsonCheck): DataType {
  if (typeof type === "string" || "tensor" in type) return type;
  return "list" in type
    ? { list: checkedType(type.list, check) }
    : { struct: type.struct.map((field) => checkedField(field, check)) };
}
