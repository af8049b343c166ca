/**
 * `millrace balancer nginx|haproxy|envoy CONFIG`
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import {
  type BalancedBackend,
  type BalancedService,
  type BalancerAddress,
  balancerConfig,
  type BalancerProgram,
} from "../cluster/balancer_config.ts";
import { loadPlans } from "../engine/config.ts";
import { serviceAddress, type ServiceOptions } from "../engine/http/service_options.ts";
import type { Plan } from "../engine/plan.ts";
import { session } from "../engine/session.ts";
import type { ServiceInfo } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import type { Registry } from "../plugins/registry.ts";
import { DONE, type Io } from "./io.ts";

/** Options of the command. */
export interface BalancerCommandOptions {
  /** `HOST:PORT` that the balancer is to bind. */
  readonly listen: string;
  /** URL of the admin listener of the running services; absent: the config tells all. */
  readonly admin?: string;
  /** File to write; absent: stdout. */
  readonly output?: string;
  /** Whether to go on, and write the file whenever the listeners change. */
  readonly watch?: boolean;
  /** Shell command to run after each time the file has been written. */
  readonly reload?: string;
}

/** How often the admin listener is asked, in ms. */
const WATCH_MS = 1_000;
/** How long it may take to answer, in ms. */
const ADMIN_MS = 5_000;

type Listed = ServiceInfo & { readonly query: string };

/** A service of the config, without its listeners. */
interface Service extends Omit<BalancedService, "backends"> {
  readonly host: string;
  readonly port: number;
  /** How many listeners have ports of their own, from `port` up. */
  readonly listeners: number;
}

/**
 * Prints the config of a balancer for the services of a config.
 * @returns the exit code
 * @throws {ConfigError} @throws {PlanError}
 */
export async function balancer(
  program: BalancerProgram,
  file: string,
  options: BalancerCommandOptions,
  io: Io,
  watchMs: number = WATCH_MS,
): Promise<number> {
  const listen = parseListen(options.listen);
  const { admin, output, watch = false, reload } = options;
  if (watch && (admin === undefined || output === undefined)) {
    throw new PlanError("Cannot watch: --watch wants --admin URL and --output FILE");
  }
  if (reload !== undefined && output === undefined) {
    throw new PlanError("Cannot reload: --reload wants --output FILE");
  }
  const loaded = await loadPlans([file], {
    env: io.env,
    newRegistry: () => session.newRegistry(),
  });
  const plans = loaded.flatMap(({ plans }) => plans);
  const services = await servicesOf(plans, session.newRegistry());
  if (services.length === 0) {
    throw new PlanError(`Cannot balance the services of "${file}": none has an HTTP source`);
  }
  const text = async () =>
    balancerConfig(
      program,
      admin === undefined
        ? services.map((service) => ({ ...service, backends: plannedBackends(service) }))
        : liveServices(services, await list(admin), new URL(admin).hostname),
      listen,
    );
  const first = await text();
  if (output === undefined) {
    io.out(first);
    return DONE;
  }
  await put(output, first, reload, io);
  if (watch) await follow(text, first, (next) => put(output, next, reload, io), watchMs, io);
  return DONE;
}

/** Calls `put` with each text that differs from the one before, until a signal comes. */
async function follow(
  text: () => Promise<string>,
  first: string,
  put: (text: string) => Promise<void>,
  watchMs: number,
  io: Io,
): Promise<void> {
  const ended = Promise.withResolvers<void>();
  let isEnded = false;
  const removeHandler = io.onSignal(() => {
    isEnded = true;
    ended.resolve();
  });
  let last = first;
  let trouble: string | undefined;
  while (!isEnded) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const pause = new Promise<void>((resolve) => timer = setTimeout(resolve, watchMs));
    await Promise.race([pause, ended.promise]);
    clearTimeout(timer);
    if (isEnded) break;
    try {
      const next = await text();
      trouble = undefined;
      if (next === last) continue;
      await put(next);
      last = next;
    } catch (error) {
      // The balancer goes on with what it has; its own checks tell it who is there.
      const message = error instanceof Error ? error.message : String(error);
      if (message !== trouble) io.err(`error: ${message}\n`);
      trouble = message;
    }
  }
  removeHandler();
}

/** Puts a file in the place of the old one, at once and whole. */
async function put(file: string, text: string, reload: string | undefined, io: Io): Promise<void> {
  const fresh = join(dirname(file), `.${basename(file)}.${Deno.pid}`);
  try {
    await Deno.writeTextFile(fresh, text);
    await Deno.rename(fresh, file);
  } catch (error) {
    await Deno.remove(fresh).catch(() => {});
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot write "${file}": ${why}`, { cause: error });
  }
  if (reload === undefined) return;
  const { success, code, stderr } = await new Deno.Command("sh", {
    args: ["-c", reload],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (success) return;
  const said = new TextDecoder().decode(stderr).trim();
  io.err(`error: The reload command \`${reload}\` ended with code ${code}: ${said}\n`);
}

/** The HTTP services of plans. */
async function servicesOf(plans: readonly Plan[], registry: Registry): Promise<Service[]> {
  const services: Service[] = [];
  for (const plan of plans) {
    if (plan.source.name !== "http" && plan.source.name !== "distributed_http") continue;
    const plugin = await registry.resolve("source", plan.source.name);
    const source = registry.checkOptions(plugin, plan.source.options) as ServiceOptions & {
      readonly host: string;
      readonly port: number;
      readonly shared?: boolean;
    };
    const hasOwnPorts = source.shared === false;
    services.push({
      name: plan.name,
      path: serviceAddress(source, plan.name).path,
      maxBodyBytes: source.maxBodyBytes,
      replyTimeoutMs: source.replyTimeoutMs,
      host: source.host,
      port: source.port,
      listeners: hasOwnPorts ? plan.partitions * (plan.peers ?? 1) : 1,
    });
  }
  return services;
}

/** Where a service's listeners are when the ports that they ask for are free. */
function plannedBackends({ name, host, port, listeners }: Service): BalancedBackend[] {
  if (port === 0) {
    throw new PlanError(
      `Cannot tell where "${name}" listens: port 0 takes any free one; name the admin listener of the ` +
        "running service with --admin URL",
    );
  }
  return Array.from({ length: listeners }, (_, at) => ({
    host: reachable(host, "127.0.0.1"),
    port: port + at,
    key: `listener ${at}`,
  }));
}

/** The services with the listeners that take requests at the moment. */
function liveServices(
  services: readonly Service[],
  listed: readonly Listed[],
  machine: string,
): BalancedService[] {
  return services.map((service) => {
    // The built-in balancer has no peer; this one takes its place.
    const own = listed.filter(({ query, state, peer }) =>
      query === service.name && state === "ready" && peer >= 0
    );
    const backends = new Map<string, BalancedBackend>();
    for (const { host, port, peer, partition } of own) {
      const at = reachable(host, machine);
      // Listeners that share a port are one.
      if (backends.has(`${at}:${port}`)) continue;
      backends.set(`${at}:${port}`, { host: at, port, key: `${peer}/${partition}` });
    }
    const { path = service.path } = own[0] ?? {};
    // In the order of the ports, so that a restart alone changes nothing.
    const inOrder = [...backends.values()].sort((a, b) => a.port - b.port);
    return { ...service, path, backends: inOrder };
  });
}

async function list(admin: string): Promise<readonly Listed[]> {
  try {
    const url = new URL("services", admin.endsWith("/") ? admin : `${admin}/`);
    const response = await fetch(url, { signal: AbortSignal.timeout(ADMIN_MS) });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`it answered with status ${response.status}`);
    }
    const { services } = await response.json();
    if (!Array.isArray(services)) throw new Error("its answer has no services");
    return services;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `Cannot ask "${admin}": ${why}; start \`millrace run --admin-port\` or change --admin`,
      { cause: error },
    );
  }
}

function parseListen(text: string): BalancerAddress {
  const match = /^(?:\[([\da-f:.]+)\]|([\w.-]+)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3] ?? 0);
  if (match === null || port < 1 || port > 65_535) {
    throw new PlanError(`Cannot listen at "${text}": wanted HOST:PORT, such as 0.0.0.0:8080`);
  }
  return { host: (match[1] ?? match[2])!, port };
}

/** An address that a balancer can connect to. */
function reachable(host: string, machine: string): string {
  if (host === "0.0.0.0" || host === "::") return machine.replace(/^\[|\]$/g, "");
  return host === "localhost" ? "127.0.0.1" : host;
}
