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
import { splitShares } from "./shuffle.ts";

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
    // Rows that wait for one partition must not pile up without end: then those to come wait in the queue.
    const { shuffles, plan } = this.#host;
    if (shuffles > 0 && this.#dispatcher.pinnedRows >= plan.batching.maxQueueSize) return undefined;
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

  /** Rows have been through the transforms of the first stage: the rest is the sink's, or other stages'. */
  done(work: RowsWork, batch: Batch, result: PartitionResult): void {
    if (this.#host.shuffles > 0) return this.stageDone(new Journey(work), 0, batch, result);
    const { failures, replies } = result;
    this.#settlement.done(work.rows, { batch, failures, replies }, (batchId) => {
      this.#progress(work, batchId, batch.numRows, result.ms, result.metrics);
    });
  }

  /** Rows have been through a stage: they move on to the next one, or into the sink. */
  stageDone(journey: Journey, stage: number, batch: Batch, result: PartitionResult): void {
    const { rows } = journey.work;
    journey.add(result);
    for (const [id, reply] of result.replies ?? []) this.#host.reply(id, reply);
    if (result.failures !== undefined) this.#settlement.fail(rows, result.failures);
    if (stage === this.#host.shuffles) return this.#deliver(journey, batch);
    for (const { destination, batch: share } of splitShares(batch)) {
      journey.open++;
      this.#dispatcher.pin(new ShareWork(this, journey, stage + 1, destination, share));
    }
    this.#arrive(journey);
  }

  /** Some of the rows cannot be processed at all. */
  shareFailed(journey: Journey, batch: Batch, error: Error): void {
    if (this.#closed) error = stopped();
    else this.#host.logger.error(`A batch of ${batch.numRows} rows failed: ${error.message}`);
    const { status = 500 } = error as { status?: number };
    const ids = batch.schema.has("id") ? batch.column("id") as string[] : [];
    this.#settlement.fail(
      journey.work.rows,
      ids.map((id) => ({ id, status, message: error.message })),
    );
    this.#arrive(journey);
    if (error.name === "Permanent") this.#host.fatal(error);
  }

  #deliver(journey: Journey, batch: Batch): void {
    this.#settlement.deliver(batch).then((batchId) => {
      journey.batchId = batchId;
      journey.outputRows += batch.numRows;
      this.#arrive(journey);
    }, (error) => this.shareFailed(journey, batch, error));
  }

  /** A part of the rows has come to its end; with the last one they are settled. */
  #arrive(journey: Journey): void {
    journey.open--;
    if (journey.open > 0) return;
    const { work, outputRows, ms, metrics } = journey;
    this.#settlement.settle(work.rows, journey.batchId, (batchId) => {
      this.#progress(work, batchId, outputRows, ms, metrics);
    });
  }

  #progress(
    work: RowsWork,
    batchId: number,
    numOutputRows: number,
    transforms: number,
    metrics: PartitionResult["metrics"],
  ): void {
    const duration = performance.now() - work.began;
    this.#host.progress({
      batchId,
      began: performance.timeOrigin + work.began,
      batchDuration: duration,
      numInputRows: work.rows.length,
      numOutputRows,
      queueLength: work.waited,
      durationMs: { transforms, addBatch: duration, triggerExecution: duration },
      metrics,
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

/** Rows on their way through several stages, in several parts. */
class Journey {
  /** Parts that have not come to their end. */
  open = 1;
  /** Of the last batch that came into the sink. */
  batchId = 0;
  /** Rows in the sink. */
  outputRows = 0;
  /** Time in the transforms, in ms. */
  ms = 0;
  metrics: Record<string, number> | undefined;

  constructor(readonly work: RowsWork) {}

  add({ ms, metrics }: PartitionResult): void {
    this.ms += ms;
    if (metrics === undefined) return;
    this.metrics ??= {};
    for (const [name, amount] of Object.entries(metrics)) {
      this.metrics[name] = (this.metrics[name] ?? 0) + amount;
    }
  }
}

/** A part of rows, for a stage in one partition. */
class ShareWork implements Work {
  kills = 0;

  constructor(
    readonly execution: PushExecution,
    readonly journey: Journey,
    readonly stage: number,
    readonly partition: number,
    readonly batch: Batch,
  ) {}

  done(batch: Batch, result: PartitionResult): void {
    this.execution.stageDone(this.journey, this.stage, batch, result);
  }

  failed(error: Error): void {
    this.execution.shareFailed(this.journey, this.batch, error);
  }

  split(): readonly [Work, Work] | undefined {
    const { execution, journey, stage, partition, batch } = this;
    if (batch.numRows < 2) return undefined;
    const middle = batch.numRows >> 1;
    journey.open++;
    return [
      new ShareWork(execution, journey, stage, partition, batch.slice(0, middle)),
      new ShareWork(execution, journey, stage, partition, batch.slice(middle)),
    ];
  }
}
