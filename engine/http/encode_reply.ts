/**
 * Values to HTTP replies, by the type of the reply column. All that depends on the type alone is decided
 * once; then there is one call a row.
 *
 * @module
 */
import type { Reply } from "../../plugins/contract.ts";
import { PlanError, RowError } from "../../plugins/errors.ts";
import { type DataType, type Field, isNumeric, typeName } from "../batch.ts";
import { toBase64 } from "../expressions/json_path.ts";

/** A header as rows carry it. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** The type of a list of headers in a batch. */
export const HEADERS_TYPE: DataType = {
  list: { struct: [{ name: "name", type: "string" }, { name: "value", type: "string" }] },
};

/**
 * Makes the encoder of a column.
 *
 * | type | body | content type |
 * |---|---|---|
 * | string | the text | text/plain; the server writes that by default, so no header is made |
 * | binary | the bytes | application/octet-stream |
 * | struct of `statusCode`, `entity` and maybe `headers` | the entity, by its own type | by `headers`, else by the entity's type |
 * | any other | JSON | application/json |
 *
 * A null value is 204 without a body, a null status code 200, a null entity an empty body.
 *
 * The encoder throws a {@linkcode RowError} of status 500 for a status code or header that cannot be
 * sent.
 * @throws {PlanError} for a response struct whose status code is no integer, or whose headers are no
 *   list of `name` and `value`
 */
export function replyEncoder(type: DataType): (value: unknown) => Reply {
  const encode = isResponse(type) ? responseEncoder(type.struct) : plainEncoder(type);
  return (value) => value === null || value === undefined ? NO_CONTENT : encode(value);
}

/**
 * Makes a writer of JSON text for values of a type. Integers are exact, NaN and the infinities are null,
 * timestamps ISO 8601 text, bytes base64, tensors nested lists by their shape; absent fields are null.
 */
export function jsonWriter(type: DataType): (value: unknown) => string {
  const write = valueWriter(type);
  return (value) => value === null || value === undefined ? "null" : write(value);
}

/**
 * What cannot be in a header, or undefined when it can be sent. It may not break the line, nor be one
 * by which the server frames the message.
 */
export function headerFault(name: unknown, value: unknown): string | undefined {
  if (typeof name !== "string" || !TOKEN.test(name)) {
    return `header name ${quote(name)}: wanted letters, digits and !#$%&'*+-.^_\`|~`;
  }
  if (typeof value !== "string" || !FIELD_VALUE.test(value)) {
    return `header "${name}" with value ${quote(value)}: wanted Latin-1 text without line breaks`;
  }
  if (FRAMING.has(name.toLowerCase())) return `header "${name}": the server sets it; leave it out`;
  return undefined;
}

/** Whether a number is a status that a reply may have: 200 to 599. */
export function isStatus(status: unknown): status is number {
  return Number.isInteger(status) && status as number >= 200 && status as number <= 599;
}

const NO_CONTENT: Reply = Object.freeze({ status: 204, body: null });
/** The headers of a reply in JSON. */
export const JSON_HEADERS: NonNullable<Reply["headers"]> = Object.freeze([
  Object.freeze(["content-type", "application/json"] as const),
]);
const BINARY_HEADERS = Object.freeze([
  Object.freeze(["content-type", "application/octet-stream"] as const),
]);

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const FRAMING: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "upgrade",
  "trailer",
  "te",
]);

const RESPONSE_FIELDS: readonly string[] = ["statusCode", "headers", "entity"];

type StructType = Extract<DataType, { struct: readonly Field[] }>;

/** Whether values of a type are whole responses: structs of `statusCode`, `entity` and maybe `headers`. */
export function isResponse(type: DataType): type is StructType {
  if (typeof type === "string" || !("struct" in type)) return false;
  const names = type.struct.map(({ name }) => name);
  return names.includes("statusCode") && names.includes("entity") &&
    names.every((name) => RESPONSE_FIELDS.includes(name));
}

function plainEncoder(type: DataType): (value: unknown) => Reply {
  if (type === "string") return (value) => ({ status: 200, body: value as string });
  if (type === "binary") {
    return (value) => ({ status: 200, headers: BINARY_HEADERS, body: value as Uint8Array });
  }
  const write = valueWriter(type);
  return (value) => ({ status: 200, headers: JSON_HEADERS, body: write(value) });
}

function responseEncoder(fields: readonly Field[]): (value: unknown) => Reply {
  const typeOf = (name: string) => fields.find((field) => field.name === name)?.type;
  const statusType = typeOf("statusCode")!;
  if (statusType !== "int32" && statusType !== "int64") {
    throw new PlanError(
      `Cannot reply with a struct whose statusCode is ${typeName(statusType)}: wanted int32`,
    );
  }
  checkHeadersType(typeOf("headers"));
  const encodeEntity = plainEncoder(typeOf("entity")!);
  return (value) => {
    const { statusCode, headers, entity } = value instanceof Map
      ? Object.fromEntries(value)
      : value as Record<string, unknown>;
    const status = typeof statusCode === "bigint" ? Number(statusCode) : statusCode ?? 200;
    if (!isStatus(status)) {
      throw new RowError(`Cannot reply with status ${quote(status)}: wanted 200 to 599`, 500);
    }
    const given = headerPairs(headers as readonly HeaderField[] | null | undefined);
    const body = entity === null || entity === undefined ? undefined : encodeEntity(entity);
    const own = body?.headers !== undefined &&
        !given.some(([name]) => name.toLowerCase() === "content-type")
      ? body.headers
      : [];
    const all = own.length === 0 ? given : given.length === 0 ? own : [...own, ...given];
    return { status, body: body?.body ?? null, ...(all.length === 0 ? {} : { headers: all }) };
  };
}

function checkHeadersType(type: DataType | undefined): void {
  if (type === undefined) return;
  if (typeof type !== "string" && "list" in type) {
    const item = type.list;
    if (
      typeof item !== "string" && "struct" in item &&
      ["name", "value"].every((name) =>
        item.struct.some((field) => field.name === name && field.type === "string")
      )
    ) return;
  }
  throw new PlanError(
    `Cannot reply with a struct whose headers are ${typeName(type)}: wanted ${
      typeName(HEADERS_TYPE)
    }`,
  );
}

function headerPairs(
  headers: readonly HeaderField[] | null | undefined,
): readonly (readonly [string, string])[] {
  if (headers === null || headers === undefined || headers.length === 0) return [];
  return headers.map((header) => {
    const fault = headerFault(header?.name, header?.value);
    if (fault !== undefined) throw new RowError(`Cannot reply with ${fault}`, 500);
    return [header.name, header.value] as const;
  });
}

/** The same for values that are not null. */
function valueWriter(type: DataType): (value: unknown) => string {
  switch (type) {
    case "string":
      return JSON.stringify;
    case "int32":
    case "int64":
    case "boolean":
      return String;
    case "float32":
    case "float64":
      return number;
    case "timestamp":
      return timestamp;
    case "binary":
      return (value) => `"${toBase64(value as Uint8Array)}"`;
  }
  if ("struct" in type) return structWriter(type.struct);
  if ("list" in type) return listWriter(type.list);
  return tensorWriter(type.tensor === "int64" ? String : number, type.shape);
}

function structWriter(fields: readonly Field[]): (value: unknown) => string {
  const parts = fields.map(({ name, type }, position) => ({
    name,
    key: `${position === 0 ? "" : ","}${JSON.stringify(name)}:`,
    write: jsonWriter(type),
  }));
  return (value) => {
    const map = value instanceof Map ? value : undefined;
    let text = "{";
    for (const { name, key, write } of parts) {
      text += key + write(map ? map.get(name) : (value as Record<string, unknown>)[name]);
    }
    return text + "}";
  };
}

function listWriter(type: DataType): (value: unknown) => string {
  // What JSON.stringify gets right by itself, it does fastest.
  const native = type === "string" || type === "boolean" || isNumeric(type) && type !== "int64";
  const write = jsonWriter(type);
  return (value) => {
    if (native && Array.isArray(value)) return JSON.stringify(value);
    return `[${Array.from(value as ArrayLike<unknown>, write).join(",")}]`;
  };
}

function tensorWriter(
  write: (value: unknown) => string,
  shape: readonly number[],
): (value: unknown) => string {
  return (value) => {
    const items = value as ArrayLike<unknown>;
    let at = 0;
    return axis(0);

    function axis(depth: number): string {
      if (depth === shape.length) return write(items[at++]);
      return `[${Array.from({ length: shape[depth]! }, () => axis(depth + 1)).join(",")}]`;
    }
  };
}

function number(value: unknown): string {
  return Number.isFinite(value) ? String(value) : "null";
}

function timestamp(value: unknown): string {
  const date = new Date(value as number);
  return Number.isNaN(date.getTime()) ? "null" : `"${date.toISOString()}"`;
}

function quote(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
