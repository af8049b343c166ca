/**
 * `millrace schema`
 *
 * @module
 */
import * as v from "valibot";
import { CLUSTER_SCHEMA } from "../cluster/cluster_options.ts";
import { CONFIG_KEYS, SERVICE_KEYS } from "../engine/config.ts";
import { ENGINE_SCHEMA, TRIGGER_SCHEMA } from "../engine/make_plan.ts";
import type { Plugin, PluginKind } from "../plugins/contract.ts";
import type { Registry } from "../plugins/registry.ts";
import { DONE, type Io } from "./io.ts";
import {
  allPlugins,
  jsonSchemaOf,
  KINDS,
  loadRegistry,
  optionsJsonSchema,
  type PluginOptions,
} from "./plugins.ts";

/**
 * Prints the JSON Schema of configs.
 * @returns the exit code
 * @throws {PlanError} when an outside plugin cannot be loaded
 */
export async function schema(options: PluginOptions, io: Io): Promise<number> {
  const made = await configJsonSchema(await loadRegistry(options));
  io.out(`${JSON.stringify(made, null, 2)}\n`);
  return DONE;
}

const VARIABLE = { $ref: "#/definitions/variable" };

/** The JSON Schema (draft 7) of a config that uses the plugins of a registry. */
export async function configJsonSchema(registry: Registry): Promise<Record<string, unknown>> {
  const plugins = await allPlugins(registry);
  const ofKind = (kind: PluginKind) => plugins.filter((plugin) => plugin.kind === kind);
  const definitions = Object.fromEntries(plugins.map((plugin) => [
    `${plugin.kind}.${plugin.name}`,
    { ...optionsOf(registry, plugin), title: plugin.name },
  ]));
  const uses = Object.fromEntries(KINDS.map((kind) => [kind, useOf(kind, ofKind(kind))]));
  const engine = withVariables(jsonSchemaOf(v.strictObject({
    ...ENGINE_SCHEMA.entries,
    trigger: v.optional(TRIGGER_SCHEMA),
  }))) as {
    properties: Record<string, object>;
  };
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Millrace config",
    type: "object",
    properties: {
      services: {
        description: CONFIG_KEYS["services"],
        type: "array",
        minItems: 1,
        items: { $ref: "#/definitions/service" },
      },
      plugins: {
        description: CONFIG_KEYS["plugins"],
        type: ["array", "null"],
        items: { type: "string", minLength: 1 },
      },
      cluster: {
        description: CONFIG_KEYS["cluster"],
        anyOf: [withVariables(jsonSchemaOf(CLUSTER_SCHEMA)), { type: "null" }],
      },
    },
    required: ["services"],
    additionalProperties: false,
    definitions: {
      service: {
        type: "object",
        properties: {
          name: { description: SERVICE_KEYS["name"], type: "string", minLength: 1 },
          source: { description: SERVICE_KEYS["source"], ...refTo("source") },
          transforms: {
            description: SERVICE_KEYS["transforms"],
            type: ["array", "null"],
            items: refTo("transform"),
          },
          sink: { description: SERVICE_KEYS["sink"], ...refTo("sink") },
          ...engine.properties,
          trigger: { description: SERVICE_KEYS["trigger"], ...engine.properties["trigger"] },
        },
        required: ["name", "source", "sink"],
        additionalProperties: false,
      },
      ...uses,
      variable: {
        description: "A reference to an environment variable.",
        type: "string",
        pattern: "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:[^}]*)?\\}",
      },
      ...definitions,
    },
  };
}

/** `allOf`, because draft 7 looks at nothing beside a bare `$ref`. */
function refTo(name: string) {
  return { allOf: [{ $ref: `#/definitions/${name}` }] };
}

/** One plugin by its name and options, or by its name alone. */
function useOf(kind: PluginKind, plugins: readonly Plugin[]): Record<string, unknown> {
  const ref = ({ name }: Plugin) => ({ $ref: `#/definitions/${kind}.${name}` });
  const properties = Object.fromEntries(plugins.map((plugin) => [
    plugin.name,
    { description: plugin.summary, anyOf: [ref(plugin), { type: "null" }] },
  ]));
  // Not among the properties, so that editors do not offer them.
  const patternProperties = Object.fromEntries(
    plugins.flatMap((plugin) =>
      (plugin.aliases ?? []).map((alias) => [`^${alias.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`, {
        anyOf: [ref(plugin), { type: "null" }],
      }])
    ),
  );
  return {
    anyOf: [
      {
        type: "object",
        properties,
        patternProperties,
        additionalProperties: false,
        minProperties: 1,
        maxProperties: 1,
      },
      { enum: plugins.flatMap(({ name, aliases = [] }) => [name, ...aliases]) },
    ],
  };
}

function optionsOf(registry: Registry, plugin: Plugin): Record<string, unknown> {
  return withVariables(optionsJsonSchema(registry, plugin)) as Record<string, unknown>;
}

/** The same schema, in which a reference to a variable may stand for a number, a boolean or a choice. */
function withVariables(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withVariables);
  if (typeof schema !== "object" || schema === null) return schema;
  const { description, default: fallback, ...rest } = schema as Record<string, unknown>;
  const kept = {
    ...(description === undefined ? {} : { description }),
    ...(fallback === undefined ? {} : { default: fallback }),
  };
  if (
    ["number", "integer", "boolean"].includes(rest["type"] as string) ||
    "enum" in rest || "const" in rest || "pattern" in rest
  ) {
    return { ...kept, anyOf: [rest, VARIABLE] };
  }
  const inner = Object.entries(rest).map(([key, value]) => {
    if (key === "properties") {
      const properties = Object.entries(value as Record<string, unknown>);
      return [
        key,
        Object.fromEntries(properties.map(([name, each]) => [name, withVariables(each)])),
      ];
    }
    return ["items", "anyOf", "additionalProperties"].includes(key)
      ? [key, withVariables(value)]
      : [key, value];
  });
  return { ...kept, ...Object.fromEntries(inner) };
}
