/**
 * Options of a cluster: the processes, on one machine or many, that serve the same services together.
 *
 * ```yaml
 * cluster:
 *   nats: { servers: [nats-1:4222, nats-2:4222], credentials: ./millrace.creds, name: production }
 * ```
 *
 * @module
 */
import * as v from "valibot";

const text = () => v.pipe(v.string(), v.nonEmpty());

/** Names that stand in subjects and bucket names as they are. */
const NAME = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_-]{1,64}$/, "wanted 1 to 64 letters, digits, _ or -"),
);

const SERVER = v.pipe(
  v.string(),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed || isServer(dataset.value)) return;
    addIssue({
      message: 'wanted "host:port", "nats://host:port" or "tls://host:port"',
      // A password may stand in it, where none belongs.
      input: dataset.value.replace(/[^/]*@/, "...@"),
    });
  }),
);

type Given = Readonly<Record<string, unknown>>;

/** A check of several options. Its issue shows their names, since their values may be secret. */
function together<T extends object>(fits: (given: Given) => boolean, message: string) {
  return v.rawCheck<T>(({ dataset, addIssue }) => {
    if (!dataset.typed || fits(dataset.value as Given)) return;
    addIssue({ message, input: Object.keys(dataset.value) });
  });
}

/** How the NATS servers are reached. */
export const NATS_SCHEMA = v.pipe(
  v.strictObject({
    name: v.pipe(
      NAME,
      v.description("The cluster's name: all processes that give the same one work together."),
    ),
    servers: v.pipe(
      v.optional(
        v.union([
          v.pipe(v.array(SERVER), v.minLength(1)),
          v.pipe(SERVER, v.transform((server) => [server])),
        ], 'wanted a list of servers such as "host:4222"'),
        ["127.0.0.1:4222"],
      ),
      v.description('NATS servers, as "host:port" each; the first that answers is used.'),
    ),
    credentials: v.pipe(
      v.optional(text()),
      v.description("File with the credentials of a user (.creds)."),
    ),
    user: v.pipe(v.optional(text()), v.description("Name of a user; goes with `password`.")),
    password: v.pipe(v.optional(text()), v.description("The user's password.")),
    token: v.pipe(v.optional(text()), v.description("Token, where the servers want one.")),
    tls: v.pipe(
      v.optional(v.strictObject({
        ca: v.pipe(
          v.optional(text()),
          v.description("File with the certificates (PEM) that the servers' are checked against."),
        ),
        cert: v.pipe(
          v.optional(text()),
          v.description("File with a certificate (PEM) to show to the servers; goes with `key`."),
        ),
        key: v.pipe(v.optional(text()), v.description("File with the certificate's key (PEM).")),
      })),
      v.description(
        "Encrypts the connection; an empty map does so with the system's certificates.",
      ),
    ),
    replicas: v.pipe(
      v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(5))),
      v.description(
        "How many NATS servers keep the cluster's data. Default: 3 where the servers form a cluster " +
          "of three or more, else 1. Looked at when the data is made.",
      ),
    ),
  }),
  together(
    ({ user, password }) => (user === undefined) === (password === undefined),
    'wanted "user" and "password", or neither',
  ),
  together(
    ({ credentials, user, token }) =>
      [credentials, user, token].filter((each) => each !== undefined).length <= 1,
    'wanted one of "credentials", "user" and "token"',
  ),
  together(
    ({ tls }) => ((tls as Given)?.cert === undefined) === ((tls as Given)?.key === undefined),
    'wanted "tls.cert" and "tls.key", or neither',
  ),
);

/** The key `cluster` of a config. */
export const CLUSTER_SCHEMA = v.pipe(
  v.strictObject({
    nats: v.pipe(
      NATS_SCHEMA,
      v.description("The NATS servers over which the processes find each other."),
    ),
    peerName: v.pipe(
      v.optional(NAME),
      v.description(
        "This process's name, unique in the cluster. Default: the machine's name and a random part.",
      ),
    ),
    advertiseHost: v.pipe(
      v.optional(text()),
      v.description(
        "Host under which others reach this machine. Default: the host of each service; of one that " +
          "is bound to all addresses, the machine's first address that is not its loopback.",
      ),
    ),
    heartbeatMs: v.pipe(
      v.optional(v.pipe(v.number(), v.integer(), v.minValue(20), v.maxValue(60_000)), 1000),
      v.description("How often the process says that it is alive, in ms."),
    ),
    expiryMs: v.pipe(
      v.optional(v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(600_000))),
      v.description(
        "How long a process may be silent before it counts as gone, in ms; a lease lasts as long. " +
          "Default: five times `heartbeatMs`.",
      ),
    ),
  }),
  together(
    ({ heartbeatMs, expiryMs }) =>
      expiryMs === undefined || (expiryMs as number) >= 3 * (heartbeatMs as number),
    'wanted an "expiryMs" of three times "heartbeatMs" at least',
  ),
  v.description("The processes, on one machine or many, that serve together."),
);

/** Options of a cluster, checked; files by their absolute paths. Plain data. */
export type ClusterOptions = v.InferOutput<typeof CLUSTER_SCHEMA>;

/** How the NATS servers are reached. */
export type NatsOptions = ClusterOptions["nats"];

/** How long a process may be silent before it counts as gone, in ms. */
export function expiryOf({ heartbeatMs, expiryMs }: ClusterOptions): number {
  return expiryMs ?? 5 * heartbeatMs;
}

/** The options with each path of a file changed. */
export function mapFiles(options: ClusterOptions, map: (path: string) => string): ClusterOptions {
  const { credentials, tls } = options.nats;
  const files = tls &&
    Object.entries(tls).flatMap(([key, path]) => path === undefined ? [] : [[key, map(path)]]);
  return {
    ...options,
    nats: {
      ...options.nats,
      ...(credentials === undefined ? {} : { credentials: map(credentials) }),
      ...(files === undefined ? {} : { tls: Object.fromEntries(files) }),
    },
  };
}

function isServer(server: string): boolean {
  const url = /^(?:nats|tls):\/\//.test(server) ? server : `nats://${server}`;
  if (/[\s,]/.test(server) || !URL.canParse(url)) return false;
  const { hostname, pathname, search, username, protocol } = new URL(url);
  return hostname !== "" && (pathname === "" || pathname === "/") && search === "" &&
    username === "" && (protocol === "nats:" || protocol === "tls:");
}
