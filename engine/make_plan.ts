/**
 * Makes plans: checks what a config or the fluent API has gathered, plugin by plugin and column by
 * column, and finds out which columns of the source the rest reads.
 *
 * @module
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { CLUSTER_SCHEMA, type ClusterOptions, mapFiles } from "../cluster/cluster_options.ts";
import type { Columns, Json, PlanContext, PluginBase, SourcePlugin } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { resolveModule } from "../plugins/loader.ts";
import { optionsError } from "../plugins/options_error.ts";
import type { Registry } from "../plugins/registry.ts";
import { Batch, Schema } from "./batch.ts";
import { BALANCER_SCHEMA } from "../cluster/balancer_options.ts";
import { DEFAULT_BATCHING, type Plan, type PluginUse, type Trigger } from "./plan.ts";
import { countShuffles, movedColumns, shufflesOf, withKeys } from "./shuffle.ts";

/** A plan in the making, as the user gave it. */
export interface PlanDraft {
  readonly name: string;
  readonly source: PluginUse;
  readonly transforms: readonly PluginUse[];
  readonly sink: PluginUse;
  /** See {@linkcode TRIGGER_SCHEMA}. Default: continuous. */
  readonly trigger?: Json | Trigger | undefined;
  /** See {@linkcode ENGINE_SCHEMA}. */
  readonly engine: Readonly<Record<string, Json>>;
  /** See {@linkcode CLUSTER_SCHEMA}. Default: no cluster. */
  readonly cluster?: Json | undefined;
  /** Outside plugins: paths, URLs or packages. */
  readonly plugins: readonly string[];
  /** What relative paths are relative to; a URL that ends in `/`. */
  readonly baseUrl: string;
}

const UNITS: Readonly<Record<string, number>> = {
  millisecond: 1,
  ms: 1,
  second: 1000,
  s: 1000,
  minute: 60_000,
  min: 60_000,
  hour: 3_600_000,
  h: 3_600_000,
};
const INTERVAL = /^(\d+(?:\.\d+)?)\s*([a-z]+)$/i;

/** Milliseconds as a number, or as text such as `"5 seconds"`. */
export const INTERVAL_SCHEMA = v.union([
  v.pipe(v.number(), v.minValue(1)),
  v.pipe(
    v.string(),
    v.check((text) => toMs(text) !== undefined, 'milliseconds, or text such as "5 seconds"'),
    v.transform((text) => toMs(text)!),
  ),
], 'milliseconds, or text such as "5 seconds"');

const ALWAYS = v.literal(true);

/** When micro-batches start: a name, or a map such as `{processingTime: "5 seconds"}`. */
export const TRIGGER_SCHEMA = v.pipe(
  v.union([
    v.picklist(["continuous", "availableNow", "once"]),
    v.strictObject({ processingTime: INTERVAL_SCHEMA }),
    v.strictObject({ continuous: v.union([ALWAYS, INTERVAL_SCHEMA]) }),
    v.strictObject({ availableNow: ALWAYS }),
    v.strictObject({ once: ALWAYS }),
  ], 'continuous, availableNow, once, or {processingTime: "5 seconds"}'),
  v.transform((given): Trigger => {
    const trigger = typeof given === "string" ? { [given]: true } : given;
    // Spark's interval of the continuous trigger is that of its checkpoints, which ours does not need.
    return "continuous" in trigger ? { continuous: true } : trigger as Trigger;
  }),
  v.description("When a micro-batch starts. Default: as soon as a partition is idle."),
);

/** What belongs to the engine: partitions, checkpoint and batching. */
export const ENGINE_SCHEMA = v.strictObject({
  partitions: v.pipe(
    v.optional(whole(1, 1024), 1),
    v.description("Number of workers. Default: 1."),
  ),
  peers: v.pipe(
    v.optional(whole(1, 256)),
    v.description(
      "Number of processes, each with its own partitions; they are watched and replaced. The source must " +
        "live in the partitions, as distributed_http does. Default: this process serves by itself.",
    ),
  ),
  balancer: v.pipe(
    v.optional(BALANCER_SCHEMA),
    v.description(
      "A balancer in front of the partitions, which have ports of their own (shared: false). It hides " +
        "from callers that partitions and peers die and are replaced.",
    ),
  ),
  checkpoint: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty())),
    v.description("Directory in which the query keeps what it needs to go on after a restart."),
  ),
  maxBatchSize: v.pipe(
    v.optional(whole(1, 1_000_000), DEFAULT_BATCHING.maxBatchSize),
    v.description("Most rows in a micro-batch."),
  ),
  maxBatchDelayMs: v.pipe(
    v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(3_600_000)), 0),
    v.description("How long a batch that is not full waits for more rows, in ms."),
  ),
  batchTimeoutMs: v.pipe(
    v.optional(whole(10, 86_400_000), DEFAULT_BATCHING.batchTimeoutMs),
    v.description("How long a worker may take for one batch before it is replaced, in ms."),
  ),
  maxQueueSize: v.pipe(
    v.optional(whole(1, 10_000_000), DEFAULT_BATCHING.maxQueueSize),
    v.description("Most rows that wait; what comes on top is refused."),
  ),
  maxWorkerMemoryMb: v.pipe(
    v.optional(whole(16, 1_048_576), DEFAULT_BATCHING.maxWorkerMemoryMb),
    v.description("Heap limit of a worker in MB; one over it is replaced."),
  ),
});

/**
 * Checks a draft and makes its plan.
 * @throws {PlanError} whose path leads to the culprit: `["source", "http", "port"]`,
 *   `["transforms", 0, "filter"]`, `["partitions"]`
 */
export async function makePlan(draft: PlanDraft, registry: Registry): Promise<Plan> {
  if (typeof draft.name !== "string" || draft.name === "") {
    throw new PlanError("Cannot start a query without a name: wanted text", { path: ["name"] });
  }
  const { partitions, peers, balancer, checkpoint, ...batching } = check(
    ENGINE_SCHEMA,
    draft.engine,
  );
  const trigger = draft.trigger === undefined
    ? { continuous: true } as const
    : check(TRIGGER_SCHEMA, draft.trigger, "trigger");
  const cluster = draft.cluster === undefined
    ? undefined
    : clusterOf(check(CLUSTER_SCHEMA, draft.cluster, "cluster"), draft.baseUrl);
  const plugins: string[] = [];
  for (const [position, specifier] of draft.plugins.entries()) {
    await within(["plugins", position], async () => {
      const url = resolveModule(specifier, draft.baseUrl);
      await registry.load(url, draft.baseUrl);
      plugins.push(url);
    });
  }
  const use = async (kind: "source" | "transform" | "sink", { name, options }: PluginUse) => {
    const plugin = await registry.resolve(kind, name) as PluginBase<unknown>;
    await within([name], () => registry.checkOptions(plugin, options));
    return { name: plugin.name, options: options ?? {} };
  };
  const source = await within(["source"], () => use("source", draft.source));
  const transforms: PluginUse[] = [];
  for (const [position, transform] of draft.transforms.entries()) {
    transforms.push(
      await within(["transforms", position], () => use("transform", transform)),
    );
  }
  const sink = await within(["sink"], () => use("sink", draft.sink));
  const plan: Plan = {
    version: 1,
    name: draft.name,
    source,
    transforms,
    sink,
    partitions,
    ...(peers === undefined ? {} : { peers }),
    ...(balancer === undefined ? {} : { balancer }),
    trigger,
    batching,
    ...(cluster === undefined ? {} : { cluster }),
    ...(checkpoint === undefined ? {} : { checkpoint: directoryOf(checkpoint, draft.baseUrl) }),
    plugins,
    baseUrl: draft.baseUrl,
  };
  await checkColumns(plan, draft, registry);
  return plan;
}

/**
 * The columns of the source that the plan reads. `id` is always among them.
 */
export async function requiredColumns(plan: Plan, registry: Registry): Promise<Columns> {
  const needed = (await neededColumns(plan, registry))[0]!;
  return needed === "all" ? "all" : new Set(["id", ...needed]);
}

/** The columns that are needed by each transform and what comes after it; at the end, by the sink. */
export async function neededColumns(
  plan: Plan,
  registry: Registry,
): Promise<readonly Columns[]> {
  const shuffles = await shufflesOf(plan, registry);
  const sink = await registry.resolve("sink", plan.sink.name);
  let needed: Columns = sink.requires?.(registry.checkOptions(sink, plan.sink.options)) ?? "all";
  const all = [needed];
  for (const [position, use] of [...plan.transforms.entries()].reverse()) {
    const plugin = await registry.resolve("transform", use.name);
    needed = plugin.requires?.(registry.checkOptions(plugin, use.options), needed) ?? "all";
    const shuffle = shuffles[position];
    if (shuffle !== undefined) needed = withKeys(shuffle, needed);
    all.unshift(needed);
  }
  return all;
}

/** Those of a batch's columns that are among the required ones, in the batch's order. */
export function keptColumns(names: readonly string[], required: Columns): readonly string[] {
  return required === "all" ? names : names.filter((name) => required.has(name));
}

/** Takes out of a source's batches what the rest of the plan does not read. */
export function columnPruner(required: Columns): (batch: Batch) => Batch {
  return (batch) => {
    const { names } = batch.schema;
    const kept = keptColumns(names, required);
    return kept.length === names.length ? batch : batch.select(kept);
  };
}

/**
 * The columns before the first transform and after each one, as they are when the plan runs: without
 * those that nobody needs. Undefined from where only the data can tell.
 */
export async function resolveSchemas(
  plan: Plan,
  registry: Registry,
): Promise<readonly (Schema | undefined)[]> {
  const source = await sourceSchema(plan, plan.source, registry);
  const kept = keptColumns(source.names, await requiredColumns(plan, registry));
  const needed = await neededColumns(plan, registry);
  const shuffles = await shufflesOf(plan, registry);
  return await schemasFrom(
    source.select(kept),
    plan,
    plan,
    registry,
    (schema, position) =>
      shuffles[position] === undefined ? schema : movedColumns(schema, needed[position]!),
  );
}

/** Checks the columns of the whole plan, before any is left out, so that messages name them all. */
async function checkColumns(plan: Plan, draft: PlanDraft, registry: Registry): Promise<void> {
  const schema = await sourceSchema(plan, draft.source, registry);
  const schemas = await schemasFrom(schema, plan, draft, registry);
  const sink = await registry.resolve("sink", plan.sink.name);
  const source = await registry.resolve("source", plan.source.name);
  checkPeers(plan, source);
  if (plan.cluster !== undefined && source.placement !== "partition") {
    throw new PlanError(
      `Cannot run source "${source.name}" in cluster "${plan.cluster.nats.name}": it lives on the head; use a ` +
        `source that lives in the partitions, such as "distributed_http", or leave "cluster" out`,
      { path: ["source", draft.source.name] },
    );
  }
  const ownsPeers = plan.peers !== undefined || plan.balancer !== undefined;
  if (plan.cluster !== undefined && ownsPeers && await countShuffles(plan, registry) > 0) {
    const key = plan.peers !== undefined ? "peers" : "balancer";
    throw new PlanError(
      `Cannot move rows between the machines of cluster "${plan.cluster.nats.name}" and between peers of one ` +
        `machine as well: leave "${key}" out and raise "partitions"`,
      { path: [key] },
    );
  }
  await within(["sink", draft.sink.name], async () => {
    const options = registry.checkOptions(sink, plan.sink.options);
    await sink.check?.(options, schemas.at(-1), planContext(plan));
    if (source.placement === "partition" && sink.perPartition !== true) {
      throw new PlanError(
        `Cannot use sink "${sink.name}" with source "${source.name}": the source lives in the ` +
          `partitions and the sink on the head; use another source, or sink "http"`,
      );
    }
  });
}

/** Several listeners take a source that lives in the partitions; a balancer, one that does not share its port. */
function checkPeers({ peers, balancer, source }: Plan, { name, placement }: SourcePlugin): void {
  const isOnHead = placement !== "partition";
  const remedy = 'it lives on the head; use a source in the partitions, such as "distributed_http"';
  if (peers !== undefined && isOnHead) {
    throw new PlanError(`Cannot run source "${name}" in ${peers} peers: ${remedy}`, {
      path: ["peers"],
    });
  }
  if (balancer === undefined) return;
  if (isOnHead) {
    throw new PlanError(`Cannot put a balancer in front of source "${name}": ${remedy}`, {
      path: ["balancer"],
    });
  }
  const { shared } = source.options as { shared?: unknown };
  if (name === "distributed_http" && shared !== false) {
    throw new PlanError(
      "Cannot put a balancer in front of one port that all partitions share: set shared: false",
      { path: ["source", name, "shared"] },
    );
  }
}

async function sourceSchema(plan: Plan, named: PluginUse, registry: Registry): Promise<Schema> {
  const plugin: SourcePlugin = await registry.resolve("source", plan.source.name);
  return await within(["source", named.name], async () => {
    const options = registry.checkOptions(plugin, plan.source.options);
    const schema = await plugin.outputSchema(options, planContext(plan));
    if (!(schema instanceof Schema)) {
      throw new PlanError(
        `Cannot use source "${plan.source.name}": its outputSchema gave ${typeof schema}, wanted a Schema`,
      );
    }
    return schema;
  });
}

/**
 * @param named the same plugins by the names the user gave, for the paths of errors
 * @param given what a transform gets of the columns in front of it
 */
async function schemasFrom(
  source: Schema,
  plan: Plan,
  named: { readonly transforms: readonly PluginUse[] },
  registry: Registry,
  given: (schema: Schema, position: number) => Schema = (schema) => schema,
): Promise<readonly (Schema | undefined)[]> {
  const schemas: (Schema | undefined)[] = [source];
  for (const [position, use] of plan.transforms.entries()) {
    const plugin = await registry.resolve("transform", use.name);
    const before = schemas[position];
    const input = before && given(before, position);
    await within(["transforms", position, named.transforms[position]!.name], async () => {
      const options = registry.checkOptions(plugin, use.options);
      const output = input && await plugin.outputSchema?.(options, input, planContext(plan));
      if (output !== undefined && !(output instanceof Schema)) {
        throw new PlanError(
          `Cannot use transform "${use.name}": its outputSchema gave ${typeof output}, wanted a Schema`,
        );
      }
      if (output !== undefined && input!.has("id") && !output.has("id")) {
        throw new PlanError(
          `Cannot use transform "${use.name}": it drops the column "id", by which replies are routed`,
        );
      }
      schemas.push(output);
    });
  }
  return schemas;
}

/** The absolute path of what is given as a path or a `file:` URL. */
function absolute(given: string, baseUrl: string): string {
  return /^[a-z][a-z\d+.-]+:/i.test(given)
    ? fileURLToPath(given)
    : resolve(fileURLToPath(baseUrl), given);
}

function clusterOf(options: ClusterOptions, baseUrl: string): ClusterOptions {
  return mapFiles(options, (file) => {
    try {
      return absolute(file, baseUrl);
    } catch (cause) {
      throw new PlanError(
        `Cannot use ${JSON.stringify(file)} for "cluster.nats": wanted a file of this machine`,
        { path: ["cluster", "nats"], cause },
      );
    }
  });
}

function directoryOf(given: string, baseUrl: string): string {
  try {
    return absolute(given, baseUrl);
  } catch (cause) {
    throw new PlanError(
      `Cannot use ${JSON.stringify(given)} for "checkpoint": wanted a directory of this machine`,
      { path: ["checkpoint"], cause },
    );
  }
}

function planContext({ baseUrl }: Plan): PlanContext {
  return { baseUrl, Batch, Schema };
}

function check<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  ...path: string[]
): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw optionsError(result.issues, schema, path);
}

/** Puts a path before that of an error; an error of another kind becomes a PlanError. */
async function within<T>(
  path: readonly (string | number)[],
  work: () => T | Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PlanError) throw error.within(...path);
    const message = error instanceof Error ? error.message : String(error);
    throw new PlanError(message, { path, cause: error });
  }
}

function whole(least: number, most: number) {
  return v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
}

function toMs(text: string): number | undefined {
  const match = INTERVAL.exec(text.trim());
  const name = match?.[2]?.toLowerCase() ?? "";
  const unit = UNITS[name] ?? UNITS[name.replace(/s$/, "")];
  const ms = unit === undefined ? 0 : Number(match![1]) * unit;
  return ms >= 1 ? ms : undefined;
}
