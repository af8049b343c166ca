/**
 * The workers of a query: started, watched, replaced when they die or fall silent, closed.
 *
 * @module
 */
import type { PluginLogger } from "../plugins/contract.ts";
import { type PartitionEvents, PartitionHost } from "./partition_host.ts";
import type { PartitionInit } from "./partition_protocol.ts";

/** What {@linkcode PartitionPool} needs of its owner. */
export interface PartitionPoolOptions {
  /** What the workers are to run; `partition` is set for each. */
  readonly init: PartitionInit;
  readonly logger: PluginLogger;
  /** What to do with what the worker of a partition says. */
  events(partition: number): Omit<PartitionEvents, "died">;
  /** More for a worker that is about to start. */
  prepare?(partition: number): Partial<PartitionInit>;
  /** A worker is gone or as good as gone; a new one is on its way. */
  lost(partition: number, why: string): void;
  /** The new worker is warm. */
  ready(partition: number): void;
  /** Why the partition's worker is to be replaced, at an inspection; undefined when it is not. */
  inspect(partition: number, now: number): string | undefined;
  /** No worker can be started any more: the query cannot go on. */
  fatal(error: Error): void;
}

interface Place {
  host: PartitionHost;
  ready: boolean;
  failedStarts: number;
  /** When the worker of the moment was started, by `performance.now()`. */
  began: number;
  /** Why the start of the worker was cut off, if it was. */
  late: string | undefined;
  /** Waits to start the next worker. */
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** A lane gives up after so many starts in a row that failed. */
const MAX_FAILED_STARTS = 5;
/** A replacement may take so many times longer to start than the first workers did. */
const START_PATIENCE = 10;

/** One worker a partition. */
export class PartitionPool {
  readonly #options: PartitionPoolOptions;
  readonly #places: Place[] = [];
  #stopped = false;
  /** How long the slowest of the first workers took to start, in ms. */
  #startMs = 0;
  #watch: ReturnType<typeof setInterval> | undefined;
  /** Workers replaced since the start. */
  restarts = 0;

  constructor(options: PartitionPoolOptions) {
    this.#options = options;
  }

  /**
   * Starts the workers; resolves when all are warm.
   *
   * With `oneByOne` each starts after the one before it is ready, so that it can be told where those
   * listen.
   */
  async start({ oneByOne = false }: { oneByOne?: boolean } = {}): Promise<void> {
    const { plan } = this.#options.init;
    const began = performance.now();
    for (let index = 0; index < plan.partitions; index++) {
      const host = this.#spawn(index);
      this.#places.push({
        host,
        ready: false,
        failedStarts: 0,
        began,
        late: undefined,
        timer: undefined,
      });
      if (oneByOne) await host.started;
    }
    await Promise.all(this.#places.map(({ host }) => host.started));
    if (this.#stopped) return;
    for (const place of this.#places) place.ready = true;
    this.#startMs = performance.now() - began;
    const period = Math.max(10, Math.min(1_000, plan.batching.batchTimeoutMs / 4));
    this.#watch = setInterval(() => this.#inspect(), period);
  }

  /** Number of partitions. */
  get size(): number {
    return this.#places.length;
  }

  /** Whether a partition has a live, warm worker. */
  isReady(partition: number): boolean {
    return this.#places[partition]!.ready;
  }

  /** The workers of the moment, by partition. */
  get hosts(): readonly PartitionHost[] {
    return this.#places.map(({ host }) => host);
  }

  /** The worker of the moment. */
  host(partition: number): PartitionHost {
    return this.#places[partition]!.host;
  }

  /**
   * Ends a partition's worker at once; it is replaced like one that died.
   * @throws {RangeError} when there is no such partition
   */
  replace(partition: number): void {
    const place = this.#places[partition];
    if (place === undefined) {
      throw new RangeError(
        `Cannot replace partition ${partition}: there are ${this.#places.length}, from 0`,
      );
    }
    if (place.ready) this.#lost(partition, "it was told to end");
  }

  /** Notes that the worker works, so that earlier failures to start do not count any more. */
  works(partition: number): void {
    this.#places[partition]!.failedStarts = 0;
  }

  /** Ends all workers, letting their plugins close for at most `timeoutMs`. Safe unstarted and twice. */
  async close(timeoutMs: number): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#watch);
    for (const { timer } of this.#places) clearTimeout(timer);
    await Promise.all(this.#places.map(({ host }) => host.close(timeoutMs)));
  }

  #spawn(partition: number): PartitionHost {
    const { init, logger, events, prepare } = this.#options;
    return new PartitionHost({ ...init, ...prepare?.(partition), partition }, {
      ...events(partition),
      died: (why) => {
        if (this.#places[partition]?.ready) this.#lost(partition, why);
      },
    }, logger);
  }

  #lost(partition: number, why: string): void {
    const place = this.#places[partition]!;
    place.ready = false;
    this.restarts++;
    this.#options.logger.warn(
      `Partition ${partition} lost its worker: ${why}; a new one takes its place`,
      { partition },
    );
    place.host.terminate();
    this.#options.lost(partition, why);
    this.#restart(partition);
  }

  #restart(partition: number): void {
    if (this.#stopped) return;
    const place = this.#places[partition]!;
    place.host = this.#spawn(partition);
    place.began = performance.now();
    place.late = undefined;
    place.host.started.then(() => {
      place.ready = true;
      this.#options.ready(partition);
    }, (error: Error) => {
      if (this.#stopped) return;
      place.failedStarts++;
      if (place.failedStarts >= MAX_FAILED_STARTS) {
        const text = `Cannot start partition ${partition}: ${place.failedStarts} tries failed`;
        const why = place.late ?? error.message;
        this.#options.fatal(new Error(`${text}, the last with: ${why}`));
        return;
      }
      place.timer = setTimeout(() => this.#restart(partition), 100 * 2 ** place.failedStarts);
    });
  }

  #inspect(): void {
    const now = performance.now();
    for (const [partition, place] of this.#places.entries()) {
      if (!place.ready) {
        this.#hasten(place, now);
        continue;
      }
      const why = this.#options.inspect(partition, now);
      if (why !== undefined) this.#lost(partition, why);
      else place.host.ping();
    }
  }

  /** Ends a replacement that does not get ready; the next one may. */
  #hasten(place: Place, now: number): void {
    const { batchTimeoutMs } = this.#options.init.plan.batching;
    const patience = Math.round(Math.max(batchTimeoutMs, START_PATIENCE * this.#startMs));
    if (place.late !== undefined || now - place.began < patience) return;
    place.late = `it was not ready within ${patience} ms`;
    place.host.terminate();
  }
}
