/**
 * The end of messages about a plugin that is not known.
 *
 * @module
 */
import { builtins } from "../plugins/builtins.ts";
import type { PluginKind } from "../plugins/contract.ts";

/** The names that such a message lists: those of a kind, or each name once. */
export function knownPlugins(wanted?: PluginKind): string {
  const names = builtins.filter(({ kind }) => wanted === undefined || kind === wanted)
    .map(({ name }) => `"${name}"`);
  return `Known: ${[...new Set(names)].join(", ")}`;
}
