/**
 * Millrace as a library: streaming pipelines as web services, under Spark's names.
 *
 * ```ts
 * import { col, length, session } from "@millrace/millrace";
 *
 * const query = session.readStream.format("http").option("port", 8888).option("name", "my_api").load()
 *   .withColumn("newCol", length(col("value")))
 *   .writeStream.format("http").queryName("my_query").option("replyCol", "newCol").start();
 * await query.awaitTermination();
 * ```
 *
 * @module
 */
export {
  Session,
  session,
  type StreamingQueryListener,
  StreamingQueryManager,
} from "./engine/session.ts";
export {
  type ColumnLike,
  DataFrame,
  DataFrameReader,
  DataFrameWriter,
  DataStreamWriter,
} from "./engine/dataframe.ts";
export {
  StreamingQuery,
  StreamingQueryException,
  type StreamingQueryStatus,
} from "./engine/query.ts";
export type { StreamingQueryProgress } from "./engine/progress.ts";

export * from "./engine/expressions/column.ts";

export {
  Batch,
  type ColumnData,
  type DataType,
  type Field,
  type ScalarType,
  Schema,
  type TensorElement,
} from "./engine/batch.ts";

export { makePlan, type PlanDraft } from "./engine/make_plan.ts";
export {
  type Batching,
  DEFAULT_BATCHING,
  type Plan,
  type PluginUse,
  type Trigger,
} from "./engine/plan.ts";
export {
  type Config,
  ConfigError,
  type ConfigOptions,
  type ConfigService,
  loadConfig,
  type LoadedConfig,
  loadPlans,
  type LoadPlansOptions,
  type Problem,
} from "./engine/config.ts";

export * from "./plugins/contract.ts";
export * from "./plugins/errors.ts";
export { Registry, type RegistryEntry } from "./plugins/registry.ts";
export { onnx, type OnnxModel, type OnnxModelOptions } from "./onnx/transformer.ts";
export { dropMemoryStream, MemoryStream, memoryStream } from "./sources/memory.ts";
export { dropMemoryTable, MemoryTable, memoryTable } from "./sinks/memory.ts";
