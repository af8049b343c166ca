/**
 * Runs a query whose source can give the same rows again. As in Spark's class of this name, offsets are
 * logged before a batch runs and the commit after the sink has it; a restart does the batch in between
 * again, with the same rows and the same id.
 *
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type { Offset, ReplayableSource, ServiceInfo } from "../plugins/contract.ts";
import { Batch } from "./batch.ts";
import { Dispatcher, type Work } from "./dispatcher.ts";
import { addBatch, type Execution, type ExecutionHost } from "./execution.ts";
import type { PartitionResult } from "./partition_protocol.ts";
import { pauseOf } from "./pipeline.ts";
import { splitShares, withoutDestinations } from "./shuffle.ts";
import { sleep } from "./sleep.ts";

/** How often a source that cannot say when there is more is asked, in ms. */
const POLL_MS = 100;
/** Batches kept in the checkpoint, as in Spark (`spark.sql.streaming.minBatchesToRetain`). */
const KEPT_BATCHES = 100;
/** How long the batch at hand may take to end, in ms, when the query stops at once. */
const MIN_GRACE_MS = 5_000;

/** Offsets to batches to sink, one batch after another. */
export class MicroBatchExecution implements Execution {
  readonly finished: Promise<void>;
  readonly #finish = Promise.withResolvers<void>();
  readonly #host: ExecutionHost;
  readonly #source: ReplayableSource;
  readonly #dispatcher: Dispatcher;
  #todo: Work[] = [];
  #batchId = 0;
  #position: Offset | null = null;
  #loop: Promise<void> | undefined;
  /** Resolved when what the source had at the time of the call is done. */
  #caughtUp: (() => void)[] = [];
  /** Wakes the loop when it waits for more. */
  readonly #stop = new AbortController();
  #checkNow = new AbortController();
  /** Set when the source has said so while it was waited for. */
  #ended = false;
  #closed = false;
  /** Set when the batch at hand is not waited for any more: it must leave no trace. */
  #abandoned = false;

  constructor(host: ExecutionHost, source: ReplayableSource) {
    this.#host = host;
    this.#source = source;
    this.finished = this.#finish.promise;
    this.finished.catch(() => {});
    this.#dispatcher = new Dispatcher({
      init: host.init,
      logger: host.logger,
      next: () => this.#todo.shift(),
      waiting: () => this.queueLength(),
      reply: (id, reply) => host.reply(id, reply),
      fatal: (error) => host.fatal(error),
    });
  }

  async start(): Promise<void> {
    await this.#dispatcher.start();
    await this.#host.sink.open?.();
    this.#loop = this.#run().then(
      () => this.#finish.resolve(),
      (error) => {
        const stopped = error === this.#stop.signal.reason || error === this.#host.signal.reason;
        if (this.#closed || stopped) this.#finish.resolve();
        else this.#host.fatal(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }

  async processAllAvailable(): Promise<void> {
    if (this.#stop.signal.aborted) return await this.#loop;
    const caughtUp = new Promise<void>((resolve) => this.#caughtUp.push(resolve));
    this.#checkNow.abort();
    await Promise.race([caughtUp, this.#loop]);
  }

  async drain(): Promise<void> {
    this.#stop.abort(new Error("The query was stopped"));
    await this.#loop;
  }

  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop.abort(new Error("The query was stopped"));
    await this.#dispatcher.close(timeoutMs);
    for (const work of this.#todo.splice(0)) work.failed(new Error("The query was stopped"));
    await this.#endOfLoop(Math.max(timeoutMs, MIN_GRACE_MS));
    for (const resolve of this.#caughtUp.splice(0)) resolve();
    try {
      await this.#source.close();
    } finally {
      await this.#host.sink.close?.();
    }
  }

  /** Waits for the batch at hand, but not for ever: a plugin may hang. */
  async #endOfLoop(timeoutMs: number): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.#abandoned = true;
      this.#host.logger.warn(`The batch at hand did not end within ${timeoutMs} ms`);
      late.resolve();
    }, timeoutMs);
    await Promise.race([this.#loop, late.promise]);
    clearTimeout(timer);
  }

  replacePartition(partition: number): void {
    this.#dispatcher.replace(partition);
  }

  partitionBatches(): readonly number[] {
    return this.#dispatcher.batches;
  }

  restarts(): number {
    return this.#dispatcher.restarts;
  }

  queueLength(): number {
    return this.#todo.reduce((sum, { batch }) => sum + batch.numRows, 0);
  }

  services(): readonly ServiceInfo[] {
    return [];
  }

  async #run(): Promise<void> {
    const { plan, checkpoint } = this.#host;
    const { trigger } = plan;
    const signal = this.#stop.signal;
    const last = checkpoint?.latest();
    if (last !== undefined) {
      this.#batchId = last.batchId;
      if (!last.committed) await this.#batch(last.start, last.end, true);
      this.#batchId = last.batchId + 1;
      this.#position = last.end;
    }
    const bounded = "availableNow" in trigger || "once" in trigger;
    while (!signal.aborted) {
      const began = performance.now();
      // Those who ask from here on may mean rows that the source does not show yet.
      const asked = this.#caughtUp.splice(0);
      // Asked before the offset, so that what came in between is not missed at the end.
      const ended = this.#ended || (this.#source.ended?.() ?? false);
      const latest = await this.#latestOffset();
      if (latest === undefined) return;
      if (latest !== null && !isDeepStrictEqual(latest, this.#position)) {
        await this.#batch(this.#position, latest, false, performance.now() - began);
        this.#position = latest;
        this.#batchId++;
        for (const resolve of asked) resolve();
        if (bounded) return;
      } else if (bounded || ended) return;
      else {
        for (const resolve of asked) resolve();
        await this.#waitForMore();
        continue;
      }
      if ("processingTime" in trigger) {
        const rest = trigger.processingTime - (performance.now() - began);
        if (rest > 0) await this.#pause(rest);
      }
    }
  }

  /** The newest position; undefined when the source says that it has no more. */
  async #latestOffset(): Promise<Offset | null | undefined> {
    try {
      return await this.#patiently(() => this.#source.latestOffset(this.#position));
    } catch (error) {
      if (isEnd(error)) return undefined;
      throw error;
    }
  }

  async #waitForMore(): Promise<void> {
    const { trigger } = this.#host.plan;
    if ("processingTime" in trigger) return await this.#pause(trigger.processingTime);
    const { waitForMore } = this.#source;
    if (waitForMore === undefined) return await this.#pause(POLL_MS);
    const signal = AbortSignal.any([this.#stop.signal, this.#checkNow.signal]);
    try {
      await waitForMore.call(this.#source, this.#position, signal);
    } catch (error) {
      if (signal.aborted) return this.#renew();
      const pause = pauseOf(error);
      if (pause !== undefined) return await this.#pause(pause);
      if (!isEnd(error)) throw this.#ofSource(error);
      this.#ended = true;
    }
    this.#renew();
  }

  /** Waits, unless the query stops or somebody wants all that is available. */
  async #pause(ms: number): Promise<void> {
    try {
      await sleep(ms, AbortSignal.any([this.#stop.signal, this.#checkNow.signal]));
    } catch {
      // Woken up early: the loop looks again at once.
    }
    this.#renew();
  }

  #renew(): void {
    if (this.#checkNow.signal.aborted) this.#checkNow = new AbortController();
  }

  /** One batch, from its offsets to its commit. */
  async #batch(
    start: Offset | null,
    end: Offset,
    replayed: boolean,
    latestOffset: number = 0,
  ): Promise<void> {
    const { checkpoint, plan, sink } = this.#host;
    const batchId = this.#batchId;
    const began = Date.now();
    const t0 = performance.now();
    if (!replayed) checkpoint?.logOffsets(batchId, start, end);
    const t1 = performance.now();
    const input = this.#host.prune(
      await this.#patiently(() => this.#source.getBatch(start, end)),
    );
    const t2 = performance.now();
    const { output, transforms, metrics } = await this.#transform(input);
    const t3 = performance.now();
    try {
      await addBatch(sink, batchId, output, this.#host.signal);
    } catch (error) {
      throw error === this.#host.signal.reason ? error : named(plan.sink.name, error);
    }
    if (this.#abandoned) throw this.#stop.signal.reason;
    const t4 = performance.now();
    checkpoint?.commit(batchId);
    checkpoint?.prune(KEPT_BATCHES);
    await this.#patiently(() => this.#source.commit(end));
    const t5 = performance.now();
    this.#host.progress({
      batchId,
      began,
      batchDuration: t5 - t0,
      numInputRows: input.numRows,
      numOutputRows: output.numRows,
      queueLength: 0,
      durationMs: {
        latestOffset,
        walCommit: t1 - t0,
        getBatch: t2 - t1,
        transforms,
        sink: t4 - t3,
        addBatch: t4 - t2,
        commitOffsets: t5 - t4,
        triggerExecution: t5 - t0 + latestOffset,
      },
      metrics,
      startOffset: start,
      endOffset: end,
    });
    if (replayed) this.#host.logger.info(`Batch ${batchId} of ${plan.name} was done again`);
  }

  /** Spreads the batch over the partitions, stage after stage, and puts the parts together in order. */
  async #transform(
    input: Batch,
  ): Promise<{ output: Batch; transforms: number; metrics: Record<string, number> }> {
    const { plan: { partitions, batching }, shuffles } = this.#host;
    const metrics: Record<string, number> = {};
    let transforms = 0;
    const share = Math.ceil(input.numRows / partitions);
    let parts: Part[] = inSlices(input, Math.max(1, Math.min(batching.maxBatchSize, share)))
      .map((batch) => ({ batch }));
    for (let stage = 0;; stage++) {
      const working = parts.map((part) => this.#work(part, stage));
      this.#dispatcher.wake();
      const done = await Promise.all(working);
      for (const { result } of done) {
        transforms += result.ms;
        for (const [name, amount] of Object.entries(result.metrics ?? {})) {
          metrics[name] = (metrics[name] ?? 0) + amount;
        }
      }
      const batches = done.map(({ batch }) => batch);
      if (stage === shuffles) return { output: Batch.concat(batches), transforms, metrics };
      parts = moved(batches, batching.maxBatchSize);
    }
  }

  /** Has a partition do a part. */
  #work(
    { batch, partition }: Part,
    stage: number,
  ): Promise<{ batch: Batch; result: PartitionResult }> {
    return new Promise((resolve, reject) => {
      const work: Work = {
        batch,
        stage,
        kills: 0,
        done: (batch, result) => {
          const failure = result.failures?.[0];
          // There is no caller to tell, and to leave rows out in silence would be to lose them.
          if (failure !== undefined) reject(new Error(failure.message));
          else resolve({ batch, result });
        },
        failed: reject,
        // Without ids no row can be answered for, so none may be given up.
        split: () => undefined,
      };
      if (partition === undefined) this.#todo.push(work);
      else this.#dispatcher.pin({ ...work, partition });
    });
  }

  /** Calls the source, again while it asks for patience. */
  async #patiently<T>(call: () => Promise<T> | T): Promise<T> {
    for (let attempt = 0;; attempt++) {
      try {
        return await call();
      } catch (error) {
        const pause = pauseOf(error, attempt);
        if (pause === undefined) throw this.#ofSource(error);
        await sleep(pause, this.#stop.signal);
      }
    }
  }

  #ofSource(error: unknown): unknown {
    return named(this.#host.plan.source.name, error);
  }
}

function isEnd(error: unknown): boolean {
  return error instanceof Error && error.name === "EndOfInput";
}

/** The error with the plugin's name before its message. */
function named(plugin: string, error: unknown): Error {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return Object.assign(new Error(`${plugin}: ${message}`, { cause: error }), { name });
}

/** Rows for a stage, and the partition that must do them, if it matters. */
interface Part {
  readonly batch: Batch;
  readonly partition?: number;
}

/** What a stage made, put together for the partitions that do the next one. */
function moved(batches: readonly Batch[], size: number): Part[] {
  const shares = new Map<number, Batch[]>();
  for (const { destination, batch } of batches.flatMap((batch) => splitShares(batch))) {
    const mine = shares.get(destination);
    if (mine === undefined) shares.set(destination, [batch]);
    else mine.push(batch);
  }
  // Without rows, the next stage still has to say what its columns are.
  if (shares.size === 0) return [{ batch: withoutDestinations(batches[0]!), partition: 0 }];
  return [...shares.keys()].sort((a, b) => a - b).flatMap((partition) =>
    inSlices(Batch.concat(shares.get(partition)!), size).map((batch) => ({ batch, partition }))
  );
}

/** A batch in pieces of at most so many rows; in one, if it has none. */
function inSlices(batch: Batch, size: number): Batch[] {
  const slices: Batch[] = [];
  for (let start = 0; start < Math.max(1, batch.numRows); start += size) {
    slices.push(batch.slice(start, start + size));
  }
  return slices;
}
