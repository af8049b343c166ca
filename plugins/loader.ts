/**
 * Loads modules from outside: a user's plugin, or the functions that a plan names.
 *
 * A specifier is a path (relative to the config, or absolute), a URL (`file:`, `data:`, and `https:`
 * where Deno itself runs), or an npm package by name, with or without `npm:`. A package is looked for
 * in the `node_modules` beside the config and above it; where Deno itself runs, an `npm:` specifier
 * that is not there is fetched.
 *
 * A compiled binary has no compiler in it: there, types are stripped by `amaro`, which keeps lines and
 * columns as they are, and the modules that a TypeScript module imports by relative paths are loaded the
 * same way.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createRequire } from "node:module";
import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import { PlanError } from "./errors.ts";

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
    throw new PlanError(`Cannot load module "${specifier}": ${reason(error, specifier, baseUrl)}`, {
      cause: error,
    });
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
  try {
    const found = createRequire(new URL("millrace.js", baseUrl)).resolve(bare);
    return isAbsolute(found) ? pathToFileURL(found).href : found;
  } catch (cause) {
    if (specifier.startsWith("npm:") && !Deno.build.standalone) return specifier;
    throw new PlanError(
      `Cannot load module "${specifier}": no package "${bare}" in node_modules beside the config; ` +
        `install it there (npm install ${name}), or write ./${specifier} for a file`,
      { cause },
    );
  }
}

async function importUrl(url: string): Promise<Record<string, unknown>> {
  try {
    return await import(url);
  } catch (error) {
    // In a compiled binary types are a syntax error. There is no surer sign of one: in its workers
    // `Deno.build.standalone` is false (Deno 2.4).
    if (!(error instanceof SyntaxError && isTypeScript(url))) throw error;
  }
  return await import(await dataUrlOf(url, []));
}

function isTypeScript(url: string): boolean {
  return url.startsWith("file:") && /\.[mc]?ts$/.test(new URL(url).pathname);
}

/** Modules that were stripped already, so that two importers share one. */
const stripped = new Map<string, Promise<string>>();

/** A `data:` URL of a TypeScript module without its types, and of what it imports. */
function dataUrlOf(url: string, importers: readonly string[]): Promise<string> {
  if (importers.includes(url)) {
    throw new PlanError(
      `Cannot load module "${url}": it imports itself by way of "${importers.at(-1)}"`,
    );
  }
  const known = stripped.get(url) ?? strip(url, importers);
  stripped.set(url, known);
  return known;
}

async function strip(url: string, importers: readonly string[]): Promise<string> {
  const [{ transformSync }, { init, parse }] = await Promise.all([
    import("amaro"),
    import("es-module-lexer"),
  ]);
  await init;
  const source = await Deno.readTextFile(new URL(url));
  const code: string = transformSync(source, { mode: "strip-only" }).code;
  let output = "", done = 0;
  for (const found of parse(code)[0]) {
    const { start, end } = found;
    if (found.type === "import-meta") {
      if (!code.startsWith(".url", end)) continue;
      output += code.slice(done, start) + JSON.stringify(url);
      done = end + ".url".length;
    } else if (found.specifier !== undefined && /^\.{1,2}\//.test(found.specifier)) {
      const target = await dependency(new URL(found.specifier, url).href, [...importers, url]);
      // A static import's text comes without its quotes, a dynamic one's with them.
      output += code.slice(done, start) +
        (found.type === "dynamic" ? JSON.stringify(target) : target);
      done = end;
    }
  }
  output += `${code.slice(done)}\n//# sourceURL=${url}\n`;
  return `data:text/javascript;base64,${Buffer.from(output).toString("base64")}`;
}

function dependency(url: string, importers: readonly string[]): string | Promise<string> {
  return isTypeScript(url) ? dataUrlOf(url, importers) : url;
}

function reason(error: unknown, specifier: string, baseUrl: string): string {
  // amaro throws plain objects.
  const message = String((error as { message?: unknown } | null)?.message ?? error);
  if (error instanceof Deno.errors.NotFound || /^Module not found|ENOENT/.test(message)) {
    // It may be one that the module imports.
    const [, missing = resolveModule(specifier, baseUrl)] = /"([a-z]+:[^"]*)"/.exec(message) ?? [];
    return `there is no file ${missing}`;
  }
  return message;
}
