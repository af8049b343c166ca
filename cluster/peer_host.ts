/**
 * The supervisor's handle of one process that runs as a peer.
 *
 * @module
 */
import { revive } from "../engine/error_message.ts";
import type { BatchRecord } from "../engine/progress.ts";
import type { PluginLogger, ServiceInfo } from "../plugins/contract.ts";
import type { Clock } from "./clock.ts";
import type { LaunchPeer, PeerProcess } from "./peer_process.ts";
import type { FromPeer, PeerInit } from "./peer_protocol.ts";

/** What {@linkcode PeerHost} needs of its owner. */
export interface PeerHostOptions {
  readonly init: PeerInit;
  readonly launch: LaunchPeer;
  readonly clock: Clock;
  /** Where log lines of the peer go, and what plugins print there. */
  readonly logger: PluginLogger;
  progress(record: BatchRecord): void;
  /** `services` is something else now. */
  servicesChanged(): void;
  /** It will never work: the query cannot go on. */
  permanent(error: Error): void;
  /** The process is gone. Told once, after `started` and `gone` are settled. */
  exited(why: string): void;
}

/** A process from its start to its end; a replacement is another object. */
export class PeerHost {
  readonly peer: number;
  readonly #options: PeerHostOptions;
  readonly #process: PeerProcess;
  readonly #started = Promise.withResolvers<void>();
  readonly #drained = Promise.withResolvers<void>();
  readonly #gone = Promise.withResolvers<void>();
  #state: "starting" | "ready" | "stopping" | "gone" = "starting";
  #services: readonly ServiceInfo[] = [];
  #killedFor: string | undefined;
  /** Why the peer ended itself, as it has said. */
  reported: Error | undefined;
  /** When it said anything last, by the clock; undefined while it has not. */
  lastHeard: number | undefined;
  /** When it was started, by the clock. */
  readonly began: number;
  /** When it got ready, by the clock. */
  readySince: number | undefined;
  /** Batches done by each of its partitions. */
  partitionBatches: readonly number[] = [];
  /** Workers that it has replaced. */
  restarts = 0;
  /** Rows that wait there. */
  queueLength = 0;

  constructor(options: PeerHostOptions) {
    const { init, launch, clock, logger } = options;
    this.#options = options;
    this.peer = init.peer;
    this.began = clock.now();
    this.#started.promise.catch(() => {});
    this.#process = launch({
      message: (message) => this.#receive(message),
      // A console of its own it has not: what is said to nobody is said to the log.
      text: (stream, line) =>
        stream === "stderr" ? logger.warn(line, { stream }) : logger.info(line, { stream }),
      exited: (why) => this.#exited(this.#killedFor ?? why),
    });
    this.#process.send(init);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Resolves when its partitions serve; rejects when it ends before. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  /** Resolves when it is drained or gone. */
  get drained(): Promise<void> {
    return this.#drained.promise;
  }

  /** Resolves when the process is gone. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  get state(): "starting" | "ready" | "stopping" | "gone" {
    return this.#state;
  }

  /** Its listeners: none before it is ready, none when it is gone. */
  get services(): readonly ServiceInfo[] {
    if (this.#state === "ready") return this.#services;
    if (this.#state !== "stopping") return [];
    return this.#services.map((service) => ({ ...service, state: "stopping" }));
  }

  ping(): void {
    this.#process.send({ type: "ping" });
  }

  replacePartition(partition: number): void {
    this.#process.send({ type: "replace_partition", partition });
  }

  /** Asks it to take in no more; one that is not ready is ended. See `drained`. */
  drain(handOver: boolean): void {
    if (this.#state === "starting") return this.kill("it was told to stop before it was ready");
    if (this.#state !== "ready") return;
    this.#state = "stopping";
    this.#options.servicesChanged();
    this.#process.send({ type: "drain", handOver });
  }

  /** Asks it to end, letting plugins close for so many ms. See `gone`. */
  close(timeoutMs: number): void {
    if (this.#state !== "gone") this.#state = "stopping";
    this.#process.send({ type: "close", timeoutMs });
  }

  /** Ends the process at once. */
  kill(why: string): void {
    if (this.#state === "gone") return;
    this.#killedFor ??= why;
    this.#process.kill();
  }

  #receive(message: FromPeer): void {
    const { clock, logger, progress, servicesChanged, permanent } = this.#options;
    this.lastHeard = clock.now();
    switch (message.type) {
      case "ready":
        if (this.#state !== "starting") return;
        this.#state = "ready";
        this.#services = message.services;
        this.readySince = this.lastHeard;
        this.#started.resolve();
        return servicesChanged();
      case "services":
        this.#services = message.services;
        if (this.#state === "ready") servicesChanged();
        return;
      case "report":
        this.partitionBatches = message.partitionBatches;
        return progress(message.record);
      case "log":
        return logger[message.level](message.message, message.properties);
      case "pong":
        this.restarts = message.restarts;
        this.queueLength = message.queueLength;
        return;
      case "drained":
        return this.#drained.resolve();
      case "init_failed":
      case "fatal":
        this.reported = revive(message.error);
        if (this.reported.name === "Permanent") permanent(this.reported);
    }
  }

  #exited(why: string): void {
    const wasListed = this.services.length > 0;
    this.#state = "gone";
    this.queueLength = 0;
    const error = this.reported ?? new Error(`The peer ended before it was ready: ${why}`);
    this.#started.reject(error);
    this.#drained.resolve();
    this.#gone.resolve();
    this.#options.exited(this.reported?.message ?? why);
    if (wasListed) this.#options.servicesChanged();
  }
}
