/**
 * The options of the built-in balancer: the key `balancer` of a service.
 *
 * @module
 */
import * as v from "valibot";
import { HOST_ENTRY, port, positive } from "../engine/http/option_entries.ts";

const milliseconds = () =>
  v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2_147_483_647));

/** What a balancer may be told. All have defaults but for the port. */
export const BALANCER_SCHEMA = v.strictObject({
  host: HOST_ENTRY,
  port: v.pipe(port(), v.description("Port to bind; 0 takes any free one.")),
  maxInFlight: v.pipe(
    v.optional(positive(), 1024),
    v.description("Most requests that one backend has at a time; what comes on top waits."),
  ),
  maxQueueSize: v.pipe(
    v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 1024),
    v.description("Most requests that wait for a backend; what comes on top gets 503."),
  ),
  queueTimeoutMs: v.pipe(
    v.optional(milliseconds(), 2_000),
    v.description("How long a request waits at most for a backend, in ms: then 503."),
  ),
  timeoutMs: v.pipe(
    v.optional(milliseconds(), 75_000),
    v.description(
      "Longest silence in ms: until a small request is there, a backend begins its reply, a large body " +
        "gets on. Longer than the replyTimeoutMs of the services.",
    ),
  ),
  connectTimeoutMs: v.pipe(
    v.optional(milliseconds(), 2_000),
    v.description("How long a connection to a backend may take, in ms."),
  ),
  maxAttempts: v.pipe(
    v.optional(positive(), 4),
    v.description("How often a request is tried at most, the first time included."),
  ),
  maxBufferedBytes: v.pipe(
    v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(16_777_216)), 65_536),
    v.description(
      "Bodies up to this size are read before they are sent, so that they can be sent again.",
    ),
  ),
  healthIntervalMs: v.pipe(
    v.optional(milliseconds(), 500),
    v.description("How often the backends' /readyz is asked, in ms."),
  ),
  healthTimeoutMs: v.pipe(
    v.optional(milliseconds(), 2_000),
    v.description("How long a backend may take to answer that, in ms."),
  ),
  healthPath: v.pipe(
    v.optional(v.pipe(v.string(), v.regex(/^(\/[^?#\s]*)?$/, "wanted a URL path")), ""),
    v.description(
      "Prefix of the balancer's own /healthz and /readyz; a service that answers there goes first.",
    ),
  ),
  trustForwarded: v.pipe(
    v.optional(v.boolean(), false),
    v.description(
      "Whether Forwarded and X-Forwarded-* of requests are kept and added to; for a proxy in front.",
    ),
  ),
  drainTimeoutMs: v.pipe(
    v.optional(milliseconds(), 30_000),
    v.description("How long a stop waits for replies that are on their way, in ms."),
  ),
});

/** Options of the balancer, as a user gives them. */
export type BalancerInput = v.InferInput<typeof BALANCER_SCHEMA>;

/** Options of the balancer, checked and complete. */
export type BalancerOptions = v.InferOutput<typeof BALANCER_SCHEMA>;
