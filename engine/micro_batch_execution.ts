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
import { sleep } from "./sleep.ts";

/** How often a source that cannot say when there is more is asked, in ms. */
const POLL_MS = 100;
/** Batches kept in the checkpoint, as in Spark (`spark.sql.streaming.minBatchesToRetain`). */
const KEPT_BATCHES = 100;

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
  /** Resolved when the source has no more than what is done. */
  #caughtUp: (() => void)[] = [];
  /** Wakes the loop when it waits for more. */
  readonly #stop = new AbortController();
  #checkNow = new AbortController();
  #closed = false;

  constructor(host: ExecutionHost, source: ReplayableSource) {
    this.#host = host;
    this.#source = source;
    this.finished = this.#finish.promise;
    this.finished.catch(() => {});
    this.#dispatcher = new Dispatcher({
      init: host.init,
      logger: host.logger,
      next: () => this.#todo.shift(),
      waiting: () => this.#todo.reduce((sum, { batch }) => sum + batch.numRows, 0),
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
        if (this.#stop.signal.aborted) this.#finish.resolve();
        else this.#host.fatal(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }

  async processAllAvailable(): Promise<void> {
    if (this.#loop === undefined || this.#stop.signal.aborted) return;
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
    await this.#loop;
    await this.#source.close();
    await this.#host.sink.close?.();
    for (const resolve of this.#caughtUp.splice(0)) resolve();
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
    return this.#todo.length;
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
      // Asked before the offset, so that what came in between is not missed at the end.
      const ended = this.#source.ended?.() ?? false;
      const latest = await this.#patiently(() => this.#source.latestOffset(this.#position));
      if (latest !== null && !isDeepStrictEqual(latest, this.#position)) {
        await this.#batch(this.#position, latest, false, performance.now() - began);
        this.#position = latest;
        this.#batchId++;
        if (bounded) return this.#allDone();
      } else if (bounded || ended) return this.#allDone();
      else {
        this.#allDone();
        await this.#waitForMore();
        continue;
      }
      if ("processingTime" in trigger) {
        const rest = trigger.processingTime - (performance.now() - began);
        if (rest > 0) await this.#pause(rest);
      }
    }
  }

  #allDone(): void {
    for (const resolve of this.#caughtUp.splice(0)) resolve();
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
      if (!signal.aborted) throw error;
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
    await addBatch(sink, batchId, output, this.#host.signal);
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

  /** Spreads the batch over the partitions and puts the parts together in order. */
  async #transform(
    input: Batch,
  ): Promise<{ output: Batch; transforms: number; metrics: Record<string, number> }> {
    const { partitions, batching } = this.#host.plan;
    const share = Math.ceil(input.numRows / partitions);
    const size = Math.max(1, Math.min(batching.maxBatchSize, share));
    const parts: Promise<{ batch: Batch; result: PartitionResult }>[] = [];
    for (let start = 0; start < Math.max(1, input.numRows); start += size) {
      parts.push(
        new Promise((resolve, reject) => {
          this.#todo.push({
            batch: input.slice(start, start + size),
            kills: 0,
            done: (batch, result) => resolve({ batch, result }),
            failed: reject,
            // Without ids no row can be answered for, so none may be given up.
            split: () => undefined,
          });
        }),
      );
    }
    this.#dispatcher.wake();
    const done = await Promise.all(parts);
    const metrics: Record<string, number> = {};
    let transforms = 0;
    for (const { result } of done) {
      transforms += result.ms;
      for (const [name, amount] of Object.entries(result.metrics ?? {})) {
        metrics[name] = (metrics[name] ?? 0) + amount;
      }
    }
    return { output: Batch.concat(done.map(({ batch }) => batch)), transforms, metrics };
  }

  /** Calls the source, again while it asks for patience. */
  async #patiently<T>(call: () => Promise<T> | T): Promise<T> {
    for (let attempt = 0;; attempt++) {
      try {
        return await call();
      } catch (error) {
        const pause = pauseOf(error, attempt);
        if (pause === undefined) throw error;
        await sleep(pause, this.#stop.signal);
      }
    }
  }
}
