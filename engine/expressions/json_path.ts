/**
 * JSON in text: Spark's `get_json_object` and `to_json`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { DataType } from "../batch.ts";
import { formatDouble, valueCast } from "./cast.ts";

/** A step of a path: a name, a position, or all items. */
type Step = string | number | typeof ALL;
const ALL = Symbol("*");

/**
 * Finds what a path such as `$.a[0]['b'].c[*]` leads to, and gives it as text: strings bare,
 * everything else as JSON. Null for what is not there, for JSON's null in an object, and for text that
 * is no JSON. Several finds (`[*]`) become a JSON array; a single one stands alone.
 * @throws {SyntaxError} when the path is none
 */
export function jsonPath(path: string): (json: string) => string | null {
  const steps = parsePath(path);
  return (json) => {
    let root: unknown;
    try {
      root = parseJson(json);
    } catch {
      return null;
    }
    const found: unknown[] = [];
    if (!find(root, steps, "raw", found)) return null;
    const [value] = found;
    return typeof value === "string" && !steps.includes(ALL) ? value : JSON.stringify(value);
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
    const text = valueCast(type, "string")!;
    return (value) => Number.isFinite(value) ? rawJson(text(value) as string) : String(value);
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

/**
 * Adds what the steps lead to to `found`, the way Spark does: under one `[*]` a single find stands
 * alone; under `[*][*]` arrays are laid flat; a `[*]` after a position, or inside another, keeps its
 * array.
 * @param style whether the find stands alone, in an array, or in one that is laid flat
 * @returns whether there was anything
 */
function find(
  value: unknown,
  steps: readonly Step[],
  style: "raw" | "quoted" | "flat",
  found: unknown[],
): boolean {
  const [step, ...rest] = steps;
  if (step === undefined) {
    if (style === "flat" && Array.isArray(value)) {
      return value.map((item) => find(item, rest, style, found)).includes(true);
    }
    found.push(value);
    return true;
  }
  if (typeof step === "string") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    // A number that keeps its text is an object, too.
    if (Object.getPrototypeOf(value) === null) return false;
    const next = Object.hasOwn(value, step) ? (value as Record<string, unknown>)[step] : null;
    return next !== null && find(next, rest, style, found);
  }
  if (!Array.isArray(value)) return false;
  if (typeof step === "number") {
    return step < value.length &&
      find(value[step], rest, rest[0] === ALL ? "quoted" : style, found);
  }
  const items: unknown[] = [];
  const each = (inner: readonly Step[], style: "quoted" | "flat") =>
    value.filter((item) => find(item, inner, style, items)).length;
  if (rest[0] === ALL) {
    const hits = each(rest.slice(1), "flat");
    found.push(items);
    return hits > 0;
  }
  if (style === "quoted") {
    const hits = each(rest, "quoted");
    found.push(items);
    return hits > 0;
  }
  const hits = each(rest, style === "flat" ? "flat" : "quoted");
  if (hits === 1) found.push(...items);
  else if (hits > 1) found.push(items);
  return hits > 0;
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
    const match = /^(?:\.([^.[]+)|\['([^']+)'\]|\["([^"]+)"\]|\[(\d+)\]|\[(\*)\])/.exec(rest);
    // Spark takes .* and finds nothing by it.
    if (match === null || match[1] === "*") throw wrong();
    const [all, name, quoted, double, position, star] = match;
    if (star !== undefined) steps.push(ALL);
    else if (position !== undefined) steps.push(Number(position));
    else steps.push(name ?? quoted ?? double!);
    rest = rest.slice(all.length);
  }
  return steps;
}

/**
 * Parses JSON so that numbers keep the text Spark gives them: whole ones their digits, however many,
 * others that of a double (`1.0`, `1.0E10`).
 */
function parseJson(json: string): unknown {
  if (!ODD_NUMBER.test(json)) return JSON.parse(json);
  return (JSON.parse as (text: string, reviver: Reviver) => unknown)(
    json,
    (_key, value, { source }) => {
      if (typeof value !== "number" || source === undefined) return value;
      if (/[.eE]/.test(source)) {
        return Number.isFinite(value) ? rawJson(formatDouble(value)) : String(value);
      }
      return Number.isSafeInteger(value) ? value : rawJson(source);
    },
  );
}

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;
/** Digits that {@linkcode JSON.parse} and back may change. */
const ODD_NUMBER = /\d[.eE]|\d{16}/;
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;
