/**
 * The plugins that commands talk about.
 *
 * @module
 */
import { toJsonSchema } from "@valibot/to-json-schema";
import { session } from "../engine/session.ts";
import type { Json, Plugin, PluginBase, PluginKind } from "../plugins/contract.ts";
import type { Registry } from "../plugins/registry.ts";

/** The part of JSON Schema that options schemas become. */
export interface JsonSchema {
  readonly type?: string;
  readonly const?: Json;
  readonly enum?: readonly Json[];
  readonly anyOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: Json;
  readonly description?: string;
}

/** Which plugins are meant, besides the built-in ones. */
export interface PluginOptions {
  readonly kind?: PluginKind;
  /** Specifiers of outside plugins, relative to the working directory. */
  readonly plugin?: readonly string[];
}

/** The kinds in the order in which data passes them. */
export const KINDS: readonly PluginKind[] = ["source", "transform", "sink"];

/** What specifiers of a command line are relative to. */
export function workingDirectory(): string {
  return new URL(`file://${Deno.cwd()}/`).href;
}

/**
 * The built-in plugins and those of a command line.
 * @throws {PlanError} when one cannot be loaded
 */
export async function loadRegistry({ plugin = [] }: PluginOptions): Promise<Registry> {
  const registry = session.newRegistry();
  for (const specifier of plugin) await registry.load(specifier, workingDirectory());
  return registry;
}

/** All plugins, sources first. */
export async function allPlugins(registry: Registry, kind?: PluginKind): Promise<Plugin[]> {
  const kinds = kind === undefined ? KINDS : [kind];
  const entries = kinds.flatMap((each) =>
    registry.entries().filter((entry) => entry.kind === each)
  );
  return await Promise.all(entries.map(({ kind, name }) => registry.resolve(kind, name)));
}

/** The schema of a plugin's options, as a user writes them. */
export function optionsJsonSchema(registry: Registry, plugin: PluginBase<unknown>): JsonSchema {
  return jsonSchemaOf(registry.optionsSchema(plugin));
}

/** A valibot schema as JSON Schema; what JSON Schema cannot say is left out. */
export function jsonSchemaOf(schema: ReturnType<Registry["optionsSchema"]>): JsonSchema {
  const { $schema: _, ...rest } = toJsonSchema(schema as Parameters<typeof toJsonSchema>[0], {
    errorMode: "ignore",
    typeMode: "input",
  });
  return rest as JsonSchema;
}
