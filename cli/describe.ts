/**
 * `millrace describe PLUGIN`
 *
 * @module
 */
import { stringify } from "yaml";
import type { Json, Plugin } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { nearest } from "../plugins/nearest.ts";
import type { Registry } from "../plugins/registry.ts";
import { DONE, type Io } from "./io.ts";
import { optionRows } from "./option_rows.ts";
import { allPlugins, loadRegistry, optionsJsonSchema, type PluginOptions } from "./plugins.ts";
import { table } from "./table.ts";

/**
 * Describes the plugins of a name or alias; a source and a sink may share one.
 * @returns the exit code
 * @throws {PlanError} when there is none
 */
export async function describe(
  name: string,
  options: PluginOptions & { readonly json?: boolean },
  io: Io,
): Promise<number> {
  const registry = await loadRegistry(options);
  const known = await allPlugins(registry, options.kind);
  const plugins = known.filter((each) => each.name === name || each.aliases?.includes(name));
  if (plugins.length === 0) {
    const names = [...new Set(known.map((each) => each.name))];
    throw new PlanError(`Unknown ${options.kind ?? "plugin"} "${name}": ${nearest(name, names)}`);
  }
  if (options.json === true) {
    const descriptions = plugins.map((plugin) => ({
      kind: plugin.kind,
      name: plugin.name,
      aliases: plugin.aliases ?? [],
      summary: plugin.summary,
      description: plugin.description ?? "",
      options: optionsJsonSchema(registry, plugin),
      examples: plugin.examples ?? [],
    }));
    io.out(`${JSON.stringify(descriptions, null, 2)}\n`);
  } else {
    io.out(plugins.map((plugin) => textOf(plugin, registry, io.width)).join("\n\n"));
  }
  return DONE;
}

function textOf(plugin: Plugin, registry: Registry, width: number): string {
  const { kind, name, summary, description, aliases = [], examples = [] } = plugin;
  const rows = optionRows(optionsJsonSchema(registry, plugin)).map((row) => [
    row.name,
    row.type,
    row.isRequired ? "(required)" : row.default,
    row.description,
  ]);
  const parts = [
    `${name} (${kind})\n${summary}`,
    aliases.length === 0 ? "" : `Aliases:\n${aliases.map((alias) => `  ${alias}`).join("\n")}`,
    rows.length === 0
      ? "No options."
      : `Options:\n${indent(table(["Name", "Type", "Default", "Description"], rows, width - 2))}`,
    description ?? "",
    ...examples.map(({ title, options }) => `# ${title}\n${exampleYaml(plugin, options)}`),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n").trimEnd()}\n`;
}

/** The options as they stand in a config. */
export function exampleYaml({ kind, name }: Plugin, options: Json): string {
  const use = { [name]: options };
  return stringify(kind === "transform" ? { transforms: [use] } : { [kind]: use }).trimEnd()
    .replaceAll("${", "$${");
}

function indent(text: string): string {
  return text.split("\n").map((line) => line === "" ? "" : `  ${line}`).join("\n");
}
