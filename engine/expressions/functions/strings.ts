/**
 * Functions of text and bytes. Characters are code points.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { type ColumnData, type DataType, isNumeric } from "../../batch.ts";
import { memoizeLast } from "../columnar.ts";
import { toHex } from "../expression.ts";
import { joinBytes } from "../../join_bytes.ts";
import { toBase64 } from "../json_path.ts";
import { castTo, combine, combineRows, constant, type Node } from "../node.ts";
import { javaRegExp, javaReplacement, likeTest, split } from "../patterns.ts";
import { commonType, nameOf } from "../types.ts";
import { acceptAt, checkCount, define, rowwise } from "./define.ts";

const globalRegExp = memoizeLast((pattern: string) => javaRegExp(pattern, "g"));
const regExp = memoizeLast((pattern: string) => javaRegExp(pattern));
const replacementOf = memoizeLast(javaReplacement);

/** A `like` or `ilike`. */
function like(name: string, summary: string, caseless: boolean) {
  return rowwise(
    `text ${name} pattern [escape character]`,
    summary,
    ["string", "string", "string?"],
    "boolean",
    rememberTest((pattern, escape) => likeTest(pattern, escape, caseless)),
    {
      check(_text, _pattern, escape) {
        if (escape !== undefined && Array.from(escape).length !== 1) {
          throw new RangeError(`the escape must be one character, given "${escape}"`);
        }
      },
    },
  );
}

export const STRING_FUNCTIONS = {
  like: like("like", "Whether a text is like a pattern: % is any text, _ one character.", false),
  ilike: like("ilike", "The same as like in any letter case.", true),
  rlike: rowwise(
    "text rlike pattern",
    "Whether a regular expression matches somewhere in a text.",
    ["string", "string"],
    "boolean",
    (text: string, pattern: string) => regExp(pattern).test(text),
    { aliases: ["regexp", "regexp_like"], check: (_, pattern) => checkPattern(pattern) },
  ),
  length: rowwise(
    "length(text)",
    "Number of characters of a text, of bytes of a binary.",
    ["text"],
    "int32",
    (value: string | Uint8Array) =>
      typeof value === "string" ? countCharacters(value) : value.length,
    { aliases: ["char_length", "character_length", "len"] },
  ),
  octet_length: rowwise(
    "octet_length(text)",
    "Number of bytes; a text's in UTF-8.",
    ["text"],
    "int32",
    (value: string | Uint8Array) => Buffer.byteLength(value),
  ),
  upper: rowwise(
    "upper(text)",
    "In upper case.",
    ["string"],
    "string",
    (text: string) => text.toUpperCase(),
    { aliases: ["ucase"] },
  ),
  lower: rowwise(
    "lower(text)",
    "In lower case.",
    ["string"],
    "string",
    (text: string) => text.toLowerCase(),
    { aliases: ["lcase"] },
  ),
  initcap: rowwise(
    "initcap(text)",
    "Each word with its first letter in upper case and the rest in lower case.",
    ["string"],
    "string",
    (text: string) =>
      text.toLowerCase().replace(
        /(^| )([^ ])/gu,
        (_, space, letter) => space + letter.toUpperCase(),
      ),
  ),
  trim: rowwise(
    "trim(text[, characters])",
    "Without these characters at both ends; spaces when none are given.",
    ["string", "string?"],
    "string",
    (text: string, chars = " ") => trim(text, chars, true, true),
    { aliases: ["btrim"] },
  ),
  ltrim: rowwise(
    "ltrim(text[, characters])",
    "Without these characters in front; spaces when none are given.",
    ["string", "string?"],
    "string",
    (text: string, chars = " ") => trim(text, chars, true, false),
  ),
  rtrim: rowwise(
    "rtrim(text[, characters])",
    "Without these characters at the end; spaces when none are given.",
    ["string", "string?"],
    "string",
    (text: string, chars = " ") => trim(text, chars, false, true),
  ),
  substring: rowwise(
    "substring(text, start[, length])",
    "Part of a text or binary. The first place is 1; a negative start counts from the end.",
    ["text", "int32", "int32?"],
    ([type]) => type!,
    substring,
    { aliases: ["substr", "mid"] },
  ),
  left: rowwise("left(text, length)", "The first characters.", ["string", "int32"], "string", (
    text: string,
    length: number,
  ) => substring(text, 1, length)),
  right: rowwise("right(text, length)", "The last characters.", ["string", "int32"], "string", (
    text: string,
    length: number,
  ) => length <= 0 ? "" : substring(text, -length)),
  concat: define(
    "concat(value, ...)",
    "The texts, binaries or lists one after another. Null when one is.",
    concat,
  ),
  concat_ws: define(
    "concat_ws(separator, text or list, ...)",
    "The texts with a separator between; nulls are skipped.",
    concatWithSeparator,
  ),
  split: rowwise(
    "split(text, pattern[, limit])",
    "The parts between the matches of a regular expression, at most `limit` if that is above 0.",
    ["string", "string", "int32?"],
    { list: "string" },
    (text: string, pattern: string, limit = -1) => split(text, globalRegExp(pattern), limit),
    { check: (_, pattern) => checkPattern(pattern) },
  ),
  replace: rowwise(
    "replace(text, search[, replacement])",
    "With every occurrence of `search` replaced; without a replacement, removed.",
    ["string", "string", "string?"],
    "string",
    (text: string, search: string, replacement = "") =>
      search === "" ? text : text.replaceAll(search, () => replacement),
  ),
  translate: rowwise(
    "translate(text, from, to)",
    "With each character of `from` replaced by the one at its place in `to`, or removed.",
    ["string", "string", "string"],
    "string",
    (text: string, from: string, to: string) => {
      const source = Array.from(from), target = Array.from(to);
      return Array.from(text, (char) => {
        const at = source.indexOf(char);
        return at < 0 ? char : target[at] ?? "";
      }).join("");
    },
  ),
  regexp_replace: rowwise(
    "regexp_replace(text, pattern, replacement)",
    "With every match of a regular expression replaced; $1 is the first group.",
    ["string", "string", "string"],
    "string",
    (text: string, pattern: string, replacement: string) =>
      text.replace(globalRegExp(pattern), replacementOf(replacement)),
    { check: (_, pattern) => checkPattern(pattern) },
  ),
  regexp_extract: rowwise(
    "regexp_extract(text, pattern[, group])",
    "A group (1 if not given, 0: all) of the first match of a regular expression, or ''.",
    ["string", "string", "int32?"],
    "string",
    (text: string, pattern: string, group = 1) => regExp(pattern).exec(text)?.[group] ?? "",
    {
      check(_, pattern, group = 1) {
        if (pattern === undefined) return;
        checkPattern(pattern);
        const groups = javaRegExp(`${pattern}|`).exec("")!.length - 1;
        if (group < 0 || group > groups) {
          throw new RangeError(`the pattern "${pattern}" has ${groups} groups, asked for ${group}`);
        }
      },
    },
  ),
  lpad: rowwise(
    "lpad(text, length[, pad])",
    "Filled up in front with `pad` (a space), or cut off, to a number of characters.",
    ["string", "int32", "string?"],
    "string",
    (text: string, length: number, pad = " ") => {
      const missing = length - countCharacters(text);
      return missing > 0 ? padding(pad, missing) + text : substring(text, 1, length);
    },
  ),
  rpad: rowwise(
    "rpad(text, length[, pad])",
    "Filled up at the end with `pad` (a space), or cut off, to a number of characters.",
    ["string", "int32", "string?"],
    "string",
    (text: string, length: number, pad = " ") => {
      const missing = length - countCharacters(text);
      return missing > 0 ? text + padding(pad, missing) : substring(text, 1, length);
    },
  ),
  reverse: define("reverse(text or list)", "From end to beginning.", (args) => {
    checkCount("reverse(text or list)", args, 1, 1);
    const type = args[0]!.type;
    if (typeof type === "object" && "list" in type) {
      return combineRows(type, args, (items: ArrayLike<unknown>) => Array.from(items).reverse());
    }
    const arg = acceptAt(0, args[0]!, "string");
    return combineRows("string", [arg], (text: string) => Array.from(text).reverse().join(""));
  }),
  repeat: rowwise(
    "repeat(text, times)",
    "The text so many times.",
    ["string", "int32"],
    "string",
    (text: string, times: number) => text.repeat(Math.max(0, times)),
  ),
  instr: rowwise(
    "instr(text, search)",
    "The place of the first occurrence, from 1; 0 when there is none.",
    ["string", "string"],
    "int32",
    (text: string, search: string) => locate(search, text, 1),
  ),
  locate: rowwise(
    "locate(search, text[, start])",
    "The place of the first occurrence at or after `start`, from 1; 0 when there is none.",
    ["string", "string", "int32?"],
    "int32",
    (search: string, text: string, start = 1) => locate(search, text, start),
    { aliases: ["position", "charindex"] },
  ),
  startswith: rowwise(
    "startswith(text, prefix)",
    "Whether a text begins with another.",
    ["string", "string"],
    "boolean",
    (text: string, prefix: string) => text.startsWith(prefix),
    { aliases: ["starts_with"] },
  ),
  endswith: rowwise(
    "endswith(text, suffix)",
    "Whether a text ends with another.",
    ["string", "string"],
    "boolean",
    (text: string, suffix: string) => text.endsWith(suffix),
    { aliases: ["ends_with"] },
  ),
  contains: rowwise(
    "contains(text, part)",
    "Whether a text has another in it.",
    ["string", "string"],
    "boolean",
    (text: string, part: string) => text.includes(part),
  ),
  base64: rowwise("base64(binary)", "As base64.", ["binary"], "string", toBase64),
  unbase64: rowwise(
    "unbase64(text)",
    "The bytes of base64; null when it is none (Spark fails).",
    ["string"],
    "binary",
    (text: string) =>
      /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text) ? new Uint8Array(Buffer.from(text, "base64")) : null,
    { nullable: true },
  ),
  hex: define("hex(binary or number)", "In upper-case hexadecimal.", (args) => {
    checkCount("hex(binary or number)", args, 1, 1);
    if (args[0]!.type !== "void" && isNumeric(args[0]!.type as DataType)) {
      return combineRows(
        "string",
        [acceptAt(0, args[0]!, "int64")],
        (value: bigint) => BigInt.asUintN(64, value).toString(16).toUpperCase(),
      );
    }
    const binary = acceptAt(0, args[0]!, "binary");
    return combineRows("string", [binary], (bytes: Uint8Array) => toHex(bytes).toUpperCase());
  }),
  md5: rowwise("md5(binary)", "The MD5 digest in hexadecimal.", ["binary"], "string", (
    bytes: Uint8Array,
  ) => digest("md5", bytes)),
  sha2: rowwise(
    "sha2(binary, bits)",
    "The SHA-2 digest of 224, 256 (also as 0), 384 or 512 bits in hexadecimal; null for other bits.",
    ["binary", "int32"],
    "string",
    (bytes: Uint8Array, bits: number) =>
      [0, 224, 256, 384, 512].includes(bits) ? digest(`sha${bits || 256}`, bytes) : null,
    { nullable: true },
  ),
};

/** A digest in hexadecimal. The module is loaded by the first one: it takes each worker 8 ms. */
function digest(algorithm: string, bytes: Uint8Array): string {
  return process.getBuiltinModule("node:crypto").createHash(algorithm).update(bytes).digest("hex");
}

/** `||`: as `concat` of two. */
export function concat(args: readonly Node[]): Node {
  const known = args.filter((arg) => arg.type !== "void");
  const first = known[0]?.type;
  if (args.length === 0) return constant("string", "");
  if (known.length > 0 && known.every((arg) => arg.type === "binary")) {
    return combineRows("binary", args, (...parts: Uint8Array[]) => joinBytes(parts));
  }
  if (typeof first === "object" && "list" in first) {
    const type = commonType(args.map((arg) => arg.type)) as DataType | undefined;
    const lists = args.map((arg) => type && castTo(arg, type));
    if (type === undefined || lists.includes(undefined)) {
      const types = args.map((arg) => nameOf(arg.type)).join(", ");
      throw new TypeError(`wanted lists of one type, given ${types}`);
    }
    return combineRows(
      type,
      lists as Node[],
      (...parts: ArrayLike<unknown>[]) => parts.flatMap((part) => Array.from(part)),
    );
  }
  const texts = args.map((arg, position) => acceptAt(position, arg, "string"));
  return combineRows("string", texts, (...parts: string[]) => parts.join(""));
}

function concatWithSeparator(args: readonly Node[]): Node {
  checkCount("concat_ws(separator, text or list, ...)", args, 1, Infinity);
  const nodes = args.map((arg, position) =>
    position > 0 && typeof arg.type === "object" && "list" in arg.type && arg.type.list === "string"
      ? arg
      : acceptAt(position, arg, "string")
  );
  return combine("string", nodes, ([separators, ...columns], numRows) => {
    const output: (string | null)[] = new Array(numRows);
    for (let row = 0; row < numRows; row++) {
      const separator = separators![row] as string | null;
      output[row] = separator === null ? null : present(columns, row).join(separator);
    }
    return output;
  }, nodes[0]!.nullable);
}

function present(columns: readonly ColumnData[], row: number): string[] {
  return columns.flatMap((column) => column[row] as string | string[] | null ?? [])
    .filter((text) => text !== null);
}

function rememberTest(make: (pattern: string, escape?: string) => (text: string) => boolean) {
  const ofPattern = memoizeLast((pattern: string) =>
    memoizeLast((escape: string | undefined) => make(pattern, escape))
  );
  return (text: string, pattern: string, escape?: string) => ofPattern(pattern)(escape)(text);
}

function checkPattern(pattern: string | undefined) {
  if (pattern !== undefined) javaRegExp(pattern);
}

function countCharacters(text: string): number {
  let count = text.length;
  for (let index = 0; index < text.length - 1; index++) {
    if (
      (text.charCodeAt(index) & 0xfc00) === 0xd800 &&
      (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00
    ) {
      count--;
      index++;
    }
  }
  return count;
}

function substring<T extends string | Uint8Array>(value: T, start: number, length?: number): T {
  const wide = typeof value === "string" && /[\ud800-\udbff]/.test(value);
  const parts = wide ? Array.from(value as string) : value;
  const from = start > 0 ? start - 1 : start < 0 ? parts.length + start : 0;
  const to = length === undefined ? parts.length : from + length;
  const cut = parts.slice(Math.max(0, from), Math.max(0, to, from));
  return (Array.isArray(cut) ? cut.join("") : cut) as T;
}

function padding(pad: string, length: number): string {
  return pad === ""
    ? ""
    : substring(pad.repeat(Math.ceil(length / countCharacters(pad))), 1, length);
}

function trim(text: string, chars: string, front: boolean, back: boolean): string {
  const away = new Set(chars);
  const parts = Array.from(text);
  let start = 0, end = parts.length;
  while (front && start < end && away.has(parts[start]!)) start++;
  while (back && end > start && away.has(parts[end - 1]!)) end--;
  return parts.slice(start, end).join("");
}

function locate(search: string, text: string, start: number): number {
  if (start < 1) return 0;
  const from = substring(text, 1, start - 1).length;
  if (start > 1 && from === text.length && start - 1 > countCharacters(text)) return 0;
  const at = text.indexOf(search, from);
  return at < 0 ? 0 : countCharacters(text.slice(0, at)) + 1;
}
