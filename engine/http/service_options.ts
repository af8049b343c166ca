/**
 * The options that every HTTP source has, and how they become a service.
 *
 * @module
 */
import * as v from "valibot";
import type { SourceContext } from "../../plugins/contract.ts";
import { formatOrigin } from "../origin.ts";
import type { ListenOptions } from "./listener.ts";
import { positive } from "./option_entries.ts";
import { HttpService } from "./service.ts";

export { HOST_ENTRY, port, positive } from "./option_entries.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** Entries of the options schema, but for where to listen. */
export const SERVICE_ENTRIES = {
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
} as const;

/** What {@linkcode SERVICE_ENTRIES} give. */
export type ServiceOptions = v.InferOutput<ReturnType<typeof serviceSchema>>;

/**
 * Name and path of the service that the options describe.
 * @param query the query's name
 */
export function serviceAddress(
  options: Pick<ServiceOptions, "name" | "path">,
  query: string,
): { name: string; path: string } {
  const name = options.name ?? (trimSlashes(options.path ?? "") || query);
  return { name, path: `/${trimSlashes(options.path ?? name)}` };
}

/** The service that the options describe; `listen` says how it gets its port. */
export function createService(
  options: ServiceOptions,
  listen: ListenOptions,
  { service, peer, partition, columns, replies }: SourceContext,
): HttpService {
  const { name, path } = serviceAddress(options, service);
  const { cors } = options;
  return new HttpService({
    ...options,
    ...listen,
    name,
    path,
    cors: cors === true ? ["*"] : cors === false ? undefined : cors,
    columns,
    peer,
    partition,
    origin: formatOrigin({ peer: String(peer), partition, request: 0 }).slice(0, -1),
    replies,
  });
}

function serviceSchema() {
  return v.strictObject(SERVICE_ENTRIES);
}

function trimSlashes(path: string): string {
  return path.replace(/^\/+|\/+$/g, "");
}
