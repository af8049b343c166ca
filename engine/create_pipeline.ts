/**
 * Makes the pipeline of a plan: its transforms and the sink's `prepare`, created in this isolate.
 *
 * @module
 */
import type { PluginLogger, PluginMetrics, Reply, TransformContext } from "../plugins/contract.ts";
import type { Registry } from "../plugins/registry.ts";
import { Batch, Schema } from "./batch.ts";
import { resolveSchemas } from "./make_plan.ts";
import { Pipeline, type Stage } from "./pipeline.ts";
import type { Plan } from "./plan.ts";

/** What the isolate lends to the plugins of {@linkcode createPipeline}. */
export interface PipelineHost {
  readonly partition: number;
  readonly peer: number;
  readonly logger: PluginLogger;
  readonly metrics: PluginMetrics;
  readonly signal: AbortSignal;
  reply(id: string, reply: Reply): void;
}

/**
 * @throws {PlanError} when an option or a column does not fit
 */
export async function createPipeline(
  plan: Plan,
  registry: Registry,
  host: PipelineHost,
): Promise<Pipeline> {
  const context: Omit<TransformContext, "input"> = {
    ...host,
    Batch,
    Schema,
    baseUrl: plan.baseUrl,
    service: plan.name,
    partitions: plan.partitions,
    permissions: "inherit",
  };
  const schemas = await resolveSchemas(plan, registry);
  const stages: Stage[] = [];
  const pipeline = new Pipeline(stages, { isolationMs: plan.batching.batchTimeoutMs / 2 });
  try {
    await createStages();
  } catch (error) {
    await pipeline.close();
    throw error;
  }
  return pipeline;

  async function createStages(): Promise<void> {
    for (const [position, use] of plan.transforms.entries()) {
      const plugin = await registry.resolve("transform", use.name);
      const transform = await plugin.create(registry.checkOptions(plugin, use.options), {
        ...context,
        input: schemas[position],
      });
      stages.push({ name: use.name, transform, schema: schemas[position + 1] });
    }
    const sink = await registry.resolve("sink", plan.sink.name);
    if (sink.prepare !== undefined) {
      const options = registry.checkOptions(sink, plan.sink.options);
      const transform = await sink.prepare(options, { ...context, input: schemas.at(-1) });
      stages.push({ name: plan.sink.name, transform, schema: undefined });
    }
  }
}
