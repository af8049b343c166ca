/**
 * Runs a query in several processes: starts them, watches them, replaces those that die or hang, and
 * puts what they report together. No row comes through here.
 *
 * @module
 */
import { makeExchangeDir, removeExchangeDir } from "../engine/exchange_dir.ts";
import type { Execution } from "../engine/execution.ts";
import { enabledLevel, pluginLogger } from "../engine/logging.ts";
import type { Plan } from "../engine/plan.ts";
import type { BatchRecord } from "../engine/progress.ts";
import { checkTrigger } from "../engine/push_execution.ts";
import type { PluginLogger, ServiceInfo } from "../plugins/contract.ts";
import { type Clock, systemClock } from "./clock.ts";
import { PeerHost } from "./peer_host.ts";
import { type LaunchPeer, launchPeer } from "./peer_process.ts";

/** What a {@linkcode PeersExecution} is given by its query. */
export interface PeersExecutionHost {
  readonly plan: Plan;
  readonly logger: PluginLogger;
  /** Whether the plan moves rows between partitions. */
  readonly movesRows?: boolean;
  progress(record: BatchRecord): void;
  /** The query cannot go on. */
  fatal(error: Error): void;
  /** `services()` gives something else now. */
  servicesChanged?(): void;
}

/** How patient the supervisor is, in ms. */
export interface PeerTimings {
  /** Time between two pings. */
  readonly ping: number;
  /** A peer that has not said anything for so long hangs. */
  readonly silence: number;
  /** The same for one that has just been started, and has not said anything yet. */
  readonly boot: number;
  /** A replacement may take so long to get ready, or ten times as long as the first peers if that is more. */
  readonly start: number;
  /** The pause before a peer is started for the second time in a row; it doubles from time to time. */
  readonly backOff: number;
  /** The longest pause. */
  readonly maxBackOff: number;
  /** A peer that has been ready for so long ran well: its next start needs no pause. */
  readonly steady: number;
  /** What a drain may take on top of the longest wait of a request. */
  readonly drainGrace: number;
  /** How long plugins of a peer that is replaced may take to close. */
  readonly close: number;
  /** What a process may take to end after that, before it is killed. */
  readonly exit: number;
}

/** See {@linkcode PeerTimings}. */
export const PEER_TIMINGS: PeerTimings = Object.freeze({
  ping: 1_000,
  silence: 5_000,
  boot: 30_000,
  start: 60_000,
  backOff: 100,
  maxBackOff: 5_000,
  steady: 5_000,
  drainGrace: 5_000,
  close: 10_000,
  exit: 1_000,
});

/** What tests put in place of processes and time. */
export interface PeersExecutionParts {
  readonly launch: LaunchPeer;
  readonly clock: Clock;
  readonly timings: PeerTimings;
  /** The logger of a peer. */
  logger(peer: number): PluginLogger;
}

/** A peer: one process after another. */
interface Place {
  readonly peer: number;
  readonly logger: PluginLogger;
  /** The process that serves or is to; undefined during a pause before the next start. */
  current: PeerHost | undefined;
  /** All processes that live: during a restart there are two. */
  readonly hosts: Set<PeerHost>;
  /** Whether a process is being started to take the place of `current`. */
  isHandingOver: boolean;
  /** Starts in a row after which it did not get ready. */
  failedStarts: number;
  /** Ends in a row that came too early. */
  earlyEnds: number;
  /** Takes back the next start. */
  cancelStart: (() => void) | undefined;
  /** Settled when a process of the place gets ready, or when none ever will. */
  up: PromiseWithResolvers<void>;
  /** Where it listened when it was ready last. */
  lastServices: readonly ServiceInfo[];
  /** Batches done by processes that are gone, by partition. */
  readonly batchesBefore: number[];
}

/** A query gives up when a peer has failed to start so often in a row. */
const MAX_FAILED_STARTS = 5;
/** See `PeerTimings.start`. */
const START_PATIENCE = 10;
/** How long a request waits for its reply when the source does not say, in ms. */
const DEFAULT_REPLY_TIMEOUT_MS = 60_000;

/** The head's end of a query that runs in peers. */
export class PeersExecution implements Execution {
  /** A push source has no end. */
  readonly finished: Promise<void> = new Promise(() => {});
  readonly #host: PeersExecutionHost;
  readonly #parts: PeersExecutionParts;
  readonly #places: Place[];
  readonly #logLevel: string;
  #cancelWatch: (() => void) | undefined;
  #lastWatch = 0;
  /** How long the slowest of the first peers took to get ready, in ms. */
  #startMs = 0;
  #isServing = false;
  #isStopping = false;
  #closing: Promise<void> | undefined;
  #restarting: Promise<void> | undefined;
  /** Where the peers exchange rows, if they do. */
  #exchangeDir: string | undefined;
  #reports = 0;
  #restarts = 0;

  constructor(host: PeersExecutionHost, parts: Partial<PeersExecutionParts> = {}) {
    const { plan } = host;
    checkTrigger(plan);
    this.#host = host;
    this.#parts = {
      launch: launchPeer,
      clock: systemClock,
      timings: PEER_TIMINGS,
      logger: (peer) => peerLogger(plan.name, peer),
      ...parts,
    };
    this.#logLevel = enabledLevel(plan.name);
    this.#places = Array.from({ length: plan.peers! }, (_, peer) => ({
      peer,
      logger: this.#parts.logger(peer),
      current: undefined,
      hosts: new Set(),
      isHandingOver: false,
      failedStarts: 0,
      earlyEnds: 0,
      cancelStart: undefined,
      up: withResolvers(),
      lastServices: [],
      batchesBefore: Array(plan.partitions).fill(0),
    }));
  }

  /** The first peer comes first: it finds the port that the others share. */
  async start(): Promise<void> {
    const { clock } = this.#parts;
    const began = clock.now();
    if (this.#host.movesRows === true) {
      const dir = await makeExchangeDir();
      if (this.#isStopping) return await removeExchangeDir(dir);
      this.#exchangeDir = dir;
    }
    this.#watch();
    const [first, ...others] = this.#places;
    this.#begin(first!);
    await first!.up.promise;
    for (const place of others) if (!this.#isStopping) this.#begin(place);
    do await Promise.all(this.#places.map(({ up }) => up.promise)); while (
      !this.#isStopping && this.#places.some(({ current }) => current?.state !== "ready")
    );
    this.#startMs = clock.now() - began;
    this.#isServing = true;
  }

  processAllAvailable(): Promise<void> {
    return Promise.reject(
      new Error("Cannot wait for all available: the query's source lives in the peers"),
    );
  }

  async drain(): Promise<void> {
    this.#stopStarting();
    const hosts = this.#hosts();
    for (const host of hosts) host.drain(false);
    await Promise.all(hosts.map((host) => this.#drained(host)));
  }

  close(timeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  replacePartition(partition: number): void {
    const { partitions } = this.#host.plan;
    const place = this.#places[Math.floor(partition / partitions)];
    if (place === undefined || !Number.isInteger(partition) || partition < 0) {
      throw new RangeError(
        `Cannot replace partition ${partition}: there are ${
          this.#places.length * partitions
        }, from 0`,
      );
    }
    if (place.current?.state === "ready") place.current.replacePartition(partition % partitions);
  }

  partitionBatches(): readonly number[] {
    return this.#places.flatMap(({ batchesBefore, hosts }) =>
      batchesBefore.map((before, partition) => {
        let sum = before;
        for (const host of hosts) sum += host.partitionBatches[partition] ?? 0;
        return sum;
      })
    );
  }

  /** Peers that were replaced because they died or hung, and workers in them. */
  restarts(): number {
    return this.#hosts().reduce((sum, host) => sum + host.restarts, this.#restarts);
  }

  queueLength(): number {
    return this.#hosts().reduce((sum, host) => sum + host.queueLength, 0);
  }

  services(): readonly ServiceInfo[] {
    return this.#hosts().flatMap(({ services }) => services);
  }

  restart(): Promise<void> {
    this.#restarting ??= this.#restartAll().finally(() => this.#restarting = undefined);
    return this.#restarting;
  }

  /** Process ids of the peers that are ready, by peer; undefined for one that is not. */
  pids(): readonly (number | undefined)[] {
    return this.#places.map(({ current }) => current?.state === "ready" ? current.pid : undefined);
  }

  #hosts(): PeerHost[] {
    return this.#places.flatMap(({ hosts }) => [...hosts]);
  }

  /** Starts a process for a place. */
  #begin(place: Place): void {
    place.cancelStart = undefined;
    const host = this.#spawn(place);
    place.current = host;
    host.started.then(() => this.#ready(place, host), () => {});
  }

  #spawn(place: Place): PeerHost {
    const { plan, progress, fatal, servicesChanged } = this.#host;
    const { launch, clock } = this.#parts;
    const host: PeerHost = new PeerHost({
      init: {
        type: "init",
        plan,
        peer: place.peer,
        siblings: this.#siblings(),
        logLevel: this.#logLevel,
        ...(this.#exchangeDir === undefined ? {} : {
          exchange: {
            dir: this.#exchangeDir,
            peers: this.#places.length,
            partitions: plan.partitions,
          },
        }),
      },
      launch,
      clock,
      logger: place.logger,
      progress: (record) => progress({ ...record, batchId: this.#reports++ }),
      servicesChanged: () => {
        if (host.state === "ready" && host.services.length > 0) place.lastServices = host.services;
        if (this.#isServing) servicesChanged?.();
      },
      permanent: (error) => fatal(error),
      exited: (why) => this.#exited(place, host, why),
    });
    place.hosts.add(host);
    return host;
  }

  /** Where peers listen, or did: a peer that comes back alone shall find the same port. */
  #siblings(): ServiceInfo[] {
    return this.#places.flatMap(({ lastServices }) => lastServices);
  }

  #ready(place: Place, host: PeerHost): void {
    place.failedStarts = 0;
    place.logger.info(`Peer ${place.peer} is ready`, { pid: host.pid });
    place.up.resolve();
  }

  #exited(place: Place, host: PeerHost, why: string): void {
    place.hosts.delete(host);
    for (const [partition, batches] of host.partitionBatches.entries()) {
      place.batchesBefore[partition]! += batches;
    }
    this.#restarts += host.restarts;
    if (place.current !== host) return;
    place.current = undefined;
    if (this.#isStopping || place.isHandingOver) return;
    this.#lost(place, host, why);
  }

  /** The process of a place is gone, unasked. */
  #lost(place: Place, host: PeerHost, why: string): void {
    const { clock, timings } = this.#parts;
    const { peer } = place;
    this.#restarts++;
    const wasReady = host.readySince !== undefined;
    // What cannot start at first will hardly start later, and whoever has started it is waiting.
    const isHopeless = !this.#isServing && !wasReady && host.reported !== undefined;
    if (!wasReady) place.failedStarts++;
    if (isHopeless || place.failedStarts >= MAX_FAILED_STARTS) {
      const error = isHopeless ? host.reported! : new Error(
        `Cannot start peer ${peer}: ${place.failedStarts} tries failed, the last with: ${why}`,
      );
      place.up.reject(error);
      if (this.#isServing) this.#host.fatal(error);
      return;
    }
    if (wasReady) place.up = withResolvers();
    const isSteady = wasReady && clock.now() - host.readySince! >= timings.steady;
    place.earlyEnds = isSteady ? 0 : place.earlyEnds + 1;
    const pause = place.earlyEnds === 0
      ? 0
      : Math.min(timings.backOff * 2 ** (place.earlyEnds - 1), timings.maxBackOff);
    const what = wasReady ? "was lost" : "did not get ready";
    const when = pause === 0 ? "now" : `in ${pause} ms`;
    place.logger.warn(`Peer ${peer} ${what}: ${why}; it is started again ${when}`);
    if (pause === 0) this.#begin(place);
    else place.cancelStart = clock.after(pause, () => this.#begin(place));
  }

  async #restartAll(): Promise<void> {
    const { logger } = this.#host;
    logger.info("Restarting peer by peer");
    for (const place of this.#places) await this.#replace(place);
    logger.info("All peers are restarted");
  }

  /** Puts a new process in the place of one that serves. */
  async #replace(place: Place): Promise<void> {
    this.#checkServing();
    const old = place.current;
    if (old === undefined || old.state !== "ready") {
      // A new process is on its way anyway.
      await place.up.promise;
      return;
    }
    place.isHandingOver = true;
    try {
      // While the new one starts, the old one serves; but not where it would cost the port its number.
      if (this.#places.length === 1 || this.#isShared()) {
        const fresh = this.#spawn(place);
        try {
          await fresh.started;
        } catch (error) {
          place.isHandingOver = false;
          if (place.current === undefined && !this.#isStopping) {
            // It died while another was to take its place, and there is no other.
            place.up = withResolvers();
            this.#begin(place);
          }
          const why = (error as Error).message;
          throw new Error(`Cannot restart peer ${place.peer}: ${why}; it goes on as it was`);
        }
        place.current = fresh;
        place.isHandingOver = false;
        this.#ready(place, fresh);
        await this.#retire(old);
      } else {
        place.up = withResolvers();
        await this.#retire(old);
        this.#checkServing();
        place.isHandingOver = false;
        this.#begin(place);
        await place.up.promise;
      }
    } finally {
      place.isHandingOver = false;
    }
  }

  /** Lets a process answer what it has and send its callers elsewhere, then ends it. */
  async #retire(host: PeerHost): Promise<void> {
    host.drain(true);
    await this.#drained(host);
    await this.#end(host, this.#parts.timings.close);
  }

  #checkServing(): void {
    if (this.#isStopping) throw new Error("Cannot go on with the restart: the query is stopping");
  }

  /** Whether peers listen on one port. */
  #isShared(): boolean {
    const urls = this.#places.map(({ lastServices }) => lastServices[0]?.url);
    return new Set(urls).size < urls.length;
  }

  /** Resolves when a process is drained or gone, which it is made after a time. */
  async #drained(host: PeerHost): Promise<void> {
    const { replyTimeoutMs } = this.#host.plan.source.options as { replyTimeoutMs?: unknown };
    const longest = typeof replyTimeoutMs === "number" ? replyTimeoutMs : DEFAULT_REPLY_TIMEOUT_MS;
    const patience = longest + this.#parts.timings.drainGrace;
    const cancel = this.#parts.clock.after(
      patience,
      () => host.kill(`it was not drained within ${patience} ms`),
    );
    await host.drained;
    cancel();
  }

  /** Ends a process, by force when it does not do so itself. */
  async #end(host: PeerHost, timeoutMs: number): Promise<void> {
    const patience = timeoutMs + this.#parts.timings.exit;
    host.close(timeoutMs);
    const cancel = this.#parts.clock.after(
      patience,
      () => host.kill(`it did not end within ${patience} ms`),
    );
    await host.gone;
    cancel();
  }

  #stopStarting(): void {
    this.#isStopping = true;
    for (const place of this.#places) {
      place.cancelStart?.();
      place.cancelStart = undefined;
      place.up.reject(new Error("The query was stopped"));
    }
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#stopStarting();
    await Promise.all(this.#hosts().map((host) => this.#end(host, timeoutMs)));
    this.#cancelWatch?.();
    if (this.#exchangeDir !== undefined) await removeExchangeDir(this.#exchangeDir);
  }

  /** Asks all peers for a sign of life, again and again, and ends those that give none. */
  #watch(): void {
    const { clock, timings } = this.#parts;
    const now = clock.now();
    // Who has slept must not blame others for their silence.
    const wasAsleep = this.#lastWatch > 0 && now - this.#lastWatch > 2 * timings.ping;
    this.#lastWatch = now;
    for (const { hosts } of this.#places) {
      for (const host of hosts) {
        if (wasAsleep && host.lastHeard !== undefined) host.lastHeard = now;
        const why = this.#fault(host, now);
        if (why === undefined) host.ping();
        else host.kill(why);
      }
    }
    this.#cancelWatch = clock.after(timings.ping, () => this.#watch());
  }

  #fault(host: PeerHost, now: number): string | undefined {
    const { silence, boot, start } = this.#parts.timings;
    const patience = host.lastHeard === undefined ? boot : silence;
    if (now - (host.lastHeard ?? host.began) > patience) {
      return `it did not answer for ${patience} ms`;
    }
    if (!this.#isServing || host.state !== "starting") return undefined;
    const limit = Math.round(Math.max(start, START_PATIENCE * this.#startMs));
    return now - host.began > limit ? `it was not ready within ${limit} ms` : undefined;
  }
}

/** A promise whose rejection is no failure while nobody waits. */
function withResolvers(): PromiseWithResolvers<void> {
  const made = Promise.withResolvers<void>();
  made.promise.catch(() => {});
  return made;
}

/** A logger whose lines tell of which peer they are. */
function peerLogger(query: string, peer: number): PluginLogger {
  const logger = pluginLogger(query, `peer ${peer}`);
  const at =
    (level: keyof PluginLogger) => (message: string, properties: Record<string, unknown> = {}) =>
      logger[level](message, { peer, ...properties });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
