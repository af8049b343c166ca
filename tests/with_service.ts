/**
 * Whole pipelines for tests: a plan from a few words, run over real HTTP on a free port.
 *
 * @module
 */
import { makePlan } from "../engine/make_plan.ts";
import type { Plan, PluginUse } from "../engine/plan.ts";
import { type QueryHost, StreamingQuery } from "../engine/query.ts";
import { Replies } from "../engine/replies.ts";
import { builtins } from "../plugins/builtins.ts";
import type { Json } from "../plugins/contract.ts";
import { Registry } from "../plugins/registry.ts";

type Options = Record<string, Json>;

/** A service in few words; what is left out is that of a service that echoes bodies as text. */
export interface ServiceSetup {
  /** Default: `api`. */
  readonly name?: string;
  /** Options of the `http` source. Default: a free port of 127.0.0.1, the query's name as path. */
  readonly source?: Options;
  /** As configs have them: `{ <plugin>: <options> }`. */
  readonly transforms?: readonly Record<string, Json>[];
  /** Options of the `http` sink. Default: reply with `value`. */
  readonly sink?: Options;
  /** Another sink than `http`, as configs have it; `sink` does not count then. */
  readonly otherSink?: Record<string, Json>;
  readonly engine?: Options;
  readonly trigger?: Json;
  /** Names of files in `tests/plugins/`, without `.ts`. */
  readonly plugins?: readonly string[];
}

/** A running service. */
export interface Service {
  readonly query: StreamingQuery;
  readonly url: string;
  readonly port: number;
}

/** What several queries of one process share. */
export function newHost(): QueryHost {
  return {
    replies: new Replies(),
    events: { started: () => {}, progress: () => {}, terminated: () => {} },
    newRegistry: () => new Registry(builtins),
  };
}

/** The plan of a setup. */
export async function planOf(setup: ServiceSetup): Promise<Plan> {
  const {
    name = "api",
    source,
    transforms = [],
    sink,
    otherSink,
    engine = {},
    trigger,
    plugins = [],
  } = setup;
  return await makePlan({
    name,
    source: { name: "http", options: { host: "127.0.0.1", port: 0, ...source } },
    transforms: transforms.map(useOf),
    sink: otherSink === undefined
      ? { name: "http", options: { replyCol: "value", ...sink } }
      : useOf(otherSink),
    trigger,
    engine,
    plugins: plugins.map((each) => `./plugins/${each}.ts`),
    baseUrl: new URL(".", import.meta.url).href,
  }, new Registry(builtins));
}

function useOf(use: Record<string, Json>): PluginUse {
  const [name, options] = Object.entries(use)[0]!;
  return { name, options };
}

/** Starts a service; the caller stops its query. */
export async function startService(
  setup: ServiceSetup,
  host: QueryHost = newHost(),
): Promise<Service> {
  const query = new StreamingQuery(setup.name ?? "api", await planOf(setup), host);
  await query.ready;
  const { url, port } = query.services()[0]!;
  return { query, url, port };
}

/** Runs a test against a service, and stops it at once afterwards. */
export async function withService(
  setup: ServiceSetup,
  test: (service: Service) => Promise<void>,
  host?: QueryHost,
): Promise<void> {
  const service = await startService(setup, host);
  try {
    await test(service);
  } finally {
    await service.query.stop({ now: true });
  }
}

/** Posts a body: status, content type and text of the answer. */
export async function post(
  url: string,
  body: BodyInit,
  headers: Record<string, string> = {},
): Promise<{ status: number; type: string | null; text: string; headers: Headers }> {
  const response = await fetch(url, { method: "POST", body, headers });
  const text = await response.text();
  const { status } = response;
  return { status, type: response.headers.get("content-type"), text, headers: response.headers };
}
