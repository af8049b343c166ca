/**
 * Where a plan is cut into stages, and how rows are spread over the partitions between two of them.
 *
 * A stage before a cut ends with a {@linkcode Spread}: it writes down each row's destination in a column
 * of its own, {@linkcode DESTINATION}, as a part of the pipeline, so that a key that cannot be computed
 * costs its row alone. {@linkcode splitShares} then takes the batch apart.
 *
 * @module
 */
import type { Columns, Shuffle, Transform } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { importModule } from "../plugins/loader.ts";
import type { Registry } from "../plugins/registry.ts";
import { Batch, type ColumnData, Schema } from "./batch.ts";
import {
  bindExpression,
  type CompiledExpression,
  loadUdfs,
  type Udfs,
} from "./expressions/compile.ts";
import { referencedColumns } from "./expressions/parser.ts";
import { KeyHasher } from "./key_hash.ts";
import { perSchema } from "./per_schema.ts";
import type { Plan } from "./plan.ts";

/** The column of destinations; the name cannot be written in a plan. */
export const DESTINATION = "\0destination";

/** Rows of a batch that go to one partition. */
export interface Share {
  /** Position in the list of all partitions of all peers. */
  readonly destination: number;
  readonly batch: Batch;
}

/**
 * What each transform of a plan declares; undefined for those that take rows where they are.
 * @throws {PlanError} when a transform declares what cannot be
 */
export async function shufflesOf(
  plan: Pick<Plan, "transforms">,
  registry: Registry,
): Promise<readonly (Shuffle | undefined)[]> {
  const shuffles: (Shuffle | undefined)[] = [];
  for (const { name, options } of plan.transforms) {
    const plugin = await registry.resolve("transform", name);
    const shuffle = plugin.shuffle?.(registry.checkOptions(plugin, options));
    if (shuffle !== undefined) checkShuffle(name, shuffle);
    shuffles.push(shuffle);
  }
  return shuffles;
}

/** The columns that are needed where rows go, and those of the keys. */
export function withKeys({ keys }: Shuffle, needed: Columns): Columns {
  if (needed === "all") return "all";
  const columns = new Set(["id", ...needed]);
  for (const key of keys) {
    const read = referencedColumns(key);
    if (read === undefined) return "all";
    for (const name of read) columns.add(name);
  }
  return columns;
}

/** The columns that move with the rows, given those that are needed where they go; `id` does always. */
export function movedColumns(schema: Schema, needed: Columns): Schema {
  if (needed === "all") return schema;
  return schema.select(schema.names.filter((name) => name === "id" || needed.has(name)));
}

/** How many times a plan moves its rows between partitions: it has one stage more. */
export async function countShuffles(
  plan: Pick<Plan, "transforms">,
  registry: Registry,
): Promise<number> {
  const shuffles = await shufflesOf(plan, registry);
  return shuffles.filter((shuffle) => shuffle !== undefined).length;
}

/** What a {@linkcode Spread} needs to know. */
export interface SpreadOptions {
  readonly shuffle: Shuffle;
  /** Number of all partitions of all peers. */
  readonly destinations: number;
  /** Where to begin when rows are dealt out in turn, so that not all partitions begin with the same one. */
  readonly first: number;
  /** The columns that are needed at the destination. */
  readonly needed: Columns;
  /** The columns of the batches, as far as they are known. */
  readonly input: Schema | undefined;
  readonly baseUrl: string;
}

/** Writes down where each row goes. */
export class Spread implements Transform {
  readonly #destinations: number;
  readonly #hasher = new KeyHasher();
  readonly #preparedFor: (schema: Schema) => Prepared;
  #next: number;

  private constructor(
    { shuffle, destinations, first, needed, input }: SpreadOptions,
    udfs: Udfs,
  ) {
    this.#destinations = Math.min(shuffle.partitions ?? destinations, destinations);
    this.#next = first;
    this.#preparedFor = perSchema(input, (schema) => {
      const moved = movedColumns(schema, needed);
      return {
        keys: shuffle.keys.map((key) => bindExpression(key, schema, udfs)),
        kept: moved.names.map((name) => schema.indexOf(name)),
        output: moved.with({ name: DESTINATION, type: "int32", nullable: false }),
      };
    });
  }

  /** @throws {PlanError} when a key does not fit the columns */
  static async create(options: SpreadOptions): Promise<Spread> {
    const udfs = await loadUdfs([...options.shuffle.keys], importModule, options.baseUrl);
    return new Spread(options, udfs);
  }

  transform(batch: Batch): Batch {
    const destinations = new Int32Array(batch.numRows);
    const { keys, kept, output } = this.#preparedFor(batch.schema);
    if (keys.length === 0) {
      for (let row = 0; row < batch.numRows; row++) {
        destinations[row] = this.#next++ % this.#destinations;
      }
      this.#next %= this.#destinations;
    } else {
      const now = Date.now();
      const values = keys.map((key) => ({ type: key.type, data: key.evaluate(batch, now) }));
      const hashes = this.#hasher.hash(values, batch.numRows);
      for (let row = 0; row < batch.numRows; row++) {
        destinations[row] = hashes[row]! % this.#destinations;
      }
    }
    const columns = kept.map((position) => batch.columnAt(position));
    return new Batch(output, [...columns, destinations], batch.numRows);
  }
}

/** For batches of one schema. */
interface Prepared {
  readonly keys: readonly CompiledExpression[];
  /** Positions of the columns that are needed at the destination. */
  readonly kept: readonly number[];
  readonly output: Schema;
}

/**
 * Takes a batch apart by its destinations, rows in their order. Every row is in exactly one share; there
 * are no shares without rows.
 * @param places how many places there are for the destinations; they are dealt out to them in turn
 */
export function splitShares(batch: Batch, places: number = Infinity): readonly Share[] {
  if (batch.numRows === 0) return [];
  const destinations = batch.column(DESTINATION) as Int32Array;
  const rest = withoutDestinations(batch);
  const rows = new Map<number, number[]>();
  for (let row = 0; row < destinations.length; row++) {
    const destination = destinations[row]! % places;
    const mine = rows.get(destination);
    if (mine === undefined) rows.set(destination, [row]);
    else mine.push(row);
  }
  if (rows.size === 1) return [{ destination: destinations[0]! % places, batch: rest }];
  return Array.from(rows, ([destination, mine]) => ({ destination, batch: rest.take(mine) }));
}

/** The batch as the next stage gets it. */
export function withoutDestinations(batch: Batch): Batch {
  const position = batch.schema.indexOf(DESTINATION);
  if (position < 0) return batch;
  const columns: ColumnData[] = [];
  for (let at = 0; at < batch.schema.fields.length; at++) {
    if (at !== position) columns.push(batch.columnAt(at));
  }
  return new Batch(schemaWithout(batch.schema), columns, batch.numRows);
}

const schemasWithout = new WeakMap<Schema, Schema>();

/** One object for each schema, so that what is prepared for it need not be looked up. */
function schemaWithout(schema: Schema): Schema {
  let without = schemasWithout.get(schema);
  if (without === undefined) {
    without = new Schema(schema.fields.filter(({ name }) => name !== DESTINATION));
    schemasWithout.set(schema, without);
  }
  return without;
}

function checkShuffle(name: string, { keys, partitions }: Shuffle): void {
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === "string")) {
    throw new PlanError(
      `Cannot use transform "${name}": its shuffle gave keys that are none; wanted a list of SQL texts`,
    );
  }
  if (partitions !== undefined && !(Number.isSafeInteger(partitions) && partitions >= 1)) {
    throw new PlanError(
      `Cannot use transform "${name}": its shuffle gave ${partitions} partitions; wanted 1 or more`,
    );
  }
}
