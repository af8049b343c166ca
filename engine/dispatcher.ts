/**
 * Work for the partitions: an idle one takes what waits; one that dies or hangs is replaced, and its
 * work is done again, split when it kills twice.
 *
 * @module
 */
import type { PluginLogger, Reply } from "../plugins/contract.ts";
import type { Batch } from "./batch.ts";
import { PartitionPool, type PartitionPoolOptions } from "./partition_pool.ts";
import type { PartitionInit, PartitionResult } from "./partition_protocol.ts";

/** A batch on its way through a partition. Exactly one of `done` and `failed` is called. */
export interface Work {
  readonly batch: Batch;
  /** Which stage of the plan is to do it. Default: the first. */
  readonly stage?: number;
  /** The one partition that may do it; it stays with it when its worker dies. Default: any. */
  readonly partition?: number;
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

/** The work in a partition, oldest first. */
interface Lane {
  readonly index: number;
  readonly inFlight: { readonly seq: number; readonly work: Work }[];
  /** Work that only this partition may do, in order. */
  readonly pinned: Work[];
  /** Rows of that work. */
  pinnedRows: number;
  /** When the oldest work in flight began, by `performance.now()`. */
  since: number;
  /** Smoothed ms a batch takes. */
  pace: number;
}

/** A worker that has not answered a ping for so long, with nothing to do, is dead. */
const SILENCE_MS = 5_000;
/** Work that has killed this often and cannot be split fails. */
const MAX_KILLS = 2;
/**
 * Work is halved so many times at once. A worker is lost each time that the guilty row is in a piece, and
 * that may take `batchTimeoutMs`: of 1024 rows it is found in four steps, not in twelve.
 */
const HALVINGS = 5;
/** A partition whose batches take less than this many ms is given the next one ahead of time. */
const PIPELINED_PACE_MS = 1;
/** From so many ms a batch on, the time between two of them counts for nothing. */
const LONG_PACE_MS = 20;

/** Spreads work over the partitions of a query. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #pool: PartitionPool;
  readonly #lanes: readonly Lane[];
  /** Work that goes first: it was in a worker that died. */
  readonly #again: Work[] = [];
  /** How much work is pinned, in all lanes. */
  #pinned = 0;
  #seq = 0;
  #started = false;
  /** Batches done by each partition. */
  readonly batches: number[];

  constructor(options: DispatcherOptions) {
    this.#options = options;
    const { init, logger, fatal } = options;
    this.#lanes = Array.from({ length: init.plan.partitions }, (_, index) => ({
      index,
      inFlight: [],
      pinned: [],
      pinnedRows: 0,
      since: 0,
      pace: PIPELINED_PACE_MS,
    }));
    this.batches = this.#lanes.map(() => 0);
    this.#pool = new PartitionPool({
      init,
      logger,
      events: (partition) => this.#events(this.#lanes[partition]!),
      lost: (partition, why) => this.#lost(this.#lanes[partition]!, why),
      ready: () => this.wake(),
      inspect: (partition, now) => this.#inspect(this.#lanes[partition]!, now),
      fatal,
    });
  }

  /** Starts the workers; resolves when all are warm. */
  async start(): Promise<void> {
    await this.#pool.start();
    this.#started = true;
    this.wake();
  }

  /** Workers replaced since the start. */
  get restarts(): number {
    return this.#pool.restarts;
  }

  /** Work in partitions, and work that waits to be done again. */
  get pending(): number {
    return this.#lanes.reduce(
      (sum, lane) => sum + lane.inFlight.length + lane.pinned.length,
      this.#again.length,
    );
  }

  /** Most rows that wait for one partition alone. */
  get pinnedRows(): number {
    return this.#lanes.reduce((most, lane) => Math.max(most, lane.pinnedRows), 0);
  }

  /** Takes in work for one partition; it goes out at the next `wake`, before work that any may do. */
  pin(work: Work & { readonly partition: number }): void {
    const lane = this.#lanes[work.partition]!;
    lane.pinned.push(work);
    lane.pinnedRows += work.batch.numRows;
    this.#pinned++;
  }

  /** Gives what waits to partitions that have room. Cheap when none has. */
  wake(): void {
    if (!this.#started) return;
    if (this.#pinned > 0) { for (const lane of this.#lanes) this.#sendPinned(lane); }
    for (;;) {
      const lane = this.#room();
      if (lane === undefined) return;
      const work = this.#again.shift() ?? this.#options.next();
      if (work === undefined) return;
      this.#send(lane, work);
    }
  }

  /** Ends a partition's worker at once; it is replaced like one that died. Its work is not blamed. */
  replace(partition: number): void {
    const inFlight = this.#lanes[partition]?.inFlight.splice(0) ?? [];
    this.#redo(inFlight.map(({ work }) => work));
    this.#pool.replace(partition);
  }

  /** Ends all workers, letting their plugins close for at most `timeoutMs`. Safe unstarted and twice. */
  async close(timeoutMs: number): Promise<void> {
    await this.#pool.close(timeoutMs);
    const error = new Error("The query was stopped");
    for (const lane of this.#lanes) {
      for (const { work } of lane.inFlight.splice(0)) work.failed(error);
      for (const work of lane.pinned.splice(0)) work.failed(error);
    }
    for (const work of this.#again.splice(0)) work.failed(error);
  }

  /** A lane that can take work now: an idle one, or a fast one with a single batch. */
  #room(): Lane | undefined {
    let fast: Lane | undefined, slow: Lane | undefined;
    for (const lane of this.#lanes) {
      if (!this.#pool.isReady(lane.index)) continue;
      const { length } = lane.inFlight;
      if (length === 0) return lane;
      // Suspects travel alone, so that only they are blamed.
      if (length > 1 || lane.inFlight[0]!.work.kills > 0) continue;
      if (lane.pace < PIPELINED_PACE_MS) fast ??= lane;
      else if (lane.pace > PIPELINED_PACE_MS && lane.pace < LONG_PACE_MS) slow ??= lane;
    }
    if (fast === undefined && slow === undefined || this.#again.length > 0) return undefined;
    const waiting = this.#options.waiting();
    // Ahead of time only what is worth a message: small batches had better grow while they wait.
    if (fast !== undefined && waiting >= Math.max(8, fast.inFlight[0]!.work.batch.numRows)) {
      return fast;
    }
    // Nor need a slower one stand still between two batches, where there is a full one for each.
    const { maxBatchSize } = this.#options.init.plan.batching;
    return waiting >= maxBatchSize * this.#lanes.length ? slow : undefined;
  }

  /** Sends what only this lane may do, as far as it has room. */
  #sendPinned(lane: Lane): void {
    while (lane.pinned.length > 0 && this.#pool.isReady(lane.index)) {
      const [first, second] = lane.inFlight;
      const next = lane.pinned[0]!;
      const mayFollow = lane.pace < PIPELINED_PACE_MS && first?.work.kills === 0 &&
        next.kills === 0;
      if (first !== undefined && (second !== undefined || !mayFollow)) return;
      lane.pinned.shift();
      lane.pinnedRows -= next.batch.numRows;
      this.#pinned--;
      this.#send(lane, next);
    }
  }

  /** Takes work in again that was in a worker; before what has not been in one, in its order. */
  #redo(works: readonly Work[]): void {
    for (const work of works.toReversed()) {
      if (work.partition === undefined) continue;
      const lane = this.#lanes[work.partition]!;
      lane.pinned.unshift(work);
      lane.pinnedRows += work.batch.numRows;
      this.#pinned++;
    }
    for (const work of works) if (work.partition === undefined) this.#again.push(work);
  }

  #send(lane: Lane, work: Work): void {
    const seq = this.#seq++;
    if (lane.inFlight.length === 0) lane.since = performance.now();
    lane.inFlight.push({ seq, work });
    try {
      this.#pool.host(lane.index).send(seq, work.batch, work.stage);
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

  #events(lane: Lane): ReturnType<PartitionPoolOptions["events"]> {
    const { reply } = this.#options;
    return {
      result: (message, batch) => {
        const work = this.#take(lane, message.seq);
        this.#pool.works(lane.index);
        this.batches[lane.index]!++;
        // The worker's next batch goes out before this one's replies do.
        this.wake();
        work?.done(batch, message, lane.index);
        this.wake();
      },
      failed: (seq, error) => {
        const work = this.#take(lane, seq);
        if (work !== undefined) this.#failed(work, error);
        this.wake();
      },
      replies: ({ replies }) => {
        for (const [id, answer] of replies) reply(id, answer);
      },
    };
  }

  /** The worker could not tell which rows are guilty: pieces will. */
  #failed(work: Work, error: Error): void {
    const pieces = error.name === "Permanent" ? [] : piecesOf(work);
    if (pieces.length < 2) work.failed(error);
    else this.#redo(pieces);
  }

  /** The lane's worker is gone or as good as gone: its work is done again. */
  #lost(lane: Lane, why: string): void {
    const [suspect, ...others] = lane.inFlight.splice(0);
    const suspects = suspect === undefined ? [] : this.#suspect(suspect.work, why);
    this.#redo([...suspects, ...others.map(({ work }) => work)]);
    this.wake();
  }

  /**
   * Work that a worker died with: again as it is once, then in pieces, then never.
   * @returns what is to be done again
   */
  #suspect(work: Work, why: string): readonly Work[] {
    work.kills++;
    if (work.kills < MAX_KILLS) return [work];
    const pieces = piecesOf(work);
    if (pieces.length < 2) {
      work.failed(new Error(`The worker did not survive this request: ${why}`));
      return [];
    }
    // A piece needs but one more kill to be split again.
    for (const piece of pieces) piece.kills = MAX_KILLS - 1;
    return pieces;
  }

  /** Workers that take too long, and those that went without a word, are replaced. */
  #inspect(lane: Lane, now: number): string | undefined {
    const { batchTimeoutMs } = this.#options.init.plan.batching;
    if (lane.inFlight.length > 0) {
      return now - lane.since > batchTimeoutMs
        ? `a batch took longer than ${batchTimeoutMs} ms`
        : undefined;
    }
    const { lastHeard } = this.#pool.host(lane.index);
    return now - Math.max(lastHeard, lane.since) > SILENCE_MS
      ? `it did not answer for ${SILENCE_MS} ms`
      : undefined;
  }
}

/** The work in up to 2 ** HALVINGS pieces; one, itself, when it cannot be split. */
function piecesOf(work: Work): Work[] {
  let pieces = [work];
  for (let times = 0; times < HALVINGS; times++) {
    pieces = pieces.flatMap((piece) => piece.split() ?? [piece]);
  }
  return pieces;
}
