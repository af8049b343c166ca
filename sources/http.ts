/**
 * The `http` source, head-node mode: one listener on the head, rows to all partitions, replies from the
 * head. Requests live in memory: one that has not been answered when the process dies is lost to its
 * caller, who sees the connection break.
 *
 * @module
 */
import * as v from "valibot";
import { REQUEST_SCHEMA } from "../engine/http/service.ts";
import {
  createService,
  HOST_ENTRY,
  port,
  SERVICE_ENTRIES,
} from "../engine/http/service_options.ts";
import { defineSource } from "../plugins/contract.ts";

const options = v.strictObject({
  host: HOST_ENTRY,
  port: v.pipe(
    v.optional(port(), 8888),
    v.description("Port to bind; 0 takes any free one. Services may share a port."),
  ),
  ...SERVICE_ENTRIES,
});

/** Options of the `http` source, checked and complete. */
export type HttpSourceOptions = v.InferOutput<typeof options>;

export default defineSource<HttpSourceOptions>({
  kind: "source",
  name: "http",
  aliases: [
    "server",
    "org.apache.spark.sql.execution.streaming.HTTPSourceProvider",
    "org.apache.spark.sql.execution.streaming.continuous.HTTPSourceProviderV2",
  ],
  summary: "Takes HTTP requests on the head and spreads them over the partitions.",
  description: [
    "Rows have `id`, `value` (the body as text), `request` (struct of method, path, query, headers and",
    "body) and `timestamp`. Columns that the plan does not read are not made.",
    "",
    "Each request gets exactly one reply: the sink's, or an error. Requests are not kept on disk.",
  ].join("\n"),
  options,
  examples: [
    { title: "A service at http://localhost:8888/my_api", options: { port: 8888, name: "my_api" } },
    {
      title: "Small JSON bodies from a browser, answered within a second",
      options: {
        host: "0.0.0.0",
        port: 8080,
        path: "/v1/score",
        methods: ["POST"],
        cors: ["https://example.com"],
        maxBodyBytes: 65536,
        replyTimeoutMs: 1000,
      },
    },
  ],
  placement: "head",
  outputSchema: () => REQUEST_SCHEMA,
  create: (options, context) => createService(options, options, context),
});
