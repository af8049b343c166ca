/**
 * JSON in text: Spark's `get_json_object` and `to_json`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { DataType } from "../batch.ts";

/** A step of a path: a name, a position, or all items. */
type Step = string | number | typeof ALL;
const ALL = Symbol("*");

/**
 * Finds what a path such as `$.a[0]['b'].c[*]` leads to, and gives it as text: strings bare,
 * everything else as JSON. Null for what is not there, for JSON's null, and for text that is no JSON.
 * Several finds (`[*]`) become a JSON array; a single one stands alone.
 * @throws {SyntaxError} when the path is none
 */
export function jsonPath(path: string): (json: string) => string | null {
  const steps = parsePath(path);
  const many = steps.includes(ALL);
  return (json) => {
    let root: unknown;
    try {
      root = parseJson(json);
    } catch {
      return null;
    }
    const found = steps.reduce<unknown[]>(
      (values, step) => values.flatMap((v) => follow(v, step)),
      [
        root,
      ],
    ).filter((value) => value !== null);
    if (found.length === 0) return null;
    if (found.length > 1) return JSON.stringify(found);
    return typeof found[0] === "string" && !many ? found[0] : JSON.stringify(found[0]);
  };
}

/**
 * How values of a type become JSON text, Spark's way: null fields are left out, timestamps are ISO
 * 8601, binary is base64, NaN and infinities are strings.
 */
export function jsonWriter(type: DataType): (value: unknown) => string {
  const plain = plainJson(type);
  return (value) => JSON.stringify(plain(value));
}

/** Bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

function plainJson(type: DataType): (value: unknown) => unknown {
  if (type === "int64") return (value) => rawJson(String(value));
  if (type === "timestamp") return (value) => new Date(value as number).toISOString();
  if (type === "binary") return (value) => toBase64(value as Uint8Array);
  if (type === "float32" || type === "float64") {
    return (value) => Number.isFinite(value) ? value : String(value);
  }
  if (typeof type === "string") return (value) => value;
  if ("struct" in type) {
    const fields = type.struct.map((field) => ({ name: field.name, plain: plainJson(field.type) }));
    return (value) => {
      const result: Record<string, unknown> = {};
      for (const { name, plain } of fields) {
        const field = (value as Record<string, unknown>)[name] ?? null;
        if (field !== null) result[name] = plain(field);
      }
      return result;
    };
  }
  const item = plainJson("list" in type ? type.list : type.tensor);
  return (value) =>
    Array.from(value as ArrayLike<unknown>, (each) => each === null ? null : item(each));
}

function follow(value: unknown, step: Step): unknown[] {
  if (typeof value !== "object" || value === null) return [];
  if (step === ALL) return Array.isArray(value) ? value : [];
  if (typeof step === "number") {
    return Array.isArray(value) && step < value.length ? [value[step]] : [];
  }
  // A name on an array asks every item, as Spark does.
  if (Array.isArray(value)) return value.flatMap((item) => follow(item, step));
  return Object.hasOwn(value, step) ? [(value as Record<string, unknown>)[step]] : [];
}

function parsePath(path: string): Step[] {
  const steps: Step[] = [];
  let rest = path.trim();
  const wrong = () =>
    new SyntaxError(
      `"${path}" is no JSON path: it looks like $.name, $['name'], $.list[0] or $.list[*].name`,
    );
  if (!rest.startsWith("$")) throw wrong();
  rest = rest.slice(1);
  while (rest !== "") {
    const match = /^(?:\.([^.[\]]+)|\['([^']*)'\]|\["([^"]*)"\]|\[(\d+)\]|\[(\*)\])/.exec(rest);
    if (match === null) throw wrong();
    const [all, name, quoted, double, position, star] = match;
    if (star !== undefined || name === "*") steps.push(ALL);
    else if (position !== undefined) steps.push(Number(position));
    else steps.push(name ?? quoted ?? double!);
    rest = rest.slice(all.length);
  }
  return steps;
}

/** Parses JSON; numbers that a double cannot hold keep their digits. */
function parseJson(json: string): unknown {
  if (!LONG_NUMBER.test(json)) return JSON.parse(json);
  return (JSON.parse as (text: string, reviver: Reviver) => unknown)(
    json,
    (_key, value, { source }) =>
      typeof value === "number" && source !== String(value) ? rawJson(source!) : value,
  );
}

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;
const LONG_NUMBER = /\d{16}/;
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;
