/**
 * Runs a query whose rows come when they come, each awaiting a reply: a service.
 *
 * @module
 */
import type { PushSource, ServiceInfo, SourceRow } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import type { Batch } from "./batch.ts";
import { Dispatcher, type Work } from "./dispatcher.ts";
import type { Execution, ExecutionHost } from "./execution.ts";
import type { PartitionResult } from "./partition_protocol.ts";
import type { Plan } from "./plan.ts";
import { RowBatcher } from "./row_batcher.ts";
import { Settlement, stopped } from "./settlement.ts";

/** Batch ids are reserved in the checkpoint by blocks, so that a batch costs no disk write. */
const RESERVED_BATCHES = 10_000;

/** Rows to micro-batches to replies; each row gets exactly one of `done` and `fail`. */
export class PushExecution implements Execution {
  /** A push source has no end. */
  readonly finished: Promise<void> = new Promise(() => {});
  readonly #host: ExecutionHost;
  readonly #source: PushSource;
  readonly #batcher: RowBatcher<SourceRow>;
  readonly #dispatcher: Dispatcher;
  readonly #settlement: Settlement<SourceRow>;
  #nextBatchId = 0;
  #reservedTo = Infinity;
  #closed = false;

  constructor(host: ExecutionHost, source: PushSource) {
    checkTrigger(host.plan);
    this.#host = host;
    this.#source = source;
    this.#dispatcher = new Dispatcher({
      init: host.init,
      logger: host.logger,
      next: () => this.#next(),
      waiting: () => this.#batcher.available,
      reply: (id, reply) => host.reply(id, reply),
      fatal: (error) => host.fatal(error),
    });
    this.#batcher = new RowBatcher(host.plan, () => this.#dispatcher.wake());
    this.#settlement = new Settlement({ ...host, nextBatchId: () => this.#batchId() }, source);
  }

  async start(): Promise<void> {
    const { checkpoint, sink } = this.#host;
    if (checkpoint !== undefined) this.#reserve();
    this.#batcher.start();
    await this.#dispatcher.start();
    await sink.open?.();
    if (this.#closed) throw stopped();
    await this.#source.start(this.#batcher.buffer);
  }

  async processAllAvailable(): Promise<void> {
    while (this.#batcher.buffer.length > 0 || this.#settlement.unsettled > 0) {
      await this.#settlement.idle();
    }
  }

  async drain(): Promise<void> {
    const refused = this.#source.stopAccepting();
    this.#batcher.release();
    await refused;
    this.#batcher.buffer.stop();
    await this.processAllAvailable();
  }

  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#batcher.stopClock();
    this.#batcher.buffer.stop();
    this.#settlement.closing();
    await this.#dispatcher.close(timeoutMs);
    for (const row of this.#batcher.buffer.take(Infinity)) this.#source.fail(row, stopped());
    await this.#settlement.close();
    await this.#source.close();
    await this.#host.sink.close?.();
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
    return this.#batcher.buffer.length;
  }

  services(): readonly ServiceInfo[] {
    return this.#source.services?.() ?? [];
  }

  #next(): Work | undefined {
    for (;;) {
      const taken = this.#batcher.next();
      if (taken === undefined) return undefined;
      const { rows, waited } = taken;
      this.#settlement.begin(rows.length);
      try {
        return new RowsWork(this, rows, this.#host.prune(this.#source.toBatch(rows)), waited);
      } catch (error) {
        this.failed(rows, error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  /** Rows have been through the transforms: the rest is the sink's. */
  done(work: RowsWork, batch: Batch, result: PartitionResult): void {
    const { failures, replies } = result;
    this.#settlement.done(work.rows, { batch, failures, replies }, (batchId) => {
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
    });
  }

  /** Rows cannot be processed at all. */
  failed(rows: readonly SourceRow[], error: Error): void {
    this.#settlement.failed(rows, error);
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

/** @throws {PlanError} for a trigger that needs a source with offsets */
export function checkTrigger({ source, trigger }: Plan): void {
  if ("continuous" in trigger || "processingTime" in trigger) return;
  throw new PlanError(
    `Cannot run source "${source.name}" with trigger "${Object.keys(trigger)[0]}": ` +
      "its rows come when they come; continuous and processingTime are allowed",
    { path: ["trigger"] },
  );
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
