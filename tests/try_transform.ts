/**
 * Runs a transform in a test, without an engine around it.
 *
 * @module
 */
import type { Json, Reply, TransformContext, TransformPlugin } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { Registry } from "../plugins/registry.ts";
import { Batch, Schema } from "../engine/batch.ts";

const registry = new Registry([]);

/** What came of a batch. */
export interface Tried {
  readonly batch: Batch;
  readonly rows: Record<string, unknown>[];
  /** Early replies by id. */
  readonly replies: Map<string, Reply>;
  readonly metrics: Record<string, number>;
}

/** A context whose calls go nowhere. */
export function transformContext(own: Partial<TransformContext> = {}): TransformContext {
  return {
    Batch,
    Schema,
    baseUrl: "file:///",
    input: undefined,
    service: "test",
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    metrics: { add() {} },
    signal: new AbortController().signal,
    peer: 0,
    partition: 0,
    partitions: 1,
    permissions: "inherit",
    reply() {},
    ...own,
  };
}

/** Checks the options and the columns, and runs one batch. */
export async function tryTransform<Options>(
  plugin: TransformPlugin<Options>,
  options: Json,
  input: Batch,
  context: Partial<TransformContext> = {},
): Promise<Tried> {
  const checked = registry.checkOptions(plugin, options);
  const replies = new Map<string, Reply>();
  const metrics: Record<string, number> = {};
  const whole = transformContext({
    input: input.schema,
    reply: (id, reply) => replies.set(id, reply),
    metrics: { add: (name, amount) => metrics[name] = (metrics[name] ?? 0) + amount },
    ...context,
  });
  await plugin.outputSchema?.(checked, input.schema, whole);
  const transform = await plugin.create(checked, whole);
  try {
    const batch = await transform.transform(input);
    return { batch, rows: batch.rows(), replies, metrics };
  } finally {
    await transform.close?.();
  }
}

/** The error, as `path: message`, that options or columns are refused with while a plan is made. */
export async function refusal<Options>(
  plugin: TransformPlugin<Options>,
  options: Json,
  input: Schema,
): Promise<string> {
  try {
    const checked = registry.checkOptions(plugin, options);
    await plugin.outputSchema?.(checked, input, transformContext());
  } catch (error) {
    if (error instanceof PlanError) return `${error.path.join(".")}: ${error.message}`;
    throw error;
  }
  throw new Error("Nothing was refused");
}

/** The columns that a transform needs for others, in order of their names. */
export function required<Options>(
  plugin: TransformPlugin<Options>,
  options: Json,
  needed: "all" | readonly string[],
): "all" | string[] {
  const columns = plugin.requires!(
    registry.checkOptions(plugin, options),
    needed === "all" ? "all" : new Set(needed),
  );
  return columns === "all" ? "all" : [...columns].sort();
}
