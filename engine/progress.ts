/**
 * What a query says of its micro-batches, under Spark's names.
 *
 * @module
 */
import type { Offset } from "../plugins/contract.ts";

/** One micro-batch, or for services one micro-batch of one partition. Times are in ms. */
export interface StreamingQueryProgress {
  readonly id: string;
  readonly runId: string;
  readonly name: string;
  /** When the batch began, ISO 8601. */
  readonly timestamp: string;
  readonly batchId: number;
  /** From the batch's beginning to its commit. */
  readonly batchDuration: number;
  readonly numInputRows: number;
  /** Rows over the time since the last batch began. */
  readonly inputRowsPerSecond: number;
  /** Rows over `batchDuration`. */
  readonly processedRowsPerSecond: number;
  /**
   * `latestOffset`, `getBatch`, `walCommit`, `addBatch` (transforms and sink), `commitOffsets` and
   * `triggerExecution` as in Spark; besides them `transforms`, the time in the partition, and `sink`.
   */
  readonly durationMs: Readonly<Record<string, number>>;
  /** Rows that waited when the batch was taken. */
  readonly queueLength: number;
  /** Batches done so far by each partition. */
  readonly partitions: readonly { readonly partition: number; readonly numBatches: number }[];
  /** Counts by plugins in this batch. */
  readonly observedMetrics: Readonly<Record<string, number>>;
  readonly sources: readonly {
    readonly description: string;
    readonly startOffset: Offset | null;
    readonly endOffset: Offset | null;
    readonly numInputRows: number;
  }[];
  readonly sink: { readonly description: string; readonly numOutputRows: number };
}

/** A batch as the engine notes it down, to be told in full when somebody asks. */
export interface BatchRecord {
  readonly batchId: number;
  /** When it began, ms since 1970. */
  readonly began: number;
  readonly batchDuration: number;
  readonly numInputRows: number;
  readonly numOutputRows: number;
  readonly queueLength: number;
  readonly durationMs: Readonly<Record<string, number>>;
  readonly metrics?: Readonly<Record<string, number>> | undefined;
  readonly startOffset?: Offset | null;
  readonly endOffset?: Offset | null;
}

/** What does not change while a query runs. */
export interface ProgressSubject {
  readonly id: string;
  readonly runId: string;
  readonly name: string;
  readonly source: string;
  readonly sink: string;
  /** Batches done by each partition so far. */
  partitionBatches(): readonly number[];
}

/** Spark keeps as many (`spark.sql.streaming.numRecentProgressUpdates`). */
const KEPT = 100;

/** The last hundred batches of a query. Noting one down is cheap; telling it is not. */
export class ProgressLog {
  readonly #records: { readonly record: BatchRecord; readonly before: number | undefined }[] = [];
  #next = 0;
  #lastBegan: number | undefined;
  /** Totals since the start. */
  numInputRows = 0;
  numBatches = 0;

  add(record: BatchRecord): void {
    this.numInputRows += record.numInputRows;
    this.numBatches++;
    this.#records[this.#next] = { record, before: this.#lastBegan };
    this.#next = (this.#next + 1) % KEPT;
    this.#lastBegan = record.began;
  }

  /** The last batch, or undefined when there was none. */
  last(subject: ProgressSubject): StreamingQueryProgress | undefined {
    const entry = this.#records[(this.#next + KEPT - 1) % KEPT];
    return entry && tell(subject, entry.record, entry.before);
  }

  /** The last batches, oldest first. */
  recent(subject: ProgressSubject): StreamingQueryProgress[] {
    const { length } = this.#records;
    const start = length < KEPT ? 0 : this.#next;
    return Array.from({ length }, (_, index) => {
      const { record, before } = this.#records[(start + index) % length]!;
      return tell(subject, record, before);
    });
  }
}

function tell(
  subject: ProgressSubject,
  record: BatchRecord,
  before: number | undefined,
): StreamingQueryProgress {
  const { numInputRows, batchDuration, began } = record;
  return {
    id: subject.id,
    runId: subject.runId,
    name: subject.name,
    timestamp: new Date(began).toISOString(),
    batchId: record.batchId,
    batchDuration,
    numInputRows,
    inputRowsPerSecond: before === undefined ? 0 : perSecond(numInputRows, began - before),
    processedRowsPerSecond: perSecond(numInputRows, batchDuration),
    durationMs: record.durationMs,
    queueLength: record.queueLength,
    partitions: subject.partitionBatches().map((numBatches, partition) => ({
      partition,
      numBatches,
    })),
    observedMetrics: record.metrics ?? {},
    sources: [{
      description: subject.source,
      startOffset: record.startOffset ?? null,
      endOffset: record.endOffset ?? null,
      numInputRows,
    }],
    sink: { description: subject.sink, numOutputRows: record.numOutputRows },
  };
}

/** The clock has limits: less than a microsecond counts as one. */
function perSecond(rows: number, ms: number): number {
  return rows * 1000 / Math.max(ms, 0.001);
}
