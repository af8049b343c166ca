/**
 * Compiles the binary: `deno task compile`. Deno embeds every package of the lock file whole, those of
 * tests too; this leaves out what the binary never reads. Of ONNX Runtime it keeps two files of 138 MB.
 *
 * @module
 */
import { join } from "node:path";

/** Modules that are loaded by URL, as workers are: the graph of the entry does not lead to them. */
const WORKERS = ["engine/partition.ts", "onnx/session_worker.ts"];
/** Files that the commands read. */
const FILES = ["examples"];
/** Packages that are needed in part: these files, and none of their dependencies, which are in them. */
const IN_PART: Readonly<Record<string, readonly string[]>> = {
  "onnxruntime-web": [
    "package.json",
    "dist/ort.wasm.bundle.min.mjs",
    "dist/ort-wasm-simd-threaded.wasm",
  ],
};
/** Source maps and types that are worth an argument. */
const LEAST_BYTES = 20_000;

interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly dependencies: readonly string[];
  readonly registryUrl: string;
}

interface Info {
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<Record<string, NpmPackage>>;
}

const { npmCache } = await deno<{ npmCache: string }>("info", "--json");
const packages = new Map<string, NpmPackage>();
const needed = new Set<string>();
for (const root of ["main.ts", ...WORKERS]) {
  const { modules, npmPackages } = await deno<Info>("info", "--json", root);
  for (const [id, each] of Object.entries(npmPackages)) packages.set(id, each);
  for (const { npmPackage } of modules) if (npmPackage !== undefined) need(npmPackage);
}

const excluded: string[] = [];
for (const [id, each] of packages) {
  const folder = join(npmCache, new URL(each.registryUrl).host, each.name, each.version);
  const kept = needed.has(id) ? IN_PART[each.name] : [];
  excluded.push(...(kept === undefined ? superfluous(folder) : allBut(folder, kept)));
}

const { code } = await new Deno.Command(Deno.execPath(), {
  args: [
    ...["compile", "-A", "--no-check", "--unstable-net", "--output", "dist/millrace"],
    ...[...WORKERS, ...FILES].flatMap((path) => ["--include", path]),
    ...excluded.flatMap((path) => ["--exclude", path]),
    "main.ts",
  ],
}).spawn().status;
Deno.exit(code);

function need(id: string): void {
  const found = packages.get(id);
  if (found === undefined || needed.has(id)) return;
  needed.add(id);
  if (IN_PART[found.name] === undefined) found.dependencies.forEach(need);
}

/** All that a folder has but some of its files. */
function allBut(folder: string, kept: readonly string[]): string[] {
  return entriesOf(folder).flatMap(({ name, isDirectory }) => {
    if (kept.includes(name)) return [];
    const path = join(folder, name);
    const inner = kept.filter((each) => each.startsWith(`${name}/`));
    if (!isDirectory || inner.length === 0) return [path];
    return allBut(path, inner.map((each) => each.slice(name.length + 1)));
  });
}

/** Source maps and types. */
function superfluous(folder: string): string[] {
  return entriesOf(folder).flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    if (isDirectory) return superfluous(path);
    const isUnread = /\.map$|\.d\.[cm]?ts$/.test(name) && Deno.statSync(path).size >= LEAST_BYTES;
    return isUnread ? [path] : [];
  });
}

/** What is in a folder; nothing when it is for another platform, and so not there. */
function entriesOf(folder: string): Deno.DirEntry[] {
  try {
    return [...Deno.readDirSync(folder)];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function deno<T>(...args: string[]): Promise<T> {
  const command = new Deno.Command(Deno.execPath(), { args, stderr: "inherit" });
  const { success, stdout } = await command.output();
  if (!success) throw new Error(`deno ${args.join(" ")} failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}
