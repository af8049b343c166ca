/**
 * Makes the pipelines of a plan, one for each of its stages: the transforms and the sink's `prepare`,
 * created in this isolate.
 *
 * @module
 */
import type { PluginLogger, PluginMetrics, Reply, TransformContext } from "../plugins/contract.ts";
import type { Registry } from "../plugins/registry.ts";
import { Batch, Schema } from "./batch.ts";
import { neededColumns, resolveSchemas } from "./make_plan.ts";
import { Pipeline, type Stage } from "./pipeline.ts";
import type { Plan } from "./plan.ts";
import { movedColumns, shufflesOf, Spread } from "./shuffle.ts";

/** What the isolate lends to the plugins of {@linkcode createPipelines}. */
export interface PipelineHost {
  readonly partition: number;
  readonly peer: number;
  readonly logger: PluginLogger;
  readonly metrics: PluginMetrics;
  readonly signal: AbortSignal;
  /** Number of all partitions of all peers, between which rows may move. */
  readonly destinations: number;
  /** @param stage where the transform is that answers, from 0 */
  reply(id: string, reply: Reply, stage: number): void;
}

/**
 * The pipelines of the stages, in order: one for a plan that moves no rows.
 * @throws {PlanError} when an option or a column does not fit
 */
export async function createPipelines(
  plan: Plan,
  registry: Registry,
  { destinations, reply, ...host }: PipelineHost,
): Promise<readonly Pipeline[]> {
  const schemas = await resolveSchemas(plan, registry);
  const columns = await neededColumns(plan, registry);
  const shuffles = await shufflesOf(plan, registry);
  const stages: Stage[][] = [];
  const pipelines: Pipeline[] = [];
  cut(0);
  try {
    await createStages();
  } catch (error) {
    for (const pipeline of pipelines) await pipeline.close();
    throw error;
  }
  return pipelines;

  function cut(stage: number): void {
    stages[stage] = [];
    pipelines[stage] = new Pipeline(stages[stage], {
      isolationMs: plan.batching.batchTimeoutMs / 2,
    });
  }

  function context(): Omit<TransformContext, "input"> {
    const stage = pipelines.length - 1;
    return {
      ...host,
      reply: (id, answer) => reply(id, answer, stage),
      Batch,
      Schema,
      baseUrl: plan.baseUrl,
      service: plan.name,
      partitions: plan.partitions,
      permissions: "inherit",
    };
  }

  async function createStages(): Promise<void> {
    for (const [position, use] of plan.transforms.entries()) {
      const plugin = await registry.resolve("transform", use.name);
      const shuffle = shuffles[position];
      let input = schemas[position];
      if (shuffle !== undefined) {
        const needed = columns[position]!;
        const transform = await Spread.create({
          shuffle,
          destinations,
          first: host.peer * plan.partitions + host.partition,
          needed,
          input,
          baseUrl: plan.baseUrl,
        });
        stages.at(-1)!.push({ name: use.name, transform, schema: undefined });
        cut(pipelines.length);
        input = input && movedColumns(input, needed);
      }
      const transform = await plugin.create(registry.checkOptions(plugin, use.options), {
        ...context(),
        input,
      });
      stages.at(-1)!.push({ name: use.name, transform, schema: schemas[position + 1] });
    }
    const sink = await registry.resolve("sink", plan.sink.name);
    if (sink.prepare !== undefined) {
      const options = registry.checkOptions(sink, plan.sink.options);
      const transform = await sink.prepare(options, { ...context(), input: schemas.at(-1) });
      stages.at(-1)!.push({ name: plan.sink.name, transform, schema: undefined });
    }
  }
}
