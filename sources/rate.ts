/**
 * The `rate` source: numbered rows at a steady pace. For tests and load. It is Spark's source of this
 * name, with `numRows` besides.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, Schema } from "../engine/batch.ts";
import { sleep } from "../engine/sleep.ts";
import { defineSource, type Json, type ReplayableSource } from "../plugins/contract.ts";

const options = v.strictObject({
  rowsPerSecond: v.pipe(
    v.optional(v.pipe(v.number(), v.minValue(0.001), v.maxValue(1e9)), 1),
    v.description("Rows a second."),
  ),
  numRows: v.pipe(
    v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
    v.description("Rows after which the source ends. Default: it never does."),
  ),
});

/** Options of the `rate` source, checked and complete. */
export type RateSourceOptions = v.InferOutput<typeof options>;

const SCHEMA = new Schema([
  { name: "timestamp", type: "timestamp", nullable: false },
  { name: "value", type: "int64", nullable: false },
]);

/** Shortest wait for the next rows, in ms: a batch a row would cost more than it is worth. */
const MIN_WAIT_MS = 10;
/** Longest wait, in ms: the clock may be set meanwhile. */
const MAX_WAIT_MS = 60_000;

export default defineSource<RateSourceOptions>({
  kind: "source",
  name: "rate",
  summary: "Numbered rows at a steady pace.",
  description: [
    "Columns: `timestamp`, when the row was due, and `value`, int64, counted from 0.",
    "",
    "Replayable: with a checkpoint the count goes on after a restart, and makes up for the time between.",
  ].join("\n"),
  options,
  examples: [
    { title: "Ten rows a second", options: { rowsPerSecond: 10 } },
    { title: "A thousand rows, then the end", options: { rowsPerSecond: 500, numRows: 1000 } },
  ],
  placement: "head",
  outputSchema: () => SCHEMA,
  create: (options) => new RateSource(options),
});

/** When the count began, ms since 1970, and how many rows there are. */
interface RateOffset {
  readonly start: number;
  readonly rows: number;
}

class RateSource implements ReplayableSource {
  readonly #options: RateSourceOptions;
  #start: number | undefined;

  constructor(options: RateSourceOptions) {
    this.#options = options;
  }

  latestOffset(after: Json): Json {
    const { start, rows: seen } = after as RateOffset | null ?? { start: Date.now(), rows: 0 };
    this.#start ??= start;
    // A clock that was set back must not take rows back.
    const rows = Math.max(seen, this.#due(Date.now()));
    return rows === 0 ? null : { start: this.#start, rows };
  }

  getBatch(start: Json, end: Json): Batch {
    const from = (start as RateOffset | null)?.rows ?? 0;
    const { start: began, rows } = end as unknown as RateOffset;
    const length = Math.max(0, rows - from);
    const msPerRow = 1000 / this.#options.rowsPerSecond;
    return new Batch(SCHEMA, [
      Float64Array.from({ length }, (_, at) => began + (from + at) * msPerRow),
      BigInt64Array.from({ length }, (_, at) => BigInt(from + at)),
    ], length);
  }

  commit(): void {}

  async waitForMore(after: Json, signal: AbortSignal): Promise<void> {
    const { start, rows } = after as RateOffset | null ?? { start: this.#start, rows: 0 };
    const due = (start ?? Date.now()) + (rows + 1) * 1000 / this.#options.rowsPerSecond;
    const wait = Math.min(MAX_WAIT_MS, Math.max(MIN_WAIT_MS, due - Date.now()));
    await sleep(wait, signal);
  }

  ended(): boolean {
    const { numRows } = this.#options;
    return numRows === 0 ||
      numRows !== undefined && this.#start !== undefined && this.#due(Date.now()) >= numRows;
  }

  close(): void {}

  #due(now: number): number {
    const { rowsPerSecond, numRows = Infinity } = this.#options;
    return Math.min(numRows, Math.max(0, Math.floor((now - this.#start!) * rowsPerSecond / 1000)));
  }
}
