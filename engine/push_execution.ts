/**
 * Runs a query whose rows come when they come, each awaiting a reply: a service.
 *
 * @module
 */
import type { PushSource, Reply, ServiceInfo, SourceRow } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import type { Batch } from "./batch.ts";
import { Dispatcher, type Work } from "./dispatcher.ts";
import { addBatch, type Execution, type ExecutionHost } from "./execution.ts";
import type { PartitionResult } from "./partition_protocol.ts";
import { RowBuffer } from "./row_buffer.ts";

/** Batch ids are reserved in the checkpoint by blocks, so that a batch costs no disk write. */
const RESERVED_BATCHES = 10_000;

/** Rows to micro-batches to replies; each row gets exactly one of `done` and `fail`. */
export class PushExecution implements Execution {
  /** A push source has no end. */
  readonly finished: Promise<void> = new Promise(() => {});
  readonly #host: ExecutionHost;
  readonly #source: PushSource;
  readonly #buffer: RowBuffer<SourceRow>;
  readonly #dispatcher: Dispatcher;
  readonly #maxBatchSize: number;
  readonly #maxBatchDelayMs: number;
  /** How many of the waiting rows may leave now; the trigger and the delay say. */
  #quota = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #nextBatchId = 0;
  #reservedTo = Infinity;
  /** The sink's work at hand, when it is asynchronous: it gets one batch at a time. */
  #sinking: Promise<void> | undefined;
  #unsettled = 0;
  #idle: (() => void)[] = [];
  #closed = false;

  constructor(host: ExecutionHost, source: PushSource) {
    const { batching, trigger } = host.plan;
    if (!("continuous" in trigger || "processingTime" in trigger)) {
      throw new PlanError(
        `Cannot run source "${host.plan.source.name}" with trigger "${Object.keys(trigger)[0]}": ` +
          "its rows come when they come; continuous and processingTime are allowed",
        { path: ["trigger"] },
      );
    }
    this.#host = host;
    this.#source = source;
    this.#maxBatchSize = batching.maxBatchSize;
    this.#maxBatchDelayMs = batching.maxBatchDelayMs;
    this.#dispatcher = new Dispatcher({
      init: host.init,
      logger: host.logger,
      next: () => this.#next(),
      waiting: () => Math.min(this.#buffer.length, this.#quota),
      reply: (id, reply) => host.reply(id, reply),
      fatal: (error) => host.fatal(error),
    });
    this.#buffer = new RowBuffer(batching.maxQueueSize, () => this.#dispatcher.wake());
  }

  async start(): Promise<void> {
    const { checkpoint, plan, sink } = this.#host;
    if (checkpoint !== undefined) this.#reserve();
    if ("processingTime" in plan.trigger) {
      this.#quota = 0;
      this.#timer = setInterval(() => {
        this.#quota = this.#buffer.length;
        this.#dispatcher.wake();
      }, plan.trigger.processingTime);
    } else if (this.#maxBatchDelayMs > 0) this.#quota = 0;
    await this.#dispatcher.start();
    await sink.open?.();
    await this.#source.start(this.#buffer);
  }

  async processAllAvailable(): Promise<void> {
    while (this.#buffer.length > 0 || this.#unsettled > 0) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
  }

  async drain(): Promise<void> {
    const refused = this.#source.stopAccepting();
    // What waits for a trigger need not wait any more.
    clearTimeout(this.#timer);
    this.#quota = Infinity;
    this.#dispatcher.wake();
    await refused;
    this.#buffer.stop();
    await this.processAllAvailable();
  }

  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#buffer.stop();
    await this.#dispatcher.close(timeoutMs);
    for (const row of this.#buffer.take(Infinity)) this.#source.fail(row, stopped());
    await this.#sinking;
    await this.#source.close();
    await this.#host.sink.close?.();
    for (const resolve of this.#idle.splice(0)) resolve();
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
    return this.#buffer.length;
  }

  services(): readonly ServiceInfo[] {
    return this.#source.services?.() ?? [];
  }

  #next(): Work | undefined {
    const waiting = this.#buffer.length;
    if (waiting === 0) return undefined;
    if (this.#maxBatchDelayMs > 0 && this.#quota < waiting) {
      if (waiting >= this.#maxBatchSize) this.#quota = waiting;
      else {
        this.#timer ??= setTimeout(() => {
          this.#timer = undefined;
          this.#quota = Math.max(this.#quota, this.#buffer.length);
          this.#dispatcher.wake();
        }, this.#maxBatchDelayMs);
      }
    }
    const rows = this.#buffer.take(Math.min(this.#maxBatchSize, this.#quota));
    if (rows.length === 0) return undefined;
    this.#quota -= rows.length;
    this.#unsettled += rows.length;
    try {
      return new RowsWork(this, rows, this.#host.prune(this.#source.toBatch(rows)), waiting);
    } catch (error) {
      this.failed(rows, error instanceof Error ? error : new Error(String(error)));
      return this.#next();
    }
  }

  /** Rows have been through the transforms: the rest is the sink's. */
  done(work: RowsWork, batch: Batch, result: PartitionResult): void {
    const { replies, failures } = result;
    if (replies !== undefined) { for (const [id, reply] of replies) this.#host.reply(id, reply); }
    if (failures !== undefined) {
      const byId = new Map(work.rows.map((row) => [row.id, row]));
      for (const { id, status, message } of failures) {
        const row = byId.get(id);
        if (row !== undefined) {
          this.#source.fail(row, Object.assign(new Error(message), { status }));
        }
      }
    }
    const batchId = this.#batchId();
    const outcome = batch.numRows === 0 ? undefined : this.#sink(batchId, batch);
    if (outcome === undefined) this.#settle(work, batchId, batch, result);
    else {
      outcome.then(
        () => this.#settle(work, batchId, batch, result),
        (error) => this.#sinkFailed(work, error),
      );
    }
  }

  /** Rows cannot be processed at all. */
  failed(rows: readonly SourceRow[], error: Error): void {
    if (!this.#closed) {
      this.#host.logger.error(`A batch of ${rows.length} rows failed: ${error.message}`);
    }
    for (const row of rows) this.#source.fail(row, error);
    this.#release(rows.length);
    if (error.name === "Permanent") this.#host.fatal(error);
  }

  /** Adds to the sink, after the batches before it; undefined when that is done already. */
  #sink(batchId: number, batch: Batch): Promise<void> | undefined {
    const { sink, signal } = this.#host;
    const pending = this.#sinking === undefined
      ? addBatch(sink, batchId, batch, signal)
      : this.#sinking.then(() => addBatch(sink, batchId, batch, signal));
    if (pending === undefined) return undefined;
    const mine: Promise<void> = pending.catch(() => {}).then(() => {
      if (this.#sinking === mine) this.#sinking = undefined;
    });
    this.#sinking = mine;
    return pending;
  }

  #sinkFailed(work: RowsWork, error: unknown): void {
    const cause = error instanceof Error ? error : new Error(String(error));
    const message = `${this.#host.plan.sink.name}: ${cause.message}`;
    this.failed(work.rows, Object.assign(new Error(message), { name: cause.name }));
  }

  #settle(work: RowsWork, batchId: number, batch: Batch, result: PartitionResult): void {
    this.#source.done(work.rows);
    const duration = performance.now() - work.began;
    this.#host.progress({
      batchId,
      began: performance.timeOrigin + work.began,
      batchDuration: duration,
      numInputRows: work.rows.length,
      numOutputRows: batch.numRows,
      queueLength: work.waited,
      durationMs: { transforms: result.ms, addBatch: duration, triggerExecution: duration },
      metrics: result.metrics,
    });
    this.#release(work.rows.length);
  }

  #release(rows: number): void {
    this.#unsettled -= rows;
    if (this.#unsettled === 0 && this.#idle.length > 0) {
      for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  #batchId(): number {
    if (this.#nextBatchId >= this.#reservedTo) this.#reserve();
    return this.#nextBatchId++;
  }

  #reserve(): void {
    this.#nextBatchId = this.#host.checkpoint!.reserve(RESERVED_BATCHES);
    this.#reservedTo = this.#nextBatchId + RESERVED_BATCHES;
  }
}

/** Rows and the batch made of them. */
class RowsWork implements Work {
  kills = 0;
  /** When it was made, by `performance.now()`. */
  readonly began: number = performance.now();

  constructor(
    readonly execution: PushExecution,
    readonly rows: readonly SourceRow[],
    readonly batch: Batch,
    /** Rows that waited when these were taken. */
    readonly waited: number,
  ) {}

  done(batch: Batch, result: PartitionResult): void {
    this.execution.done(this, batch, result);
  }

  failed(error: Error): void {
    this.execution.failed(this.rows, error);
  }

  split(): readonly [Work, Work] | undefined {
    const { execution, rows, batch, waited } = this;
    if (rows.length < 2) return undefined;
    const middle = rows.length >> 1;
    return [
      new RowsWork(execution, rows.slice(0, middle), batch.slice(0, middle), waited),
      new RowsWork(execution, rows.slice(middle), batch.slice(middle), waited),
    ];
  }
}

function stopped(): Error {
  return Object.assign(new Error("The service is stopping: try again later"), { status: 503 });
}
