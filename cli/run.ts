/**
 * `millrace run FILE...`
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";
import { ConfigError, type LoadedConfig, loadPlans } from "../engine/config.ts";
import { configureLogging, type LogFormat } from "../engine/logging.ts";
import type { LogLevel } from "../engine/partition_protocol.ts";
import type { Plan } from "../engine/plan.ts";
import type { StreamingQuery } from "../engine/query.ts";
import { Session } from "../engine/session.ts";
import type { AdminServer } from "../cluster/admin.ts";
import type { ServiceInfo } from "../plugins/contract.ts";
import { BAD_USE, DONE, FAILED, type Io } from "./io.ts";
import { PluginVersions, watch } from "./watch.ts";

/** Options of the command. */
export interface RunOptions {
  readonly watch?: boolean;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
  /** In place of `peers` of all services. */
  readonly peers?: number;
  /** Where to tell what runs. Default: nowhere. */
  readonly adminPort?: number;
  /** Default: loopback. */
  readonly adminHost?: string;
}

/**
 * Starts the services of all files, when all files are good, and waits for their end.
 *
 * When one cannot start, the others are stopped. One that fails later leaves the others running; the
 * exit code tells at the end. With `watch` neither ends the command, only a signal does.
 *
 * @returns the exit code
 */
export async function run(
  files: readonly string[],
  options: RunOptions,
  io: Io,
  session: Session = new Session(),
): Promise<number> {
  configureLogging({
    level: options.logLevel ?? "info",
    ...(options.logFormat === undefined ? {} : { format: options.logFormat }),
    write: io.err,
  });
  const versions = new PluginVersions();
  const load = () =>
    loadPlans(files, {
      env: io.env,
      newRegistry: () => session.newRegistry(),
      mapPlugin: (specifier, baseUrl) => versions.current(specifier, baseUrl),
      ...(options.peers === undefined ? {} : { engine: { peers: options.peers } }),
    });
  let loaded: LoadedConfig[];
  try {
    loaded = await load();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    io.err(`${error.message}\n`);
    return BAD_USE;
  }
  let admin: AdminServer | undefined;
  if (options.adminPort !== undefined) {
    const { AdminServer } = await import("../cluster/admin.ts");
    const { adminHost: host = "127.0.0.1", adminPort: port } = options;
    admin = new AdminServer({ host, port, queries: () => services.queries });
    log().info(literal(`The admin listener is at ${admin.url}`));
  }
  const services = new Services(session, io);
  const ended = Promise.withResolvers<void>();
  const endWatch = new AbortController();
  let signals = 0;
  const removeHandler = io.onSignal(() => {
    signals++;
    const now = signals > 1;
    log().info(now ? "Stopping at once" : "Stopping; a second signal stops at once");
    endWatch.abort();
    services.stop(now).then(ended.resolve, ended.reject);
  });
  // Only where there are peers: who hangs up a terminal wants the rest to end with it.
  const removeHangUpHandler = plansOf(loaded).some(({ peers }) => peers !== undefined)
    ? io.onHangUp(() => void services.restart())
    : () => {};
  try {
    services.start(plansOf(loaded));
    if (options.watch === true) {
      try {
        await watch(files, versions, () => services.reload(load), endWatch.signal);
      } catch (error) {
        // A directory that has gone, say: no reason to stop what runs.
        log().error(literal(`Cannot watch the files any more: ${messageOf(error)}`));
      }
      await ended.promise;
    } else {
      if (!await services.allReady()) await services.stop(false);
      await services.allEnded();
    }
  } finally {
    removeHandler();
    removeHangUpHandler();
    await admin?.close();
  }
  return services.hasFailed ? FAILED : DONE;
}

/** The running services of the command, by name. */
class Services {
  readonly #session: Session;
  readonly #io: Io;
  readonly #running = new Map<string, { readonly plan: string; readonly query: StreamingQuery }>();
  #isStopping = false;
  #reloading: Promise<void> = Promise.resolve();

  constructor(session: Session, io: Io) {
    this.#session = session;
    this.#io = io;
  }

  /** Whether a service, as it was started last, has failed. */
  get hasFailed(): boolean {
    return [...this.#running.values()].some(({ query }) => query.exception !== undefined);
  }

  /** The queries, as they were started last. */
  get queries(): StreamingQuery[] {
    return [...this.#running.values()].map(({ query }) => query);
  }

  /** Restarts the peers of all services that have any, one peer of each at a time. */
  async restart(): Promise<void> {
    await Promise.all(this.queries.map(async (query) => {
      if (query.plan?.peers === undefined) return;
      try {
        await query.restart();
      } catch (error) {
        log().error(literal(messageOf(error)));
      }
    }));
  }

  start(plans: readonly Plan[]): void {
    for (const plan of plans) {
      const query = this.#session.start(plan);
      this.#running.set(plan.name, { plan: JSON.stringify(plan), query });
      // The query logs why it fails.
      query.ready.then(() => this.#announce(query), () => {});
      query.awaitTermination().catch(() => {});
    }
  }

  /** Resolves when all are ready, or one cannot start: whether they are. */
  async allReady(): Promise<boolean> {
    try {
      await Promise.all([...this.#running.values()].map(({ query }) => query.ready));
      return true;
    } catch {
      return false;
    }
  }

  async allEnded(): Promise<void> {
    const ends = [...this.#running.values()].map(({ query }) => query.awaitTermination());
    await Promise.allSettled(ends);
  }

  async stop(now: boolean): Promise<void> {
    this.#isStopping = true;
    await this.#session.stop({ now });
    await this.#reloading;
    await this.allEnded();
  }

  /** Puts the files' new plans into effect; one reload at a time. */
  reload(load: () => Promise<LoadedConfig[]>): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload(load)).catch((error) => {
      log().error(literal(`Cannot reload: ${messageOf(error)}`));
    });
    return this.#reloading;
  }

  async #reload(load: () => Promise<LoadedConfig[]>): Promise<void> {
    let plans: Plan[];
    try {
      plans = plansOf(await load());
    } catch (error) {
      log().error(literal(`Not reloaded, the services go on as they are:\n${messageOf(error)}`));
      return;
    }
    const wanted = new Map(plans.map((plan) => [plan.name, JSON.stringify(plan)]));
    const outdated = [...this.#running].filter(([name, { plan, query }]) =>
      wanted.get(name) !== plan || query.exception !== undefined
    );
    const names = outdated.map(([name]) => `"${name}"`).join(", ");
    if (outdated.length > 0) log().info(literal(`The config of ${names} has changed: stopping`));
    await Promise.all(outdated.map(([, { query }]) => query.stop()));
    for (const [name] of outdated) this.#running.delete(name);
    if (this.#isStopping) return;
    this.start(plans.filter(({ name }) => !this.#running.has(name)));
  }

  #announce(query: StreamingQuery): void {
    // Partitions that share a port are reached at one URL.
    const urls = new Set(query.services().map(({ url }) => url));
    for (const url of urls) this.#io.out(announcement(query.name, { url }));
  }
}

/** Where a service is, and a line to paste into a shell. */
export function announcement(name: string, { url }: Pick<ServiceInfo, "url">): string {
  const quoted = /^[\w:/.@%+,=-]+$/.test(url) ? url : `'${url.replaceAll("'", "'\\''")}'`;
  return `${name} is ready at ${url}\n  curl -d 'hello world' ${quoted}\n`;
}

function plansOf(loaded: readonly LoadedConfig[]): Plan[] {
  return loaded.flatMap(({ plans }) => plans);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A message whose braces are no placeholders. */
function literal(message: string): string {
  return message.replaceAll("{", "{{").replaceAll("}", "}}");
}

function log() {
  return getLogger("millrace");
}
