/**
 * A partition that serves by itself: source, transforms and sink in one isolate, nothing in between.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { PushSource, Reply, Sink, SourceRow } from "../plugins/contract.ts";
import type { Batch } from "./batch.ts";
import type { PartitionReport } from "./partition_protocol.ts";
import type { Outcome, Pipeline } from "./pipeline.ts";
import { RowBatcher, type TakenRows } from "./row_batcher.ts";
import { Settlement, type SettlementHost } from "./settlement.ts";
import { type RowsOwner, StageRunner, type StageRunnerHost } from "./stage_runner.ts";

/** What {@linkcode LocalExecution} is made of. */
export interface LocalExecutionHost extends Omit<SettlementHost, "nextBatchId"> {
  /** By stage: one, or more when rows are moved between partitions. */
  readonly pipelines: readonly Pipeline[];
  /** Between which partitions; absent when none are moved. */
  readonly exchange?: ExchangeHost | undefined;
  readonly source: PushSource<SourceRow>;
  readonly sink: Sink;
  /** Takes out of a batch of the source what the rest of the plan does not read. */
  prune(batch: Batch): Batch;
  /** Hears, a few times a second at most, what was done. */
  report(report: PartitionReport): void;
}

/** The exchange, and who is who in it. */
export type ExchangeHost = Pick<StageRunnerHost, "exchange" | "self" | "peers" | "addresses">;

/** Shortest time between two reports, in ms. */
const REPORT_MS = 200;

/** Runs the micro-batches of one partition, one after another. */
export class LocalExecution {
  readonly #host: LocalExecutionHost;
  readonly #batcher: RowBatcher<SourceRow>;
  readonly #settlement: Settlement<SourceRow>;
  readonly #pipeline: Pipeline;
  /** The stages after the first one, if there are any. */
  readonly #stages: StageRunner | undefined;
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
    const nextBatchId = () => this.#batchId++;
    this.#pipeline = host.pipelines[0]!;
    this.#settlement = new Settlement({ ...host, nextBatchId }, host.source);
    if (host.exchange !== undefined) {
      this.#stages = new StageRunner({
        ...host,
        ...host.exchange,
        nextBatchId,
        delivered: (rows) => this.#reportOf(performance.now()).numOutputRows += rows,
      });
    }
  }

  /** Resolves when callers can reach the source. */
  async start(): Promise<void> {
    this.#batcher.start();
    await this.#host.sink.open?.();
    await this.#stages?.open();
    await this.#host.source.start(this.#batcher.buffer);
  }

  /** How long the batch at hand has been going on, in ms; 0 when there is none. */
  get busyForMs(): number {
    const own = this.#since === undefined ? 0 : performance.now() - this.#since;
    return this.#stages === undefined ? own : Math.max(own, this.#stages.busyForMs);
  }

  /** Whose rows the sink has at the moment; undefined when there is but one stage. */
  get sinking(): RowsOwner | undefined {
    return this.#stages?.sinking;
  }

  /** A transform of a stage answers a request. */
  reply(stage: number, id: string, reply: Reply): void {
    if (stage === 0) this.#host.reply(id, reply);
    else this.#stages?.reply(stage, id, reply);
  }

  /**
   * Takes in no more, and resolves when what was taken in is done.
   * @param handOver whether another instance takes the callers
   */
  async drain(handOver: boolean = false): Promise<void> {
    if (handOver) await this.#host.source.handOver?.();
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
    await this.#stages?.close();
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
        outcome = this.#pipeline.run(this.#host.prune(this.#host.source.toBatch(rows)));
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

  #done(taken: TakenRows<SourceRow>, began: number, outcome: Outcome): void {
    const transforms = performance.now() - began;
    const { rows } = taken;
    if (this.#stages !== undefined) return this.#forward(this.#stages, taken, began, outcome);
    this.#settlement.done(rows, outcome, () => {
      this.#settled(taken, began, transforms).numOutputRows += outcome.batch.numRows;
    });
  }

  /** The rows go on to other stages; they are settled when all of them are through the last one. */
  #forward(
    stages: StageRunner,
    taken: TakenRows<SourceRow>,
    began: number,
    { batch, failures }: Outcome,
  ): void {
    const transforms = performance.now() - began;
    const { rows } = taken;
    if (failures.length > 0) this.#settlement.fail(rows, failures);
    const owner: RowsOwner = {
      isLocal: true,
      reply: (id, reply) => this.#host.reply(id, reply),
      fail: (failures) => this.#settlement.fail(rows, failures),
    };
    stages.forward(1, batch, owner).then(
      () => this.#settlement.settle(rows, 0, () => this.#settled(taken, began, transforms)),
      (error) => this.#failed(rows, error),
    );
  }

  #failed(rows: readonly SourceRow[], error: unknown): void {
    this.#settlement.failed(rows, error instanceof Error ? error : new Error(String(error)));
  }

  /** Notes a batch down that has come to its end. */
  #settled(
    { rows, waited }: TakenRows<SourceRow>,
    began: number,
    transforms: number,
  ): Mutable<PartitionReport> {
    const report = this.#reportOf(began);
    report.numBatches++;
    report.numInputRows += rows.length;
    report.queueLength = Math.max(report.queueLength, waited);
    report.transformsMs += transforms;
    report.batchMs += performance.now() - began;
    return report;
  }

  /** The report in the making; one that is begun now is sent in a while. */
  #reportOf(began: number): Mutable<PartitionReport> {
    if (this.#report !== undefined) return this.#report;
    if (!this.#closed) this.#reporter = setTimeout(() => this.#sendReport(), REPORT_MS);
    return this.#report = {
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
