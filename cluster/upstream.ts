/**
 * A backend of the balancer: its connections, its health, its counts.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";
import { PlanError } from "../plugins/errors.ts";
import type { BalancerOptions } from "./balancer_options.ts";
import { latin1Bytes } from "./reply_head.ts";
import { type Address, UpstreamConnection, UpstreamError } from "./upstream_connection.ts";

/** A listener to send requests to. */
export interface Backend {
  /** `http://HOST:PORT/PATH` of its service. */
  readonly url: string;
  /** `peer/partition`. */
  readonly key: string;
}

/**
 * `up`: it is sent requests. `draining`: it has said that it takes no more. `down`: a connection to it
 * failed. `unresponsive`: it takes connections and does not answer in time; it is used when none is up,
 * since it may be at work on a long batch. The last three are left at the next good answer to a probe.
 */
export type BackendState = "up" | "draining" | "down" | "unresponsive";

/** What a backend has done so far. */
export interface BackendStats {
  readonly url: string;
  readonly keys: readonly string[];
  readonly state: BackendState;
  readonly inFlight: number;
  /** Requests that were sent to it, each attempt counted. */
  readonly total: number;
  /** Attempts that got no whole reply. */
  readonly failures: number;
}

/** How long, in ms, the first pause before a backend that is down is asked again is. They double. */
const FIRST_PAUSE_MS = 20;
/** How many probes in a row may go without an answer. */
const MAX_SILENT_PROBES = 3;
/** How long, in ms, a connection is kept that nobody uses. */
const IDLE_MS = 60_000;

/** The running end of a backend. */
export class Upstream {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly #address: Address;
  readonly #options: BalancerOptions;
  readonly #onChange: () => void;
  #backends: readonly Backend[] = [];
  #kept: UpstreamConnection[] = [];
  #state: BackendState = "up";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #probe: UpstreamConnection | undefined;
  #isProbing = false;
  #silentProbes = 0;
  #pauseMs: number;
  #closed = false;

  #inFlight = 0;
  readonly #whenIdle: (() => void)[] = [];

  total = 0;
  failures = 0;

  /** @param onChange called when it may take requests that it could not take before */
  constructor(origin: string, options: BalancerOptions, onChange: () => void) {
    this.origin = origin;
    this.#address = addressOf(new URL(origin));
    this.#options = options;
    this.#onChange = onChange;
    this.#pauseMs = options.healthIntervalMs;
    this.#schedule();
  }

  /** Requests that it has and has not answered whole. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Counts a request that it is given. */
  enter(): void {
    this.#inFlight++;
  }

  /** Counts one off. */
  leave(): void {
    if (--this.#inFlight === 0) { for (const resolve of this.#whenIdle.splice(0)) resolve(); }
  }

  /** Resolves when it has no requests. */
  async idle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  get state(): BackendState {
    return this.#state;
  }

  set backends(backends: readonly Backend[]) {
    this.#backends = backends;
  }

  /** A connection for one request. @throws {UpstreamError} */
  async connection(): Promise<UpstreamConnection> {
    return this.#kept.pop() ??
      await UpstreamConnection.connect(this.#address, this.#options.connectTimeoutMs);
  }

  /** Takes a connection back whose reply is over and which can be used again. */
  keep(connection: UpstreamConnection): void {
    if (this.#closed || this.#state === "draining") return connection.close();
    this.#kept.push(connection);
    connection.park(() => {
      const at = this.#kept.indexOf(connection);
      if (at >= 0) this.#kept.splice(at, 1);
    });
  }

  /** Notes that a connection failed: it is down until it has answered a probe, which is sent at once. */
  markDown(): void {
    this.#enter("down", false);
  }

  /** Notes that it takes no more requests. */
  markDraining(): void {
    this.#enter("draining", false);
  }

  /** Closes connections that have been idle for long. */
  sweep(now: number): void {
    // The one that was used last is used next, so the oldest are in front.
    while (this.#kept.length > 0 && now - this.#kept[0]!.lastProgress > IDLE_MS) {
      this.#kept.shift()!.close();
    }
  }

  stats(): BackendStats {
    return {
      url: this.#backends[0]?.url ?? this.origin,
      keys: this.#backends.map(({ key }) => key),
      state: this.#state,
      inFlight: this.#inFlight,
      total: this.total,
      failures: this.failures,
    };
  }

  /** Ends probes and closes idle connections; requests that are under way go on. Safe twice. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#probe?.close();
    this.#closeKept();
  }

  #closeKept(): void {
    for (const connection of this.#kept.splice(0)) connection.close();
  }

  /** @param sure whether the state was seen by a probe; else one is sent at once */
  #enter(state: BackendState, sure: boolean): void {
    if (this.#closed || this.#state === state) return;
    const wasUp = this.#state === "up";
    this.#state = state;
    const { url, keys } = this.stats();
    const log = getLogger(["millrace", "balancer"]);
    const message = "Backend {keys} at {url} is {state}";
    const properties = { keys: keys.join(", "), url, state };
    if (state === "up" || state === "draining") log.info(message, properties);
    else log.warn(message, properties);
    if (state === "up") this.#pauseMs = this.#options.healthIntervalMs;
    else {
      this.#closeKept();
      if (wasUp) this.#pauseMs = FIRST_PAUSE_MS;
    }
    if (state === "up" || state === "unresponsive") this.#onChange();
    if (sure || !wasUp || this.#isProbing) return;
    clearTimeout(this.#timer);
    this.#check();
  }

  #schedule(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#check(), this.#pauseMs);
    this.#pauseMs = this.#state === "up"
      ? this.#options.healthIntervalMs
      : Math.min(this.#pauseMs * 2, this.#options.healthIntervalMs);
  }

  async #check(): Promise<void> {
    this.#isProbing = true;
    const before = this.#state;
    const found = await this.#ask();
    this.#isProbing = false;
    if (this.#closed) return;
    this.#silentProbes = found === "unresponsive" ? this.#silentProbes + 1 : 0;
    if (found === "up") {
      // A probe that began before the backend was lost tells nothing about it now.
      if (this.#state === before) this.#enter("up", true);
    } else if (found !== "unresponsive") this.#enter(found, true);
    else if (this.#state !== "up" || this.#silentProbes >= MAX_SILENT_PROBES) {
      this.#enter("unresponsive", true);
    }
    this.#schedule();
  }

  async #ask(): Promise<BackendState> {
    const { healthTimeoutMs } = this.#options;
    let connection: UpstreamConnection;
    try {
      connection = this.#probe = await UpstreamConnection.connect(this.#address, healthTimeoutMs);
    } catch {
      return "down";
    }
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      connection.close();
    }, healthTimeoutMs);
    try {
      if (this.#closed || !this.#backends.some(isReadyAsked)) return "up";
      const head = latin1Bytes(
        `GET /readyz HTTP/1.1\r\nhost: ${this.origin.slice(7)}\r\nconnection: close\r\n\r\n`,
      );
      const { status, body } = await connection.exchange("GET", head, undefined, () => {});
      if (body instanceof ReadableStream) await body.cancel();
      return status === 503 ? "draining" : "up";
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      return isLate ? "unresponsive" : "down";
    } finally {
      clearTimeout(timer);
      connection.close();
      this.#probe = undefined;
    }
  }
}

/** The origin of a backend's URL. @throws {PlanError} when it is none that can be sent to */
export function originOf({ url, key }: Backend): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol !== "http:") {
    throw new PlanError(
      `Cannot balance over backend "${key}" at "${url}": wanted a URL such as http://HOST:PORT/PATH`,
    );
  }
  return parsed.origin;
}

/** Whether a service answers at a path, so that nothing else can. */
export function answersAt({ url }: Backend, path: string): boolean {
  const own = new URL(url).pathname.replace(/\/+$/, "");
  return path === own || path.startsWith(`${own}/`);
}

function isReadyAsked(backend: Backend): boolean {
  return !answersAt(backend, "/readyz");
}

/** Names that are bound in another way than they are resolved, as the listener has it. */
function addressOf({ hostname, port }: URL): Address {
  const bare = hostname.replace(/^\[|\]$/g, "");
  const local = bare === "localhost" || bare === "0.0.0.0"
    ? "127.0.0.1"
    : bare === "::"
    ? "::1"
    : bare;
  return { hostname: local, port: port === "" ? 80 : Number(port) };
}
