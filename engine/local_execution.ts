/**
 * A partition that serves by itself: source, transforms and sink in one isolate, nothing in between.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { PushSource, Sink, SourceRow } from "../plugins/contract.ts";
import type { Batch } from "./batch.ts";
import type { PartitionReport } from "./partition_protocol.ts";
import type { Outcome, Pipeline } from "./pipeline.ts";
import { RowBatcher, type TakenRows } from "./row_batcher.ts";
import { Settlement, type SettlementHost } from "./settlement.ts";

/** What {@linkcode LocalExecution} is made of. */
export interface LocalExecutionHost extends Omit<SettlementHost, "nextBatchId"> {
  readonly pipeline: Pipeline;
  readonly source: PushSource<SourceRow>;
  readonly sink: Sink;
  /** Takes out of a batch of the source what the rest of the plan does not read. */
  prune(batch: Batch): Batch;
  /** Hears, a few times a second at most, what was done. */
  report(report: PartitionReport): void;
}

/** Shortest time between two reports, in ms. */
const REPORT_MS = 200;

/** Runs the micro-batches of one partition, one after another. */
export class LocalExecution {
  readonly #host: LocalExecutionHost;
  readonly #batcher: RowBatcher<SourceRow>;
  readonly #settlement: Settlement<SourceRow>;
  #isScheduled = false;
  /** When the batch at hand began, by `performance.now()`; undefined when there is none. */
  #since: number | undefined;
  #batchId = 0;
  #report: Mutable<PartitionReport> | undefined;
  #reporter: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(host: LocalExecutionHost) {
    this.#host = host;
    this.#batcher = new RowBatcher(host.plan, this.#wake);
    this.#settlement = new Settlement({ ...host, nextBatchId: () => this.#batchId++ }, host.source);
  }

  /** Resolves when callers can reach the source. */
  async start(): Promise<void> {
    this.#batcher.start();
    await this.#host.sink.open?.();
    await this.#host.source.start(this.#batcher.buffer);
  }

  /** How long the batch at hand has been going on, in ms; 0 when there is none. */
  get busyForMs(): number {
    return this.#since === undefined ? 0 : performance.now() - this.#since;
  }

  /** Takes in no more, and resolves when what was taken in is done. */
  async drain(): Promise<void> {
    const refused = this.#host.source.stopAccepting();
    this.#batcher.release();
    await refused;
    this.#batcher.buffer.stop();
    while (this.#batcher.buffer.length > 0 || this.#settlement.unsettled > 0) {
      await this.#settlement.idle();
    }
  }

  /** Frees the source and the sink. Callers that still wait get an error. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#batcher.stopClock();
    this.#batcher.buffer.stop();
    this.#settlement.closing();
    clearTimeout(this.#reporter);
    this.#sendReport();
    await this.#settlement.close();
    await this.#host.source.close();
    await this.#host.sink.close?.();
  }

  /** Requests that come in together leave together: all that one turn of the event loop brings. */
  readonly #wake = (): void => {
    if (this.#isScheduled || this.#since !== undefined) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#run();
    });
  };

  #run(): void {
    while (this.#since === undefined) {
      const taken = this.#batcher.next();
      if (taken === undefined) return;
      const { rows } = taken;
      const began = performance.now();
      this.#settlement.begin(rows.length);
      let outcome: Outcome | Promise<Outcome>;
      try {
        outcome = this.#host.pipeline.run(this.#host.prune(this.#host.source.toBatch(rows)));
      } catch (error) {
        this.#failed(rows, error);
        continue;
      }
      if (outcome instanceof Promise) this.#await(taken, began, outcome);
      else this.#done(taken, began, outcome);
    }
  }

  #await(taken: TakenRows<SourceRow>, began: number, pending: Promise<Outcome>): void {
    this.#since = began;
    const next = () => {
      this.#since = undefined;
      this.#run();
    };
    pending.then(
      (outcome) => {
        this.#done(taken, began, outcome);
        next();
      },
      (error) => {
        this.#failed(taken.rows, error);
        next();
      },
    );
  }

  #done({ rows, waited }: TakenRows<SourceRow>, began: number, outcome: Outcome): void {
    const transforms = performance.now() - began;
    this.#settlement.done(rows, outcome, () => {
      const report = this.#report ??= this.#newReport(began);
      report.numBatches++;
      report.numInputRows += rows.length;
      report.numOutputRows += outcome.batch.numRows;
      report.queueLength = Math.max(report.queueLength, waited);
      report.transformsMs += transforms;
      report.batchMs += performance.now() - began;
    });
  }

  #failed(rows: readonly SourceRow[], error: unknown): void {
    this.#settlement.failed(rows, error instanceof Error ? error : new Error(String(error)));
  }

  #newReport(began: number): Mutable<PartitionReport> {
    this.#reporter = setTimeout(() => this.#sendReport(), REPORT_MS);
    return {
      began: performance.timeOrigin + began,
      numBatches: 0,
      numInputRows: 0,
      numOutputRows: 0,
      queueLength: 0,
      transformsMs: 0,
      batchMs: 0,
    };
  }

  #sendReport(): void {
    if (this.#report === undefined) return;
    this.#host.report(this.#report);
    this.#report = undefined;
  }
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
