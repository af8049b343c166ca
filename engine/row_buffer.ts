/**
 * The bounded queue of rows in front of the partitions.
 *
 * @module
 */
import type { RowQueue, SourceRow } from "../plugins/contract.ts";

/** First in, first out; a row that waits can be taken out of the middle. */
export class RowBuffer<Row extends SourceRow> implements RowQueue<Row> {
  readonly #capacity: number;
  readonly #onOffer: () => void;
  /** Rows from `#head` on wait, but for those that were cancelled. */
  #rows: Row[] = [];
  #head = 0;
  #length = 0;
  #stopping = false;

  /**
   * @param capacity most rows that wait
   * @param onOffer called after each row that was taken in
   */
  constructor(capacity: number, onOffer: () => void) {
    this.#capacity = capacity;
    this.#onOffer = onOffer;
  }

  get length(): number {
    return this.#length;
  }

  get refusal(): "full" | "stopping" | undefined {
    if (this.#stopping) return "stopping";
    return this.#length >= this.#capacity ? "full" : undefined;
  }

  offer(row: Row): boolean {
    if (this.#stopping || this.#length >= this.#capacity) return false;
    row.state = "waiting";
    this.#rows.push(row);
    this.#length++;
    this.#onOffer();
    return true;
  }

  cancel(row: Row): boolean {
    if (row.state !== "waiting") return row.state !== "started";
    row.state = "cancelled";
    this.#length--;
    return true;
  }

  /** Takes out the oldest rows, at most so many. */
  take(most: number): Row[] {
    const taken: Row[] = [];
    while (taken.length < most && this.#head < this.#rows.length) {
      const row = this.#rows[this.#head++]!;
      if (row.state !== "waiting") continue;
      row.state = "started";
      taken.push(row);
    }
    this.#length -= taken.length;
    if (this.#head === this.#rows.length) {
      this.#rows = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#rows.length) {
      this.#rows = this.#rows.slice(this.#head);
      this.#head = 0;
    }
    return taken;
  }

  /** Refuses all that is offered from now on. */
  stop(): void {
    this.#stopping = true;
  }
}
