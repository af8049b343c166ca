/**
 * Loads modules from outside: a user's plugin, or the functions that a plan names.
 *
 * A specifier is a path (relative to the config, or absolute), a URL (`file:`, `data:`, and `https:`
 * where Deno itself runs), or an npm package by name, with or without `npm:`. A package is looked for
 * in the `node_modules` beside the config and above it; where Deno itself runs, an `npm:` specifier
 * that is not there is fetched.
 *
 * What a module of a file imports is found the same way: relative paths, and packages in the
 * `node_modules` beside it and above it. The runtime itself knows no such packages, and a compiled binary
 * has no compiler in it. So where it refuses a module, that is loaded from a rewritten text, and so are
 * those it imports that need it: types are stripped by `amaro`, which keeps lines and columns as they are,
 * and the names of packages are replaced by URLs. Rewritten modules must not import each other in a
 * circle. CommonJS is loaded where the runtime can, which is not in a compiled binary.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import { PlanError } from "./errors.ts";
import { packageEntry } from "./package_entry.ts";

/**
 * Imports a module.
 * @param baseUrl what relative paths are relative to, and where packages are looked for; ends in `/`
 * @throws {PlanError} saying what is wrong with the specifier or the module
 */
export async function importModule(
  specifier: string,
  baseUrl: string,
): Promise<Record<string, unknown>> {
  try {
    return await importUrl(resolveModule(specifier, baseUrl));
  } catch (error) {
    if (error instanceof PlanError) throw error;
    const why = await reason(error, resolveModule(specifier, baseUrl));
    throw new PlanError(`Cannot load module "${specifier}": ${why}`, { cause: error });
  }
}

/**
 * The URL of a module, so that it means the same wherever it is loaded later.
 * @throws {PlanError} when it is a package that is not there
 */
export function resolveModule(specifier: string, baseUrl: string): string {
  if (/^(?:\.{0,2}\/|file:)/.test(specifier)) return new URL(specifier, baseUrl).href;
  if (/^(?:data|blob|https?|node):/.test(specifier)) return specifier;
  if (!/^(?:npm:)?(?:@[\w.~-]+\/)?[\w.~-]+/.test(specifier)) {
    throw new PlanError(
      `Cannot load module ${
        JSON.stringify(specifier)
      }: wanted a path that begins with ./, ../ or /, ` +
        "a URL, or the name of an npm package",
    );
  }
  const name = specifier.replace(/^npm:\/?/, "");
  const bare = name.replace(/^((?:@[^/]+\/)?[^@/]+)@[^/]+/, "$1");
  let entry: string | undefined;
  try {
    entry = packageEntry(bare, baseUrl);
  } catch (cause) {
    throw new PlanError(`Cannot load module "${specifier}": ${(cause as Error).message}`, {
      cause,
    });
  }
  if (entry !== undefined) return entry;
  if (specifier.startsWith("npm:") && !Deno.build.standalone) return specifier;
  throw new PlanError(
    `Cannot load module "${specifier}": no package "${bare}" in node_modules beside the config; ` +
      `install it there (npm install ${name}), or write ./${specifier} for a file`,
  );
}

async function importUrl(url: string): Promise<Record<string, unknown>> {
  try {
    return await import(url);
  } catch (error) {
    // Types are a syntax error in a compiled binary. There is no surer sign of one: in its workers
    // `Deno.build.standalone` is false (Deno 2.4).
    if (!isScript(url) || !(error instanceof SyntaxError || namesPackage(error))) throw error;
    const other = rewrite(url, await readGraph(url));
    if (other === undefined) throw error;
    return await import(other);
  }
}

function isScript(url: string): boolean {
  return url.startsWith("file:") && /\.[mc]?[jt]s$/.test(new URL(url).pathname);
}

function isTypeScript(url: string): boolean {
  return /\.[mc]?ts$/.test(new URL(url).pathname);
}

/** Whether it was a package's name that the runtime could do nothing with. */
function namesPackage(error: unknown): error is TypeError {
  return error instanceof TypeError && PACKAGE_REFUSED.test(error.message);
}

const PACKAGE_REFUSED = new RegExp(
  '^(?:Relative import path|Import) "(.+?)" not .*? from "(.+?)"|' +
    "^Could not find (?:constraint '(.+?)' in the list of packages|a matching package for 'npm:(.+?)')",
);

/** A module of a file, without its types. */
interface Script {
  readonly code: string;
  /** Where other text is to stand when the module is rewritten. */
  readonly places: readonly Place[];
  /** It cannot be loaded as it is, whatever it imports. */
  readonly isRefused: boolean;
  readonly isCommonJs: boolean;
}

/** A place in the code of a module. */
interface Place {
  readonly start: number;
  readonly end: number;
  /** The URL of an import, or what an expression is replaced by. */
  readonly text: string;
  readonly is: "static" | "dynamic" | "expression";
}

/** Modules that were read already, by URL. */
const scripts = new Map<string, Promise<Script>>();
/** Modules that were rewritten already, by URL, so that two importers share one. */
const rewritten = new Map<string, string>();

/** A module and all that it imports. */
interface Graph {
  readonly scripts: ReadonlyMap<string, Script>;
  readonly importers: ReadonlyMap<string, readonly string[]>;
}

async function readGraph(url: string): Promise<Graph> {
  const graph = new Map<string, Script>();
  const importers = new Map<string, string[]>();
  const waiting = [url];
  for (const each of waiting) {
    if (graph.has(each)) continue;
    const read = scripts.get(each) ?? readScript(each);
    scripts.set(each, read);
    // It may be there at the next try.
    read.catch(() => scripts.delete(each));
    const script = await read;
    graph.set(each, script);
    for (const target of importsOf(script)) {
      importers.set(target, [...importers.get(target) ?? [], each]);
      waiting.push(target);
    }
  }
  return { scripts: graph, importers };
}

/** A `data:` URL of a module that can be loaded; undefined when it would be the module as it is. */
function rewrite(url: string, { scripts, importers }: Graph): string | undefined {
  // Who imports a module that is rewritten must be told its new URL.
  const changed = new Set<string>();
  const found = [...scripts].filter(([, { isRefused }]) => isRefused).map(([each]) => each);
  for (const each of found) {
    if (changed.has(each)) continue;
    changed.add(each);
    found.push(...importers.get(each) ?? []);
  }
  return changed.has(url) ? dataUrl(url, []) : undefined;

  function dataUrl(url: string, above: readonly string[]): string {
    if (above.includes(url)) {
      throw new Error(
        `${url} imports itself by way of ${
          above.at(-1)
        }; take the circle apart, or bundle it into ` +
          "one file",
      );
    }
    const known = rewritten.get(url);
    if (known !== undefined) return known;
    const { code, places } = scripts.get(url)!;
    let output = "", done = 0;
    for (const { start, end, text, is } of places) {
      const target = changed.has(text) && is !== "expression"
        ? dataUrl(text, [...above, url])
        : text;
      // A static import's text comes without its quotes, a dynamic one's with them.
      output += code.slice(done, start) + (is === "static" ? target : JSON.stringify(target));
      done = end;
    }
    output += `${code.slice(done)}\n//# sourceURL=${url}\n`;
    const made = `data:text/javascript;base64,${Buffer.from(output).toString("base64")}`;
    rewritten.set(url, made);
    return made;
  }
}

function importsOf({ places }: Script): string[] {
  return places.filter(({ is, text }) => is !== "expression" && isScript(text))
    .map(({ text }) => text);
}

async function readScript(url: string): Promise<Script> {
  const { init, parse } = await import("es-module-lexer");
  await init;
  let source: string;
  try {
    source = await Deno.readTextFile(new URL(url));
  } catch (cause) {
    throw cause instanceof Deno.errors.NotFound
      ? new Error(`Module not found "${url}"`, { cause })
      : cause;
  }
  const code = isTypeScript(url) ? await withoutTypes(source, url) : source;
  const [imports, , , isModule] = parse(code, url);
  const places: Place[] = [];
  let isRefused = isTypeScript(url);
  for (const found of imports) {
    const { start, end, type, specifier } = found;
    // A template with values in it is no specifier yet.
    if (type === "dynamic" && found.glob) continue;
    if (type === "import-meta") {
      const [name, value] = metaOf(code.slice(end), url) ?? [];
      if (name !== undefined) {
        places.push({ start, end: end + name.length, text: value!, is: "expression" });
      }
    } else if (specifier !== undefined) {
      const target = importTarget(specifier, url);
      if (target === undefined) continue;
      isRefused ||= !/^(?:\.{0,2}\/|node:)/.test(specifier);
      places.push({ start, end, text: target, is: type === "dynamic" ? "dynamic" : "static" });
    }
  }
  const isCommonJs = !isModule && /\b(?:module\.exports|exports\.\w|require\()/.test(code);
  return { code, places, isRefused, isCommonJs };
}

async function withoutTypes(source: string, url: string): Promise<string> {
  const { transformSync } = await import("amaro");
  try {
    return transformSync(source, { mode: "strip-only" }).code;
  } catch (error) {
    // amaro throws plain objects.
    const { message, startLine, startColumn } = error as Record<string, unknown>;
    const place = startLine === undefined ? "" : `:${startLine}:${Number(startColumn) + 1}`;
    throw new SyntaxError(`${url}${place}: ${message ?? error}`);
  }
}

/** What follows `import.meta` and is another thing in a rewritten module, with its value. */
function metaOf(after: string, url: string): [name: string, value: string] | undefined {
  const [name] = /^\.(?:url|filename|dirname)\b/.exec(after) ?? [];
  switch (name) {
    case ".url":
      return [name, url];
    case ".filename":
      return [name, fileURLToPath(url)];
    case ".dirname":
      return [name, fileURLToPath(new URL(".", url)).replace(/(?<=.)[\\/]$/, "")];
  }
  return undefined;
}

/** The URL of what a module imports; undefined to leave it to the runtime. */
function importTarget(specifier: string, url: string): string | undefined {
  if (/^\.{0,2}\//.test(specifier)) return new URL(specifier, url).href;
  if (/^(?!npm:)[a-z]+:/.test(specifier)) return undefined;
  return packageEntry(specifier.replace(/^npm:\/?((?:@[^/]+\/)?[^@/]+)(?:@[^/]+)?/, "$1"), url);
}

/** Why a module cannot be loaded, in words for its user. */
async function reason(error: unknown, url: string): Promise<string> {
  let message = String((error as { message?: unknown } | null)?.message ?? error);
  for (const [original, other] of rewritten) message = message.replaceAll(other, original);
  if (error instanceof Deno.errors.NotFound || /^Module not found|ENOENT/.test(message)) {
    // It may be one that the module imports.
    const [, missing = url] = /"([a-z]+:[^"]*)"/.exec(message) ?? [];
    return `there is no file ${missing}`;
  }
  const refused = namesPackage(error) && PACKAGE_REFUSED.exec(message);
  if (refused) {
    const [, relative, importer, ...npm] = refused;
    const name = relative ?? npm.find((each) => each !== undefined);
    return `no package "${name}" in node_modules beside ${importer ?? url} or above it`;
  }
  const commonJs = await commonJsIn(url);
  return commonJs === undefined
    ? message
    : `${message}: ${commonJs} is CommonJS, wanted ES modules alone`;
}

/** A CommonJS module among those that a module imports, or itself. */
async function commonJsIn(url: string): Promise<string | undefined> {
  if (!isScript(url)) return undefined;
  try {
    const { scripts } = await readGraph(url);
    return [...scripts].find(([, { isCommonJs }]) => isCommonJs)?.[0];
  } catch {
    // What is wrong with it has been told.
    return undefined;
  }
}
