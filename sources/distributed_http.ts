/**
 * The `distributed_http` source: a listener in every partition, which takes, transforms and answers its
 * requests by itself, with no hop through the head.
 *
 * @module
 */
import * as v from "valibot";
import { HttpListener, type ListenOptions } from "../engine/http/listener.ts";
import { REQUEST_SCHEMA } from "../engine/http/service.ts";
import {
  createService,
  HOST_ENTRY,
  port,
  positive,
  SERVICE_ENTRIES,
} from "../engine/http/service_options.ts";
import { defineSource, type SourceContext } from "../plugins/contract.ts";

const options = v.strictObject({
  host: HOST_ENTRY,
  port: v.pipe(
    v.optional(port(), 8888),
    v.description(
      "Port to bind; 0 takes any free one. Where it is not shared, the first of the ports to try.",
    ),
  ),
  shared: v.pipe(
    v.optional(v.boolean(), true),
    v.description(
      "Whether all partitions share the port, and the kernel spreads connections over them; else each " +
        "takes a port of its own, for a balancer in front.",
    ),
  ),
  maxAttempts: v.pipe(
    v.optional(positive()),
    v.description(
      "How many ports are tried, each one up, when the port is not shared. Default: 10, or the number of " +
        "partitions of all peers if that is more.",
    ),
  ),
  ...SERVICE_ENTRIES,
});

/** Options of the `distributed_http` source, checked and complete. */
export type DistributedHttpOptions = v.InferOutput<typeof options>;

export default defineSource<DistributedHttpOptions>({
  kind: "source",
  name: "distributed_http",
  aliases: [
    "distributedServer",
    "org.apache.spark.sql.execution.streaming.DistributedHTTPSourceProvider",
  ],
  summary: "Takes HTTP requests in every partition, which answers them by itself.",
  description: [
    "Rows are those of the `http` source. The sink must be `http`; it lives in the partitions too.",
    "",
    "Each request gets exactly one reply while its partition lives. When a worker dies, the connections it",
    "holds break, and the others go on; a balancer in front hides that from clients.",
    "",
    "The kernel spreads connections, not requests: few clients with long-lived connections may load the",
    "partitions unevenly. Use `http` for that, and for whatever must see all rows in one place.",
  ].join("\n"),
  options,
  examples: [
    {
      title: "All partitions behind http://localhost:8888/my_api",
      options: { port: 8888, name: "my_api" },
    },
    {
      title: "A port for each partition, from 9000 up",
      options: { port: 9000, shared: false, maxAttempts: 20, name: "my_api" },
    },
  ],
  placement: "partition",
  outputSchema: () => REQUEST_SCHEMA,
  create: (options, context) => createService(options, listenOptions(options, context), context),
});

function listenOptions(
  { host, port, shared, maxAttempts }: DistributedHttpOptions,
  { siblings, partitions, peers = 1 }: SourceContext,
): ListenOptions {
  if (!shared) {
    const attempts = maxAttempts ?? Math.max(10, partitions * peers);
    return { host, port, attempts, handsOver: true };
  }
  const [first] = siblings;
  if (first !== undefined) return { host, port: first.port, reusePort: true, handsOver: true };
  // A shared port is also shared with a stranger that shares it. So the first to come looks whether it is free.
  const free = HttpListener.probe({ host, port });
  return { host, port: free, reusePort: true, handsOver: true };
}
