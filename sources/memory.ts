/**
 * The `memory` source: rows given in the options, and rows that code adds while the query runs. For
 * tests and examples. The rows are not kept on disk, so after a restart of the process only those in
 * the options are there again.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, pack, type Schema } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { JsonReader } from "../engine/json_reader.ts";
import { defineSource, type Json, type ReplayableSource } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { nearest } from "../plugins/nearest.ts";

const options = v.strictObject({
  schema: v.pipe(
    v.string(),
    v.nonEmpty(),
    v.description("Columns in DDL, such as `user string, age int`."),
  ),
  rows: v.pipe(
    v.optional(v.array(v.record(v.string(), v.unknown())), []),
    v.description(
      "Rows as JSON; a column that is left out is null. Timestamps are ISO 8601 text or seconds " +
        "since 1970, binary is base64 text.",
    ),
  ),
  name: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty())),
    v.description(
      "Name by which code adds more rows: `memoryStream(name).addData(...)`. Without one the source " +
        "ends after `rows`.",
    ),
  ),
});

/** Options of the `memory` source, checked and complete. */
export type MemorySourceOptions = v.InferOutput<typeof options>;

export default defineSource<MemorySourceOptions>({
  kind: "source",
  name: "memory",
  summary: "Rows from the options, or added by code while the query runs.",
  description: "Replayable while the process lives. Rows keep their order.",
  options,
  examples: [
    {
      title: "Two rows",
      options: {
        schema: "user string, age int",
        rows: [{ user: "ann", age: 30 }, { user: "bob" }],
      },
    },
    { title: "Rows added by code", options: { schema: "value string", name: "events" } },
  ],
  placement: "head",
  outputSchema: ({ schema, rows }) => {
    const parsed = parseDdl(schema);
    toBatch(parsed, rows);
    return parsed;
  },
  create: ({ schema, rows, name }) => {
    const parsed = parseDdl(schema);
    return new MemorySource(
      toBatch(parsed, rows),
      name === undefined ? undefined : memoryStream(name),
    );
  },
});

/** Rows for the `memory` source of a name; see {@linkcode memoryStream}. */
export class MemoryStream {
  readonly #rows: Readonly<Record<string, unknown>>[] = [];
  readonly #waiting = new Set<() => void>();
  #ended = false;

  /** Number of rows added so far. */
  get length(): number {
    return this.#rows.length;
  }

  /** Whether {@linkcode MemoryStream.end} was called. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Adds rows, each a value of its column's type a column (a `bigint` for int64); an absent one is null.
   * A value of another type fails the query that reads it.
   * @throws {TypeError} after the end
   */
  addData(...rows: readonly Readonly<Record<string, unknown>>[]): void {
    if (this.#ended) throw new TypeError("Cannot add rows: the stream has ended");
    this.#rows.push(...rows);
    this.#wake();
  }

  /** Says that no more rows come. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** The rows from one position up to but not including another. */
  slice(start: number, end: number): readonly Readonly<Record<string, unknown>>[] {
    return this.#rows.slice(start, end);
  }

  /** Resolves at the next change, or when the signal is aborted. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      if (signal.aborted) return wake();
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }
}

const streams = new Map<string, MemoryStream>();

/** The stream of a name, made when it is first asked for. */
export function memoryStream(name: string): MemoryStream {
  let stream = streams.get(name);
  if (stream === undefined) streams.set(name, stream = new MemoryStream());
  return stream;
}

/** Forgets a stream and its rows. */
export function dropMemoryStream(name: string): void {
  streams.delete(name);
}

/** Offsets are numbers of rows: those of the options first, then those of the stream. */
class MemorySource implements ReplayableSource {
  readonly #given: Batch;
  readonly #stream: MemoryStream | undefined;

  constructor(given: Batch, stream: MemoryStream | undefined) {
    this.#given = given;
    this.#stream = stream;
  }

  latestOffset(start: Json): number | null {
    // After a restart code has yet to add again what was there before.
    return Math.max((start ?? 0) as number, this.#length()) || null;
  }

  getBatch(start: Json, end: Json): Batch {
    const from = (start ?? 0) as number, to = end as number;
    if (to > this.#length()) {
      throw new RangeError(
        `Cannot read rows up to ${to}: there are ${this.#length()}; rows added by code are gone after a restart`,
      );
    }
    const { numRows, schema } = this.#given;
    const added = this.#stream?.slice(Math.max(0, from - numRows), Math.max(0, to - numRows)) ?? [];
    const given = this.#given.slice(from, Math.min(to, numRows));
    return added.length === 0 ? given : Batch.concat([given, Batch.fromRows(schema, [...added])]);
  }

  commit(): void {}

  async waitForMore(after: Json, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.#length() <= ((after ?? 0) as number) && !this.ended()) {
      await this.#stream!.changed(signal);
    }
  }

  ended(): boolean {
    return this.#stream?.ended ?? true;
  }

  close(): void {}

  #length(): number {
    return this.#given.numRows + (this.#stream?.length ?? 0);
  }
}

function parseDdl(schema: string): Schema {
  try {
    return parseSchema(schema);
  } catch (error) {
    throw error instanceof PlanError ? error.within("schema") : error;
  }
}

function toBatch(schema: Schema, rows: MemorySourceOptions["rows"]): Batch {
  const reader = new JsonReader(schema, "given");
  const columns: unknown[][] = schema.fields.map(() => []);
  for (const [position, row] of rows.entries()) {
    const unknown = Object.keys(row).find((name) => !schema.has(name));
    const wrong = unknown === undefined
      ? reader.readRow(row, columns, position)
      : `unknown column "${unknown}"; ${nearest(unknown, schema.names)}`;
    if (wrong !== undefined) {
      throw new PlanError(`Cannot read row ${position}: ${wrong}`, { path: ["rows", position] });
    }
  }
  const packed = schema.fields.map(({ type }, position) => pack(type, columns[position]!));
  return new Batch(schema, packed, rows.length);
}
