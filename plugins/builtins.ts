/**
 * The plugins that come with Millrace: one list, read from left to right as data goes. Each is loaded
 * when it is first used.
 *
 * @module
 */
import type { RegistryEntry } from "./registry.ts";

export const builtins: readonly RegistryEntry[] = [
  {
    kind: "source",
    name: "http",
    aliases: [
      "server",
      "org.apache.spark.sql.execution.streaming.HTTPSourceProvider",
      "org.apache.spark.sql.execution.streaming.continuous.HTTPSourceProviderV2",
    ],
    load: () => import("../sources/http.ts"),
  },
  {
    kind: "source",
    name: "distributed_http",
    aliases: [
      "distributedServer",
      "org.apache.spark.sql.execution.streaming.DistributedHTTPSourceProvider",
    ],
    load: () => import("../sources/distributed_http.ts"),
  },
  { kind: "source", name: "memory", aliases: [], load: () => import("../sources/memory.ts") },
  { kind: "source", name: "rate", aliases: [], load: () => import("../sources/rate.ts") },
  transform("with_column", () => import("../transforms/with_column.ts")),
  transform("select", () => import("../transforms/select.ts")),
  transform("filter", () => import("../transforms/filter.ts")),
  transform("drop", () => import("../transforms/drop.ts")),
  transform("rename", () => import("../transforms/rename.ts")),
  transform("cast", () => import("../transforms/cast.ts")),
  transform("explode", () => import("../transforms/explode.ts")),
  transform("parse_request", () => import("../transforms/parse_request.ts")),
  transform("make_reply", () => import("../transforms/make_reply.ts")),
  transform("send_reply", () => import("../transforms/send_reply.ts")),
  transform("udf", () => import("../transforms/udf.ts")),
  transform("repartition", () => import("../transforms/repartition.ts")),
  transform("map_batches", () => import("../transforms/map_batches.ts")),
  transform("onnx", () => import("../transforms/onnx.ts")),
  {
    kind: "sink",
    name: "http",
    aliases: [
      "server",
      "distributed_http",
      "distributedServer",
      "org.apache.spark.sql.execution.streaming.HTTPSinkProvider",
      "org.apache.spark.sql.execution.streaming.DistributedHTTPSinkProvider",
      "org.apache.spark.sql.execution.streaming.continuous.HTTPSinkProviderV2",
    ],
    load: () => import("../sinks/http.ts"),
  },
  { kind: "sink", name: "memory", aliases: [], load: () => import("../sinks/memory.ts") },
  { kind: "sink", name: "console", aliases: [], load: () => import("../sinks/console.ts") },
  {
    kind: "sink",
    name: "foreach_batch",
    aliases: ["foreachBatch"],
    load: () => import("../sinks/foreach_batch.ts"),
  },
];

function transform(name: string, load: RegistryEntry["load"]): RegistryEntry {
  return { kind: "transform", name, aliases: [], load };
}
