/**
 * Rows that wait, and when they leave as a micro-batch: at once, after a delay, or by a trigger.
 *
 * @module
 */
import type { SourceRow } from "../plugins/contract.ts";
import type { Plan } from "./plan.ts";
import { RowBuffer } from "./row_buffer.ts";

/** Rows that leave together. */
export interface TakenRows<Row extends SourceRow> {
  readonly rows: readonly Row[];
  /** Rows that waited when these were taken. */
  readonly waited: number;
}

/** The queue in front of the partitions, with the plan's batching and trigger. */
export class RowBatcher<Row extends SourceRow> {
  /** Where the source puts its rows. */
  readonly buffer: RowBuffer<Row>;
  readonly #wake: () => void;
  readonly #maxBatchSize: number;
  readonly #maxBatchDelayMs: number;
  readonly #intervalMs: number | undefined;
  /** How many of the waiting rows may leave now; the trigger and the delay say. */
  #quota = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param wake called when rows may leave that could not before */
  constructor({ batching, trigger }: Pick<Plan, "batching" | "trigger">, wake: () => void) {
    this.#wake = wake;
    this.#maxBatchSize = batching.maxBatchSize;
    this.#maxBatchDelayMs = batching.maxBatchDelayMs;
    this.#intervalMs = "processingTime" in trigger ? trigger.processingTime : undefined;
    if (this.#intervalMs !== undefined || this.#maxBatchDelayMs > 0) this.#quota = 0;
    this.buffer = new RowBuffer(batching.maxQueueSize, wake);
  }

  /** Starts the trigger's clock. */
  start(): void {
    if (this.#intervalMs === undefined) return;
    this.#timer = setInterval(() => {
      this.#quota = this.buffer.length;
      this.#wake();
    }, this.#intervalMs);
  }

  /** Rows that may leave now. */
  get available(): number {
    return Math.min(this.buffer.length, this.#quota);
  }

  /** Takes the rows of the next micro-batch; undefined when none may leave now. */
  next(): TakenRows<Row> | undefined {
    const waited = this.buffer.length;
    if (waited === 0) return undefined;
    if (this.#quota < waited && this.#maxBatchDelayMs > 0) this.#delay(waited);
    const rows = this.buffer.take(Math.min(this.#maxBatchSize, this.#quota));
    if (rows.length === 0) return undefined;
    this.#quota -= rows.length;
    return { rows, waited };
  }

  /** What waits for a trigger or a delay need not wait any more. */
  release(): void {
    this.stopClock();
    this.#quota = Infinity;
    this.#wake();
  }

  /** Stops the trigger's clock. Safe unstarted and twice. */
  stopClock(): void {
    clearTimeout(this.#timer);
  }

  #delay(waited: number): void {
    if (waited >= this.#maxBatchSize) this.#quota = waited;
    else if (this.#intervalMs === undefined) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.#quota = Math.max(this.#quota, this.buffer.length);
        this.#wake();
      }, this.#maxBatchDelayMs);
    }
  }
}
