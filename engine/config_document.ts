/**
 * A YAML or JSON file as plain data, with the place of every value in it.
 *
 * References to environment variables are filled in: see `interpolate.ts`. A value that is one
 * reference, or an unquoted one with references in it, is read again as YAML, so `${PORT:8888}` is a
 * number; so is a quoted one that is one reference and holds a number or a boolean. `!!str` before a
 * value keeps it text. Keys are taken as they are.
 *
 * @module
 */
import { type Alias, isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import type { Document, Node, Scalar, YAMLMap, YAMLSeq } from "yaml";
import type { Json } from "../plugins/contract.ts";
import { type Env, hasReferences, interpolate, shield } from "./interpolate.ts";

/** Leads to a value: `["services", 0, "source", "http", "port"]`. */
export type Path = readonly (string | number)[];

/** Something wrong in a file. */
export interface Problem {
  /** The file as it was named. */
  readonly file: string;
  /** From 1; 0 when it is about the file as a whole. */
  readonly line: number;
  /** From 1; 0 when it is about the file as a whole. */
  readonly column: number;
  /** Leads to the culprit, as far as it is known. */
  readonly path: Path;
  readonly message: string;
}

/** The most values that aliases may stand for. */
const MAX_ALIASED = 10_000;
const TOO_DEEP = "Cannot parse the file: lists and maps are nested too deep";
const STRING_TAG = "tag:yaml.org,2002:str";

/** Offsets of what a list or map holds. */
interface Places {
  readonly self: number;
  readonly items: Map<string | number, { readonly key: number; readonly value: number }>;
}

/** Ends the reading of a file; it has been reported. */
class TooManyAliases extends Error {}

/** A parsed file. */
export class ConfigDocument {
  readonly file: string;
  /** The file's value, as far as it could be read. */
  readonly value: Json;
  /** Whether the file is YAML, so that its value can be looked into. */
  readonly isReadable: boolean;
  readonly #problems: Problem[] = [];
  readonly #lines = new LineCounter();
  readonly #places = new WeakMap<object, Places>();
  readonly #env: Env;
  readonly #text: string;
  readonly #restore: (piece: string) => string;
  #document!: Document.Parsed;
  readonly #open = new Set<Node>();
  #aliased = 0;
  #aliasDepth = 0;

  /**
   * @param file its name in problems
   * @param text its content; a byte order mark is skipped
   */
  constructor(file: string, text: string, env: Env) {
    this.file = file;
    this.#env = env;
    this.#text = text.replace(/^\uFEFF/, "");
    const shielded = shield(this.#text);
    this.#restore = shielded.restore;
    let value: Json = null;
    let isReadable = false;
    try {
      this.#document = this.#parse(shielded.text);
      isReadable = this.#problems.length === 0;
      if (isReadable) value = this.#convert(this.#document.contents, []);
    } catch (error) {
      if (error instanceof RangeError) this.report(0, [], TOO_DEEP);
      else if (!(error instanceof TooManyAliases)) throw error;
      isReadable = false;
    }
    this.value = value;
    this.isReadable = isReadable;
  }

  /** What has been reported, in the order of the file. */
  get problems(): readonly Problem[] {
    return this.#problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }

  /** Whether there is a problem with the value a path leads to, or with one inside it. */
  hasProblem(path: Path): boolean {
    return this.#problems.some((each) => path.every((key, depth) => each.path[depth] === key));
  }

  /** Line and column, from 1, of the value or key a path leads to; else of the nearest value above. */
  locate(path: Path, part: "key" | "value" = "value"): { line: number; column: number } {
    return this.#position(this.#offset(path, part));
  }

  /** Notes a problem of the value or key that a path leads to. */
  report(at: number | "key" | "value", path: Path, message: string): void {
    const offset = typeof at === "number" ? at : this.#offset(path, at);
    this.#problems.push({ file: this.file, ...this.#position(offset), path, message });
  }

  #position(offset: number): { line: number; column: number } {
    // Line 0 is that of an empty file.
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  #offset(path: Path, part: "key" | "value"): number {
    let value = this.value;
    let offset = placesOf(this.#places, value)?.self ?? 0;
    for (const [depth, key] of path.entries()) {
      const item = placesOf(this.#places, value)?.items.get(key);
      if (item === undefined) break;
      const isLast = depth === path.length - 1;
      offset = isLast && part === "key" ? item.key : item.value;
      value = (value as Record<string | number, Json>)[key] ?? null;
    }
    return offset;
  }

  #parse(text: string): Document.Parsed {
    const document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      // Checked here, for a message with the key's name.
      uniqueKeys: false,
      logLevel: "error",
    });
    // One syntax error brings others after it.
    const [error] = document.errors;
    if (error !== undefined) this.report(error.pos[0], [], this.#syntaxError(error));
    for (const { pos, message } of document.warnings) {
      this.report(pos[0], [], `Cannot parse the file: ${this.#restore(lowerFirst(message))}`);
    }
    return document;
  }

  #syntaxError({ code, message }: { code: string; message: string }): string {
    if (code === "MULTIPLE_DOCS") {
      return "Cannot read a second document: wanted one document a file, with all services in one list";
    }
    if (/call stack/.test(message)) return TOO_DEEP;
    return `Cannot parse the file: ${this.#restore(lowerFirst(message))}`;
  }

  #convert(node: Node | null, path: Path): Json {
    if (node === null) return null;
    if (this.#aliasDepth > 0) this.#aliased++;
    if (isAlias(node)) return this.#convertAlias(node, path);
    this.#open.add(node);
    try {
      if (isMap(node)) return this.#convertMap(node, path);
      if (isSeq(node)) return this.#convertList(node, path);
      return this.#convertScalar(node as Scalar, path);
    } finally {
      this.#open.delete(node);
    }
  }

  #convertAlias(alias: Alias, path: Path): Json {
    const offset = alias.range![0];
    const target = alias.resolve(this.#document);
    if (target === undefined) {
      this.report(
        offset,
        path,
        `Unknown alias "*${alias.source}": no "&${alias.source}" before it`,
      );
      return null;
    }
    if (this.#open.has(target)) {
      this.report(offset, path, `Cannot use alias "*${alias.source}": it holds itself`);
      return null;
    }
    if (this.#aliased > MAX_ALIASED) {
      this.report(
        offset,
        path,
        `Cannot use alias "*${alias.source}": aliases stand for more than ${MAX_ALIASED} values`,
      );
      throw new TooManyAliases();
    }
    this.#aliasDepth++;
    const value = this.#convert(target, path);
    this.#aliasDepth--;
    return value;
  }

  #convertList(node: YAMLSeq, path: Path): Json {
    const list: Json[] = [];
    const places: Places = { self: node.range![0], items: new Map() };
    for (const [position, item] of (node.items as Node[]).entries()) {
      list.push(this.#convert(item, [...path, position]));
      const offset = this.#start(item) ?? places.self;
      places.items.set(position, { key: offset, value: offset });
    }
    this.#places.set(list, places);
    return list;
  }

  #convertMap(node: YAMLMap, path: Path): Json {
    const map: { [key: string]: Json } = {};
    const places: Places = { self: node.range![0], items: new Map() };
    const merged: Node[] = [];
    for (const { key: keyNode, value: valueNode } of node.items as { key: Node; value: Node }[]) {
      const key = this.#key(keyNode, path);
      if (key === undefined) continue;
      if (key === "<<" && isScalar(keyNode) && keyNode.type === "PLAIN") {
        merged.push(valueNode);
        continue;
      }
      const keyOffset = keyNode.range![0];
      const first = places.items.get(key);
      if (first !== undefined) {
        const { line } = this.#position(first.key);
        this.report(
          keyOffset,
          [...path, key],
          `Cannot use key "${key}" twice in one map: it is in line ${line} already`,
        );
        continue;
      }
      define(map, key, this.#convert(valueNode, [...path, key]));
      places.items.set(key, { key: keyOffset, value: this.#start(valueNode) ?? keyOffset });
    }
    for (const each of merged) this.#merge(each, map, places, path);
    this.#places.set(map, places);
    return map;
  }

  /** Adds what `<<` names; keys that are there already win. */
  #merge(node: Node, map: { [key: string]: Json }, places: Places, path: Path): void {
    const value = this.#convert(node, [...path, "<<"]);
    for (const source of Array.isArray(value) ? value : [value]) {
      const from = placesOf(this.#places, source);
      if (from === undefined || Array.isArray(source)) {
        const message = `Cannot merge ${JSON.stringify(source)} by "<<": wanted a map`;
        this.report(this.#start(node) ?? places.self, path, message);
        continue;
      }
      for (const [key, item] of from.items) {
        if (places.items.has(key)) continue;
        define(map, String(key), (source as { [key: string]: Json })[key]!);
        places.items.set(key, item);
      }
    }
  }

  #key(node: Node | null, path: Path): string | undefined {
    const target = isAlias(node) ? node.resolve(this.#document) : node;
    if (isScalar(target) && target.value !== null) {
      return this.#restore(String(target.source ?? target.value));
    }
    const offset = node?.range?.[0] ?? 0;
    this.report(offset, path, "Cannot use a list, a map or nothing as a key: wanted text");
    return undefined;
  }

  #convertScalar(node: Scalar, path: Path): Json {
    const value = typeof node.value === "string" ? this.#fill(node, path) : node.value;
    if (value === null || typeof value === "string" || typeof value === "boolean") return value;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    const source = node.source ?? String(value);
    this.report(
      node.range![0],
      path,
      `Cannot use ${source}: wanted text, a finite number or a boolean`,
    );
    return null;
  }

  /** The scalar's value with its references filled in. */
  #fill(node: Scalar, path: Path): unknown {
    const text = this.#restore(node.value as string);
    if (!hasReferences(text)) return text;
    const filled = interpolate(text, this.#env);
    const [start, end] = node.range!;
    for (const { reference, message } of filled.problems) {
      const offset = this.#text.indexOf(reference, start);
      this.report(offset >= 0 && offset < end ? offset : start, path, message);
    }
    const isPlain = node.type === "PLAIN";
    if (node.tag === STRING_TAG || filled.text === "" || (!isPlain && !filled.whole)) {
      return filled.text;
    }
    const value = this.#readAgain(filled.text);
    // Quotes say that `007` and `1e3` are meant as text.
    const isExact = typeof value === "boolean" || String(value) === filled.text;
    return isPlain || (value !== null && isExact) ? value : filled.text;
  }

  /** What a text is as an unquoted YAML scalar. */
  #readAgain(text: string): unknown {
    for (const tag of this.#document.schema.tags) {
      if (!("test" in tag) || tag.default !== true || tag.test?.test(text) !== true) continue;
      const resolve = tag.resolve as (text: string, fail: () => void, options: object) => unknown;
      const value = resolve(text, () => {}, this.#document.schema);
      return isScalar(value) ? value.value : value;
    }
    return text;
  }

  /** Where a node begins in the text; undefined when nothing is written there. */
  #start(node: Node | null): number | undefined {
    if (node === null || (isScalar(node) && node.source === "" && node.type === "PLAIN")) {
      return undefined;
    }
    return node.range![0];
  }
}

function placesOf(places: WeakMap<object, Places>, value: Json): Places | undefined {
  return typeof value === "object" && value !== null ? places.get(value) : undefined;
}

/** Sets a key as data, also one named `__proto__`. */
function define(map: { [key: string]: Json }, key: string, value: Json): void {
  Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, "");
}
