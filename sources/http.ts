/**
 * The `http` source, head-node mode: one listener on the head, rows to all partitions, replies from the
 * head. Requests live in memory: one that has not been answered when the process dies is lost to its
 * caller, who sees the connection break.
 *
 * @module
 */
import * as v from "valibot";
import { HttpService, REQUEST_SCHEMA } from "../engine/http/service.ts";
import { formatOrigin } from "../engine/origin.ts";
import { defineSource } from "../plugins/contract.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

const options = v.strictObject({
  host: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty()), "localhost"),
    v.description("Address to bind; `0.0.0.0` for all of the machine's."),
  ),
  port: v.pipe(
    v.optional(port(), 8888),
    v.description("Port to bind; 0 takes any free one. Services may share a port."),
  ),
  name: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty())),
    v.description(
      "The service's name, by which sinks answer it. Default: the path, or the query's name.",
    ),
  ),
  path: v.pipe(
    v.optional(v.pipe(v.string(), v.regex(/^[^?#\s]*$/, "wanted a URL path"))),
    v.description("URL path of the service; it answers there and below. Default: the name."),
  ),
  methods: v.pipe(
    v.optional(v.pipe(v.array(v.picklist(METHODS)), v.minLength(1)), [...METHODS]),
    v.description(
      "Methods that are taken; HEAD goes with GET, OPTIONS is answered, others get 405.",
    ),
  ),
  maxBodyBytes: v.pipe(
    v.optional(positive(), 16 * 1024 * 1024),
    v.description("Largest body, before and after decompression; a larger one gets 413."),
  ),
  replyTimeoutMs: v.pipe(
    v.optional(positive(), 60_000),
    v.description(
      "How long a caller waits at most, in ms: then 504, or 408 when its body is not there.",
    ),
  ),
  droppedReply: v.pipe(
    v.optional(
      v.strictObject({
        status: v.pipe(
          v.optional(v.pipe(v.number(), v.integer(), v.minValue(200), v.maxValue(599)), 404),
          v.description("HTTP status."),
        ),
        body: v.pipe(
          v.optional(v.string(), "No result for this request"),
          v.description("Text of the error; empty for no body."),
        ),
      }),
      {},
    ),
    v.description("Answer to a request whose row a transform dropped."),
  ),
  cors: v.pipe(
    v.optional(v.union([v.boolean(), v.array(v.string())]), false),
    v.description("Origins that browsers may call from; `true` for any."),
  ),
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
  create: (options, { service, peer, partition, columns, replies }) => {
    const name = options.name ?? (trimSlashes(options.path ?? "") || service);
    const path = `/${trimSlashes(options.path ?? name)}`;
    const { cors } = options;
    return new HttpService({
      ...options,
      name,
      path,
      cors: cors === true ? ["*"] : cors === false ? undefined : cors,
      columns,
      origin: formatOrigin({ peer: String(peer), partition, request: 0 }).slice(0, -1),
      replies,
    });
  },
});

function port() {
  return v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
}

function positive() {
  return v.pipe(v.number(), v.integer(), v.minValue(1));
}

function trimSlashes(path: string): string {
  return path.replace(/^\/+|\/+$/g, "");
}
