/**
 * The `foreach_batch` sink: hands each batch to a function of the user's. Spark's `foreachBatch`; the
 * function is named by its module and export, since the plan is data.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, Schema } from "../engine/batch.ts";
import { loadFunction } from "../engine/expressions/compile.ts";
import { defineSink, type Json, type PluginLogger } from "../plugins/contract.ts";
import { importModule } from "../plugins/loader.ts";

const options = v.strictObject({
  module: v.pipe(
    v.string(),
    v.nonEmpty(),
    v.description("The module: a path relative to the config, a URL, or an npm package."),
  ),
  export: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty()), "default"),
    v.description("Name of the function that it exports."),
  ),
  options: v.pipe(
    v.optional(v.unknown(), {}),
    v.description("Handed to the function."),
  ),
});

/** Options of the `foreach_batch` sink, checked and complete. */
export type ForeachBatchOptions = v.InferOutput<typeof options>;

/** What the function of a `foreach_batch` sink is given besides the batch and its id. */
export interface ForeachBatchContext {
  readonly options: Json;
  readonly logger: PluginLogger;
  readonly signal: AbortSignal;
  readonly Batch: typeof Batch;
  readonly Schema: typeof Schema;
}

/** The function. A batch done again after a crash has the same id and the same rows. */
export type ForeachBatchFunction = (
  batch: Batch,
  batchId: number,
  context: ForeachBatchContext,
) => void | Promise<void>;

export default defineSink<ForeachBatchOptions>({
  kind: "sink",
  name: "foreach_batch",
  aliases: ["foreachBatch"],
  atLeastOnce: true,
  summary: "Hands each batch to a function of yours.",
  description: [
    "The function runs on the head, one batch at a time: `(batch, batchId, context) => void | Promise`.",
    "",
    "At least once: a batch done again after a crash comes again, with the same id, by which the",
    "function can tell.",
  ].join("\n"),
  options,
  examples: [
    { title: "The default export of a file", options: { module: "./save.ts" } },
    {
      title: "Another export, with options",
      options: { module: "./save.ts", export: "saveTo", options: { table: "seen" } },
    },
  ],
  placement: "head",
  create: async ({ module, export: name, options }, context) => {
    const { baseUrl, logger, signal } = context;
    const f = await loadFunction(module, name, importModule, baseUrl) as ForeachBatchFunction;
    const given: ForeachBatchContext = { options: options as Json, logger, signal, Batch, Schema };
    return {
      addBatch: async (batchId, batch) => {
        await f(batch, batchId, given);
      },
    };
  },
});
