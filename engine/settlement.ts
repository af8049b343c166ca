/**
 * What becomes of rows that have been through the transforms: early replies, failures, and the sink.
 *
 * @module
 */
import type { PluginLogger, PushSource, Reply, Sink, SourceRow } from "../plugins/contract.ts";
import type { Batch } from "./batch.ts";
import { addBatch } from "./execution.ts";
import type { RowFailure } from "./pipeline.ts";
import type { Plan } from "./plan.ts";

/** What {@linkcode Settlement} needs of its owner. */
export interface SettlementHost {
  readonly plan: Plan;
  readonly logger: PluginLogger;
  readonly sink: Sink;
  /** Aborted when the query stops at once. */
  readonly signal: AbortSignal;
  /** The id of the next micro-batch. */
  nextBatchId(): number;
  /** Answers a request of the query's own source. */
  reply(id: string, reply: Reply): void;
  /** The query cannot go on. */
  fatal(error: Error): void;
}

/** What the transforms made of a batch. */
export interface TransformedBatch {
  readonly batch: Batch;
  readonly failures?: readonly RowFailure[] | undefined;
  readonly replies?: readonly (readonly [string, Reply])[] | undefined;
}

/** Sees to it that each row gets exactly one of the source's `done` and `fail`. */
export class Settlement<Row extends SourceRow> {
  readonly #host: SettlementHost;
  readonly #source: PushSource<Row>;
  /** The sink's work at hand, when it is asynchronous: it gets one batch at a time. */
  #sinking: Promise<void> | undefined;
  #unsettled = 0;
  #idle: (() => void)[] = [];
  #closed = false;

  constructor(host: SettlementHost, source: PushSource<Row>) {
    this.#host = host;
    this.#source = source;
  }

  /** Rows that were begun and have no end yet. */
  get unsettled(): number {
    return this.#unsettled;
  }

  /** Notes that rows have left the queue. */
  begin(rows: number): void {
    this.#unsettled += rows;
  }

  /** The rows are through the transforms. `settled` is called when the sink has them. */
  done(
    rows: readonly Row[],
    { batch, failures, replies }: TransformedBatch,
    settled: (batchId: number) => void,
  ): void {
    const { reply, nextBatchId } = this.#host;
    if (replies !== undefined) { for (const [id, answer] of replies) reply(id, answer); }
    if (failures !== undefined && failures.length > 0) this.fail(rows, failures);
    const batchId = nextBatchId();
    const outcome = batch.numRows === 0 ? undefined : this.#sink(batchId, batch);
    if (outcome === undefined) this.settle(rows, batchId, settled);
    else {
      outcome.then(
        () => this.settle(rows, batchId, settled),
        (error) => this.failed(rows, this.#ofSink(error)),
      );
    }
  }

  /**
   * Adds a part of what became of rows to the sink; {@linkcode Settlement.settle} follows when that is
   * done with all parts.
   * @returns the id of the batch that it became
   */
  async deliver(batch: Batch): Promise<number> {
    const batchId = this.#host.nextBatchId();
    if (batch.numRows === 0) return batchId;
    try {
      await this.#sink(batchId, batch);
    } catch (error) {
      throw this.#ofSink(error);
    }
    return batchId;
  }

  /** The rows cannot be processed at all. */
  failed(rows: readonly Row[], error: Error): void {
    if (this.#closed) error = stopped();
    else this.#host.logger.error(`A batch of ${rows.length} rows failed: ${error.message}`);
    for (const row of rows) this.#source.fail(row, error);
    this.#release(rows.length);
    if (error.name === "Permanent") this.#host.fatal(error);
  }

  /** Resolves the next time that no row is begun and not ended. */
  idle(): Promise<void> {
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Rows that fail from now on do so because of the stop: they are told so, and nothing is logged. */
  closing(): void {
    this.#closed = true;
  }

  /** Resolves when the sink is done with what it has; whoever waits for idleness is let go. */
  async close(): Promise<void> {
    await this.#sinking;
    this.#wakeIdle();
  }

  /** Some of the rows have failed. */
  fail(rows: readonly Row[], failures: readonly RowFailure[]): void {
    const byId = new Map(rows.map((row) => [row.id, row]));
    for (const { id, status, message } of failures) {
      const row = byId.get(id);
      if (row !== undefined) this.#source.fail(row, Object.assign(new Error(message), { status }));
    }
  }

  /** The rows have been through the sink; those that have had no reply were dropped. */
  settle(rows: readonly Row[], batchId: number, settled: (batchId: number) => void): void {
    this.#source.done(rows);
    settled(batchId);
    this.#release(rows.length);
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

  #ofSink(error: unknown): Error {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    return Object.assign(new Error(`${this.#host.plan.sink.name}: ${message}`), { name });
  }

  #release(rows: number): void {
    this.#unsettled -= rows;
    if (this.#unsettled === 0 && this.#idle.length > 0) this.#wakeIdle();
  }

  #wakeIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** What rows get that the stop of their query cuts off. */
export function stopped(): Error {
  return Object.assign(new Error("The service is stopping: try again later"), { status: 503 });
}
