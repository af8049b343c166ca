/**
 * The `memory` sink: rows stay in the process, for code to look at. All of them are kept until the
 * table is cleared, so it is for tests and small results.
 *
 * @module
 */
import * as v from "valibot";
import type { Batch } from "../engine/batch.ts";
import { defineSink } from "../plugins/contract.ts";

const options = v.strictObject({
  name: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty())),
    v.description("Name of the table: `memoryTable(name).rows()`. Default: the query's name."),
  ),
});

/** Options of the `memory` sink, checked and complete. */
export type MemorySinkOptions = v.InferOutput<typeof options>;

export default defineSink<MemorySinkOptions>({
  kind: "sink",
  name: "memory",
  summary: "Keeps the rows in the process, for code to look at.",
  description: "Idempotent: a batch that comes again takes the place of its first copy.",
  options,
  examples: [{ title: "Rows in the table `seen`", options: { name: "seen" } }],
  placement: "head",
  create: ({ name }, { service }) => {
    const table = memoryTable(name ?? service);
    return { addBatch: (batchId, batch) => table.put(batchId, batch) };
  },
});

/** The rows of a `memory` sink; see {@linkcode memoryTable}. */
export class MemoryTable {
  readonly #batches = new Map<number, Batch>();

  /** All rows, in the order of their batches. */
  rows(): Record<string, unknown>[] {
    return this.batches().flatMap((batch) => batch.rows());
  }

  /** All batches that have rows, in order. */
  batches(): Batch[] {
    return [...this.#batches].sort(([a], [b]) => a - b).map(([, batch]) => batch);
  }

  /** Number of rows. */
  get numRows(): number {
    return this.batches().reduce((sum, batch) => sum + batch.numRows, 0);
  }

  /** Puts a batch in, or in the place of an earlier one of its id. */
  put(batchId: number, batch: Batch): void {
    if (batch.numRows > 0) this.#batches.set(batchId, batch);
    else this.#batches.delete(batchId);
  }

  /** Forgets all rows. */
  clear(): void {
    this.#batches.clear();
  }
}

const tables = new Map<string, MemoryTable>();

/** The table of a name, made when it is first asked for. */
export function memoryTable(name: string): MemoryTable {
  let table = tables.get(name);
  if (table === undefined) tables.set(name, table = new MemoryTable());
  return table;
}

/** Forgets a table and its rows. */
export function dropMemoryTable(name: string): void {
  tables.delete(name);
}
