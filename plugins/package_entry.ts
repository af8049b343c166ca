/**
 * Finds the module that a package's name stands for, as Node does for `import`: in the `node_modules`
 * folders from a place upwards, by the package's `exports`, else its `main`.
 *
 * `createRequire` finds what `require` would load: of a package that has both, the CommonJS one, and none
 * of a package that is made of ES modules alone.
 *
 * @module
 */
import { isBuiltin } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Those of Node and Deno, for `import`. */
const CONDITIONS: ReadonlySet<string> = new Set(["deno", "node", "import", "default"]);

/**
 * The URL of the module.
 * @param name of a package, with or without a path inside it; of a module of Node's; or one of the
 *   importing package's own `imports`, which begin with `#`
 * @param from the importing module, or a folder, whose URL ends in `/`
 * @returns undefined when there is no such package
 * @throws {Error} when the package has no such module
 */
export function packageEntry(name: string, from: string): string | undefined {
  if (isBuiltin(name)) return name.startsWith("node:") ? name : `node:${name}`;
  if (name.startsWith("#")) return ownImport(name, from);
  const [, packageName, path] = /^(@[^/]+\/[^/]+|[^@/][^/]*)(\/.+)?$/.exec(name) ?? [];
  if (packageName === undefined || !from.startsWith("file:")) return undefined;
  for (const folder of foldersFrom(from)) {
    const root = new URL(`node_modules/${packageName}/`, folder);
    if (isFolder(root)) return entryOf(packageName, path ?? "", realFolder(root));
  }
  return undefined;
}

/** What a `package.json` says of its modules. */
interface Manifest {
  readonly main?: unknown;
  readonly exports?: unknown;
  readonly imports?: unknown;
}

function entryOf(name: string, path: string, root: URL): string {
  const { exports, main } = readManifest(root) ?? {};
  const wanted = `.${path}`;
  if (exports !== undefined && exports !== null) {
    const target = targetOf(isSubpaths(exports) ? exports : { ".": exports }, wanted);
    if (target === undefined) {
      throw new Error(`package "${name}" has no export "${wanted}" for import`);
    }
    return new URL(target, root).href;
  }
  const entry = path === "" && typeof main === "string" ? main : wanted;
  const candidates = [
    entry,
    `${entry}.js`,
    `${entry}/index.js`,
    ...path === "" ? ["index.js"] : [],
  ];
  const found = candidates.map((each) => new URL(each, root)).find(isFile);
  if (found === undefined) throw new Error(`package "${name}" has no module "${wanted}"`);
  return found.href;
}

/** A name that a package gives to a module of its own or to another package, in `imports`. */
function ownImport(name: string, from: string): string | undefined {
  for (const folder of foldersFrom(from)) {
    const manifest = readManifest(folder);
    if (manifest === undefined) continue;
    const target = isSubpaths(manifest.imports, "#") ? targetOf(manifest.imports, name) : undefined;
    if (target === undefined) return undefined;
    return target.startsWith("./") ? new URL(target, folder).href : packageEntry(target, from);
  }
  return undefined;
}

/** The target of the longest key that fits: the key itself, or one with a `*` for any text. */
function targetOf(targets: Readonly<Record<string, unknown>>, wanted: string): string | undefined {
  if (Object.hasOwn(targets, wanted)) return conditional(targets[wanted]);
  const fitting = Object.keys(targets).flatMap((key) => {
    const [before, after] = key.split("*") as [string, string?];
    return after !== undefined && wanted.length > before.length + after.length - 1 &&
        wanted.startsWith(before) && wanted.endsWith(after)
      ? [{ key, before, text: wanted.slice(before.length, wanted.length - after.length) }]
      : [];
  });
  const [best] = fitting.sort((a, b) => b.before.length - a.before.length);
  return best && conditional(targets[best.key])?.replaceAll("*", () => best.text);
}

/** The first target whose conditions hold. */
function conditional(target: unknown): string | undefined {
  if (typeof target === "string") return target;
  if (Array.isArray(target)) return target.map(conditional).find((each) => each !== undefined);
  if (typeof target !== "object" || target === null) return undefined;
  for (const [condition, inner] of Object.entries(target)) {
    const found = CONDITIONS.has(condition) ? conditional(inner) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether the keys are paths and not conditions. */
function isSubpaths(value: unknown, prefix = "."): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.keys(value).some((key) => key.startsWith(prefix));
}

/** The folder of a URL, and those above it. */
function* foldersFrom(from: string): Generator<URL> {
  for (let folder = new URL(".", from);; folder = new URL("..", folder)) {
    yield folder;
    if (folder.pathname === new URL("..", folder).pathname) return;
  }
}

function readManifest(folder: URL): Manifest | undefined {
  const file = new URL("package.json", folder);
  if (!isFile(file)) return undefined;
  try {
    return JSON.parse(Deno.readTextFileSync(file));
  } catch (cause) {
    throw new Error(`${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** The folder itself, where it is a link: what the package needs is beside that one. */
function realFolder(folder: URL): URL {
  return new URL(`${pathToFileURL(Deno.realPathSync(fileURLToPath(folder))).href}/`);
}

function isFile(url: URL): boolean {
  return statOf(url)?.isFile ?? false;
}

function isFolder(url: URL): boolean {
  return statOf(url)?.isDirectory ?? false;
}

function statOf(url: URL): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(url);
  } catch {
    return undefined;
  }
}
