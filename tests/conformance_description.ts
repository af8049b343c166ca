/**
 * What every plugin says of itself, checked.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as v from "valibot";
import type { Plugin, PluginBase } from "../plugins/contract.ts";
import { Registry, type RegistryEntry } from "../plugins/registry.ts";

const registry = new Registry([]);

/** Checks name, summary, the description of every option, and that the examples validate. */
export function checkDescription(plugin: Plugin): void {
  assert.match(plugin.name, /^[a-z][a-z0-9_]*$/);
  assert.match(plugin.summary, /^[A-Z][^\n]*\.$/, "the summary is one sentence");
  assert.ok((plugin.description ?? "").length > 0, "it has a description");
  const { entries = {} } = registry.optionsSchema(plugin) as {
    entries?: Record<string, v.GenericSchema>;
  };
  for (const [name, entry] of Object.entries(entries)) {
    assert.ok(v.getDescription(entry), `option "${name}" has a description`);
  }
  assert.ok((plugin.examples ?? []).length >= 1, "it has an example or more");
  for (const { title, options } of plugin.examples!) {
    assert.ok(title.length > 0);
    registry.checkOptions(plugin as PluginBase<unknown>, options);
  }
}

/** Checks that the list of plugins and the plugin say the same of it. */
export function checkEntry({ kind, name, aliases }: RegistryEntry, plugin: Plugin): void {
  assert.deepEqual(
    { kind: plugin.kind, name: plugin.name, aliases: [...plugin.aliases ?? []] },
    { kind, name, aliases: [...aliases] },
  );
}
