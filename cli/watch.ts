/**
 * Watches the files of `millrace run --watch`.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { resolveModule } from "../plugins/loader.ts";

/** How long, in ms, changes are gathered before they are looked at: a file is seldom written in one go. */
const GATHER_MS = 100;

/**
 * The outside plugins of configs. A module that has been imported stays as it is; a changed file is
 * imported anew under a URL of its own, which makes a new plan of every one that uses it.
 */
export class PluginVersions {
  readonly #first = new Map<string, number>();

  /** The paths of the plugin files that have been asked for. */
  get files(): string[] {
    return [...this.#first.keys()].map((url) => fileURLToPath(url));
  }

  /** The specifier itself until the file changes; then a URL for its present content. */
  current(specifier: string, baseUrl: string): string {
    let url: string;
    try {
      url = resolveModule(specifier, baseUrl);
    } catch {
      // Told when the plugin is loaded.
      return specifier;
    }
    if (!url.startsWith("file:")) return specifier;
    const modified = modifiedAt(fileURLToPath(url));
    if (modified === undefined) return specifier;
    const first = this.#first.get(url);
    if (first === undefined) this.#first.set(url, modified);
    return first === undefined || first === modified ? specifier : `${url}?modified=${modified}`;
  }
}

/**
 * Calls `onChange` when a config or a plugin file has changed.
 * @returns when the signal is aborted
 */
export async function watch(
  configs: readonly string[],
  plugins: PluginVersions,
  onChange: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const files = () => [...configs.map((file) => resolve(file)), ...plugins.files];
  const seen = new Map<string, string>();
  look(files(), seen);
  while (!signal.aborted) {
    // Editors put a new file in the place of the old one, which only its directory tells.
    const directories = new Set(files().map((file) => dirname(file)));
    const watcher = Deno.watchFs([...directories], { recursive: false });
    const next = firstChange(watcher, signal);
    // Looked at again now that changes are told: none is missed in between.
    if (look(files(), seen)) await onChange();
    else await next;
    await pause(GATHER_MS, signal);
    watcher.close();
  }
}

/** Resolves at the first change, or when the signal is aborted. */
async function firstChange(watcher: Deno.FsWatcher, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<null>();
  const abort = () => aborted.resolve(null);
  signal.addEventListener("abort", abort);
  const events = watcher[Symbol.asyncIterator]();
  for (;;) {
    const event = await Promise.race([events.next(), aborted.promise]);
    // Reading a file is no change.
    if (event === null || event.done === true || event.value.kind !== "access") break;
  }
  signal.removeEventListener("abort", abort);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, ms);
  const abort = () => over.resolve();
  signal.addEventListener("abort", abort);
  await over.promise;
  signal.removeEventListener("abort", abort);
  clearTimeout(timer);
}

/** Notes what the files are now. Returns whether one that was seen before is another now. */
function look(files: readonly string[], seen: Map<string, string>): boolean {
  let hasChanged = false;
  for (const file of files) {
    const stamp = stampOf(file);
    hasChanged ||= seen.has(file) && seen.get(file) !== stamp;
    seen.set(file, stamp);
  }
  return hasChanged;
}

/** Differs when the file does. Links are followed, so a link that is turned counts. */
function stampOf(file: string): string {
  try {
    const { mtime, size, ino } = Deno.statSync(file);
    return `${mtime?.getTime()} ${size} ${ino}`;
  } catch {
    return "absent";
  }
}

function modifiedAt(file: string): number | undefined {
  try {
    return Deno.statSync(file).mtime?.getTime() ?? 0;
  } catch {
    return undefined;
  }
}
