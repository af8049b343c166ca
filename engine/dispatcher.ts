/**
 * Work for the partitions: an idle one takes what waits; one that dies or hangs is replaced, and its
 * work is done again, split when it kills twice.
 *
 * @module
 */
import type { PluginLogger, Reply } from "../plugins/contract.ts";
import type { Batch } from "./batch.ts";
import { PartitionHost } from "./partition_host.ts";
import type { PartitionInit, PartitionResult } from "./partition_protocol.ts";

/** A batch on its way through a partition. Exactly one of `done` and `failed` is called. */
export interface Work {
  readonly batch: Batch;
  /** How many workers died while they had it. */
  kills: number;
  done(batch: Batch, result: PartitionResult, partition: number): void;
  failed(error: Error): void;
  /** Two halves that take its place; undefined when it cannot be split. */
  split(): readonly [Work, Work] | undefined;
}

/** What {@linkcode Dispatcher} needs. */
export interface DispatcherOptions {
  /** What the workers are to run; `partition` is set for each. */
  readonly init: PartitionInit;
  readonly logger: PluginLogger;
  /** Gives the next work, or undefined when there is none now. */
  next(): Work | undefined;
  /** Rows that wait to become work. */
  waiting(): number;
  reply(id: string, reply: Reply): void;
  /** No worker can be started any more: the query cannot go on. */
  fatal(error: Error): void;
}

/** A partition's place: its worker of the moment, and the work in it, oldest first. */
interface Lane {
  readonly index: number;
  host: PartitionHost;
  ready: boolean;
  readonly inFlight: { readonly seq: number; readonly work: Work }[];
  /** When the oldest work in flight began, by `performance.now()`. */
  since: number;
  /** Smoothed ms a batch takes. */
  pace: number;
  failedStarts: number;
}

/** A worker that has not answered a ping for so long, with nothing to do, is dead. */
const SILENCE_MS = 5_000;
/** A lane gives up after so many starts in a row that failed. */
const MAX_FAILED_STARTS = 5;
/** Work that has killed this often and cannot be split fails. */
const MAX_KILLS = 2;
/** A partition whose batches take less than this many ms is given the next one ahead of time. */
const PIPELINED_PACE_MS = 1;

/** Spreads work over the partitions of a query. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #lanes: Lane[] = [];
  /** Work that goes first: it was in a worker that died. */
  readonly #again: Work[] = [];
  #seq = 0;
  #stopped = false;
  #watch: ReturnType<typeof setInterval> | undefined;
  /** Workers replaced since the start. */
  restarts = 0;
  /** Batches done by each partition. */
  readonly batches: number[] = [];

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Starts the workers; resolves when all are warm. */
  async start(): Promise<void> {
    const { plan } = this.#options.init;
    for (let index = 0; index < plan.partitions; index++) {
      this.batches.push(0);
      const lane: Lane = {
        index,
        host: undefined as unknown as PartitionHost,
        ready: false,
        inFlight: [],
        since: 0,
        pace: PIPELINED_PACE_MS,
        failedStarts: 0,
      };
      lane.host = this.#spawn(lane);
      this.#lanes.push(lane);
    }
    await Promise.all(this.#lanes.map((lane) => lane.host.started));
    for (const lane of this.#lanes) lane.ready = true;
    const period = Math.max(10, Math.min(1_000, plan.batching.batchTimeoutMs / 4));
    this.#watch = setInterval(() => this.#inspect(), period);
    this.wake();
  }

  /** Work in partitions, and work that waits to be done again. */
  get pending(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.inFlight.length, this.#again.length);
  }

  /** Partitions with a live worker. */
  get live(): number {
    return this.#lanes.filter((lane) => lane.ready).length;
  }

  /** Gives what waits to partitions that have room. Cheap when none has. */
  wake(): void {
    for (;;) {
      const lane = this.#room();
      if (lane === undefined) return;
      const work = this.#again.shift() ?? this.#options.next();
      if (work === undefined) return;
      this.#send(lane, work);
    }
  }

  /** Ends a partition's worker at once; it is replaced like one that died. */
  replace(partition: number): void {
    const lane = this.#lanes[partition];
    if (lane === undefined) {
      throw new RangeError(
        `Cannot replace partition ${partition}: there are ${this.#lanes.length}, from 0`,
      );
    }
    if (lane.ready) this.#lost(lane, "it was told to end");
  }

  /** Ends all workers, letting their plugins close for at most `timeoutMs`. Safe unstarted and twice. */
  async close(timeoutMs: number): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#watch);
    await Promise.all(this.#lanes.map((lane) => lane.host.close(timeoutMs)));
    const error = new Error("The query was stopped");
    for (const lane of this.#lanes) {
      for (const { work } of lane.inFlight.splice(0)) work.failed(error);
    }
    for (const work of this.#again.splice(0)) work.failed(error);
  }

  /** A lane that can take work now: an idle one, or a fast one with a single batch. */
  #room(): Lane | undefined {
    let second: Lane | undefined;
    for (const lane of this.#lanes) {
      if (!lane.ready) continue;
      const { length } = lane.inFlight;
      if (length === 0) return lane;
      // Suspects travel alone, so that only they are blamed.
      if (length === 1 && lane.pace < PIPELINED_PACE_MS && lane.inFlight[0]!.work.kills === 0) {
        second ??= lane;
      }
    }
    if (second === undefined) return undefined;
    // Ahead of time only what is worth a message: small batches had better grow while they wait.
    const { numRows } = second.inFlight[0]!.work.batch;
    return this.#again.length === 0 && this.#options.waiting() >= Math.max(8, numRows)
      ? second
      : undefined;
  }

  #send(lane: Lane, work: Work): void {
    const seq = this.#seq++;
    if (lane.inFlight.length === 0) lane.since = performance.now();
    lane.inFlight.push({ seq, work });
    try {
      lane.host.send(seq, work.batch);
    } catch (error) {
      // A source put something into a column that cannot leave the thread.
      this.#take(lane, seq)?.failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #take(lane: Lane, seq: number): Work | undefined {
    const at = lane.inFlight.findIndex((entry) => entry.seq === seq);
    if (at < 0) return undefined;
    const now = performance.now();
    lane.pace += (now - lane.since - lane.pace) / 8;
    lane.since = now;
    return lane.inFlight.splice(at, 1)[0]!.work;
  }

  #spawn(lane: Lane): PartitionHost {
    const { init, logger, reply } = this.#options;
    const host = new PartitionHost({ ...init, partition: lane.index }, {
      result: (message, batch) => {
        const work = this.#take(lane, message.seq);
        lane.failedStarts = 0;
        this.batches[lane.index]!++;
        // The worker's next batch goes out before this one's replies do.
        this.wake();
        work?.done(batch, message, lane.index);
        this.wake();
      },
      failed: (seq, error) => {
        this.#take(lane, seq)?.failed(error);
        this.wake();
      },
      replies: ({ replies }) => {
        for (const [id, answer] of replies) reply(id, answer);
      },
      died: (why) => {
        if (lane.ready) this.#lost(lane, why);
      },
    }, logger);
    return host;
  }

  /** The lane's worker is gone or as good as gone: its work is done again, by a new worker. */
  #lost(lane: Lane, why: string): void {
    const { logger } = this.#options;
    lane.ready = false;
    this.restarts++;
    logger.warn(`Partition ${lane.index} lost its worker: ${why}; a new one takes its place`, {
      partition: lane.index,
    });
    lane.host.terminate();
    const [suspect, ...others] = lane.inFlight.splice(0);
    if (suspect !== undefined) this.#suspect(suspect.work, why);
    for (const { work } of others) this.#again.push(work);
    this.#restart(lane);
    this.wake();
  }

  /** Work that a worker died with: again as it is once, then in halves, then never. */
  #suspect(work: Work, why: string): void {
    work.kills++;
    if (work.kills < MAX_KILLS) {
      this.#again.push(work);
      return;
    }
    const halves = work.split();
    if (halves === undefined) {
      work.failed(new Error(`The worker did not survive this request: ${why}`));
      return;
    }
    for (const half of halves) {
      // A half needs but one more kill to be split again.
      half.kills = MAX_KILLS - 1;
      this.#again.push(half);
    }
  }

  #restart(lane: Lane): void {
    if (this.#stopped) return;
    lane.host = this.#spawn(lane);
    lane.host.started.then(() => {
      lane.ready = true;
      this.wake();
    }, (error: Error) => {
      if (this.#stopped) return;
      lane.failedStarts++;
      if (lane.failedStarts >= MAX_FAILED_STARTS) {
        const text = `Cannot start partition ${lane.index}: ${lane.failedStarts} tries failed`;
        this.#options.fatal(new Error(`${text}, the last with: ${error.message}`));
        return;
      }
      setTimeout(() => this.#restart(lane), 100 * 2 ** lane.failedStarts);
    });
  }

  /** Replaces workers that take too long, and those that went without a word. */
  #inspect(): void {
    const now = performance.now();
    const { batchTimeoutMs } = this.#options.init.plan.batching;
    for (const lane of this.#lanes) {
      if (!lane.ready) continue;
      if (lane.inFlight.length > 0) {
        if (now - lane.since > batchTimeoutMs) {
          this.#lost(lane, `a batch took longer than ${batchTimeoutMs} ms`);
        }
      } else if (now - Math.max(lane.host.lastHeard, lane.since) > SILENCE_MS) {
        this.#lost(lane, `it did not answer for ${SILENCE_MS} ms`);
      } else lane.host.ping();
    }
  }
}
