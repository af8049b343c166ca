/**
 * `millrace create SOURCE/TRANSFORM,.../SINK`
 *
 * @module
 */
import { stringify } from "yaml";
import { Batch, Schema } from "../engine/batch.ts";
import { formatProblem, makePlans, parseConfig, SERVICE_KEYS } from "../engine/config.ts";
import { ENGINE_SCHEMA } from "../engine/make_plan.ts";
import { session } from "../engine/session.ts";
import type { Json, Plugin, SinkPlugin } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import type { Registry } from "../plugins/registry.ts";
import { DONE, type Io } from "./io.ts";
import { alternatives, typeText } from "./option_rows.ts";
import {
  type JsonSchema,
  jsonSchemaOf,
  loadRegistry,
  optionsJsonSchema,
  type PluginOptions,
  workingDirectory,
} from "./plugins.ts";

/** Those of the `http` source, the likeliest to be meant first. */
const REQUEST_COLUMNS: readonly string[] = ["value", "request", "timestamp", "id"];

/**
 * Prints a config to start from. What it needs is there, the rest stands as comments. A note on stderr
 * tells when something is still to be filled in before it can run.
 * @returns the exit code
 * @throws {PlanError} when the pipeline is left out, or it or a plugin is not known
 */
export async function create(
  pipeline: string | undefined,
  options: PluginOptions,
  io: Io,
): Promise<number> {
  if (pipeline === undefined) {
    throw new PlanError(
      "Cannot create a config: wanted SOURCE/TRANSFORM,.../SINK, such as http/with_column/http, or " +
        "--example",
    );
  }
  const registry = await loadRegistry(options);
  const text = await createConfig(pipeline, registry, options.plugin);
  io.out(text);
  const config = parseConfig(text, "config.yaml", { env: io.env });
  const { problems } = await makePlans(config, { newRegistry: () => session.newRegistry() });
  const left = [...config.problems, ...problems];
  if (left.length > 0) {
    io.err(`To be filled in before it runs:\n${left.map(formatProblem).join("\n")}\n`);
  }
  return DONE;
}

/** The config's text. */
export async function createConfig(
  pipeline: string,
  registry: Registry,
  specifiers: readonly string[] = [],
): Promise<string> {
  const { source, transforms, sink } = parsePipeline(pipeline);
  const stages = [
    await registry.resolve("source", source),
    ...await Promise.all(transforms.map((name) => registry.resolve("transform", name))),
    await registry.resolve("sink", sink),
  ];
  const values = await chooseOptions(stages, registry);
  const use = (position: number, bullet: "" | "- " = "") => {
    const plugin = stages[position]!, value = values[position]!;
    const head = `      ${bullet}${plugin.name}:`;
    const options = optionLines(
      optionsJsonSchema(registry, plugin),
      value,
      plugin,
      `        ${" ".repeat(bullet.length)}`,
    );
    return [
      ...comment(plugin.summary, "      "),
      ...isMap(value) ? [head, ...options] : [`${head} ${yamlOf(value)}`],
    ];
  };
  const last = stages.length - 1;
  const lines = [
    "services:",
    ...comment(SERVICE_KEYS["name"]!, "  "),
    "  - name: my_query",
    "    source:",
    ...use(0),
    ...last === 1 ? [] : ["    transforms:"],
    ...stages.slice(1, last).flatMap((_, position) => use(position + 1, "- ")),
    "    sink:",
    ...use(last),
    ...comment(SERVICE_KEYS["trigger"]!, "    "),
    "    # trigger: continuous",
    ...optionLines(
      jsonSchemaOf(ENGINE_SCHEMA),
      {},
      { examples: [{ title: "", options: { checkpoint: "./checkpoints/my_query" } }] },
      "    ",
    ),
    ...specifiers.length === 0 ? [] : [`plugins: ${yamlOf([...specifiers])}`],
  ];
  return `${lines.join("\n")}\n`;
}

function parsePipeline(
  pipeline: string,
): { source: string; transforms: string[]; sink: string } {
  const parts = pipeline.split("/").map((part) => part.trim());
  const [source, sink] = [parts[0], parts.at(-1)];
  if (parts.length < 2 || parts.length > 3 || !source || !sink) {
    throw new PlanError(
      `Cannot create "${pipeline}": wanted SOURCE/TRANSFORM,.../SINK, such as http/with_column/http`,
    );
  }
  const names = parts.length === 3 ? parts[1]!.split(",").map((name) => name.trim()) : [];
  return { source, transforms: names.filter((name) => name !== ""), sink };
}

/**
 * Options for each stage that fit the columns of those before it: as few as there need be, else those
 * of an example, else those of an example with a text replaced by a column there is.
 */
async function chooseOptions(stages: readonly Plugin[], registry: Registry): Promise<Json[]> {
  const context = { baseUrl: workingDirectory(), Batch, Schema };
  const chosen: Json[] = [];
  let input: Schema | undefined;
  for (const plugin of stages) {
    const output = async (given: Json): Promise<Schema | undefined> => {
      const options = registry.checkOptions<unknown>(plugin, given);
      switch (plugin.kind) {
        case "source":
          return await plugin.outputSchema(options, context);
        case "transform":
          return input && await plugin.outputSchema?.(options, input, context);
        case "sink":
          await (plugin as SinkPlugin).check?.(options, input, context);
      }
    };
    const schema = optionsJsonSchema(registry, plugin);
    const candidates = candidatesOf(schema, plugin, input?.names ?? []);
    let next: { options: Json; output: Schema | undefined } | undefined;
    for (const options of candidates) {
      try {
        next = { options, output: await output(options) };
        break;
      } catch {
        // The next one, then.
      }
    }
    // None fits: the first example shows at least what the options look like.
    next ??= { options: plugin.examples?.[0]?.options ?? {}, output: undefined };
    chosen.push(next.options);
    input = next.output;
  }
  return chosen;
}

function candidatesOf(schema: JsonSchema, plugin: Plugin, columns: readonly string[]): Json[] {
  const examples = plugin.examples?.map(({ options }) => options) ?? [];
  const required = alternatives(schema).find(({ properties }) => properties)?.required ?? [];
  const least = Object.fromEntries(required.flatMap((key) => {
    const value = exampleOf(plugin, key);
    return value === undefined ? [] : [[key, value]];
  }));
  const plain = [least, ...examples];
  const replaced = likeliestFirst(columns).flatMap((column) =>
    plain.flatMap((options): Json[] => {
      if (typeof options === "string") return [column];
      if (!isMap(options)) return [];
      return Object.keys(options)
        .filter((key) => typeof options[key] === "string")
        .map((key) => ({ ...options, [key]: column }));
    })
  );
  return [...plain, ...replaced];
}

function exampleOf({ examples = [] }: Pick<Plugin, "examples">, key: string): Json | undefined {
  for (const { options } of examples) {
    if (isMap(options) && Object.hasOwn(options, key)) return options[key];
  }
  return undefined;
}

/** Columns that transforms made, the newest first; then the body of requests, then the rest. */
function likeliestFirst(columns: readonly string[]): string[] {
  const made = columns.toReversed().filter((name) => !REQUEST_COLUMNS.includes(name));
  return [...made, ...REQUEST_COLUMNS.filter((name) => columns.includes(name))];
}

/** The options in the order of the schema; those without a value are commented out. */
function optionLines(
  schema: JsonSchema,
  values: Json,
  plugin: Pick<Plugin, "examples">,
  indent: string,
): string[] {
  if (!isMap(values)) return [];
  const map = alternatives(schema).find(({ properties }) => properties !== undefined);
  if (map === undefined) {
    return [
      ...comment(schema.description ?? "", indent),
      ...Object.entries(values).map(([key, value]) => `${indent}${yamlOf(key)}: ${yamlOf(value)}`),
    ];
  }
  return Object.entries(map.properties!).flatMap(([key, property]) => {
    const isGiven = Object.hasOwn(values, key);
    const shown = isGiven ? values[key]! : property.default ?? exampleOf(plugin, key);
    const value = shown === undefined ? `<${typeText(property)}>` : yamlOf(shown);
    return [
      ...comment(property.description ?? "", indent),
      `${indent}${isGiven ? "" : "# "}${key}: ${value}`,
    ];
  });
}

/** A value on one line of YAML. */
function yamlOf(value: Json): string {
  return stringify(value, { collectionStyle: "flow", lineWidth: 0 }).trimEnd()
    .replaceAll("${", "$${");
}

/** A text as comment lines of at most 100 characters. */
function comment(text: string, indent: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter((each) => each !== "")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= 100) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(`${indent}# ${word}`);
  }
  return lines;
}

function isMap(value: Json): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
