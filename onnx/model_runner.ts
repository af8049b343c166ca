/**
 * Runs a model over batches: rows of one shape go together, as many at a time as pay.
 *
 * @module
 */
import { Batch, type ColumnData, pack } from "../engine/batch.ts";
import type { PluginMetrics } from "../plugins/contract.ts";
import { BatchError, RowError } from "../plugins/errors.ts";
import { BatchSize } from "./batch_size.ts";
import type { Binding, BoundInput } from "./binding.ts";
import { type Elements, elements, type ElementType, sizeOf, type TensorData } from "./element.ts";
import { toFloat16 } from "./float16.ts";
import { columnElements, valueOf } from "./from_tensor.ts";
import { argMax, softMax } from "./scores.ts";
import type { ModelSession, Tensors } from "./session.ts";
import { columnText, type RowTensor } from "./to_tensor.ts";

/** How rows are put together. */
export interface RunnerOptions {
  readonly isBatched: boolean;
  /** Rows in a run; `auto`: learned. */
  readonly miniBatchSize: number | "auto";
  /** Most rows in a run, where the size is learned. */
  readonly maxBatchSize: number;
  /** What fills up rows that are shorter than others of their run; undefined: only equal ones go together. */
  readonly pad: number | undefined;
}

/** The elements of a row for each input, in the order of the inputs. */
type Row = readonly RowTensor[];

/** Rows that can go together. */
interface Group {
  readonly rows: number[];
  readonly learner: BatchSize;
}

/** Runs that are under way at once: while one is at work, the next one waits in the worker. */
const MOST_RUNNING = 2;

/** A model at work on batches of one schema. */
export class ModelRunner {
  readonly #session: ModelSession;
  readonly #binding: Binding;
  readonly #options: RunnerOptions;
  readonly #metrics: PluginMetrics;
  readonly #learners: Learners;
  readonly #fetches: readonly string[];
  /** Whether all rows have one shape, so that there is but one group. */
  readonly #isUniform: boolean;
  /** Elements of a row, where all have one shape. */
  readonly #uniformSize: number;
  readonly #named: NamedAxes;

  constructor(
    session: ModelSession,
    binding: Binding,
    options: RunnerOptions,
    learners: Learners,
    metrics: PluginMetrics,
  ) {
    this.#session = session;
    this.#binding = binding;
    this.#options = options;
    this.#learners = learners;
    this.#metrics = metrics;
    this.#fetches = [...new Set(binding.outputs.map(({ spec }) => spec.name))];
    this.#isUniform = binding.inputs.every(({ reader, isShared }) =>
      !isShared && reader.shape.every((length) => typeof length === "number")
    );
    this.#uniformSize = this.#isUniform
      ? binding.inputs.reduce((sum, { reader }) => sum + sizeOf(reader.shape as number[]), 0)
      : 0;
    this.#named = namedAxes(binding.inputs);
  }

  /**
   * The batch with the model's columns.
   * @throws {BatchError} naming the rows whose values do not fit
   */
  async run(batch: Batch): Promise<Batch> {
    const { outputs, derived, schema } = this.#binding;
    const rows = new RowReader(this.#binding.inputs, this.#named, batch);
    const made = outputs.map(() => new Array<unknown>(batch.numRows));
    for (const group of this.#group(rows)) await this.#runGroup(group, rows, made);
    rows.check();
    const columns: ColumnData[] = batch.schema.fields.map((_, at) => batch.columnAt(at));
    const byName = new Map(outputs.map(({ column }, at) => [column, made[at]!]));
    for (const [at, { type }] of outputs.entries()) columns.push(pack(type, made[at]!));
    for (const { by, from, type } of derived) {
      const scores = byName.get(from) as ArrayLike<number>[];
      columns.push(pack(type, by === "softMax" ? scores.map(softMax) : scores.map(argMax)));
    }
    return new Batch(schema, columns, batch.numRows);
  }

  /** Runs so many rows once, all of them alike, and returns how long the model took in ms. */
  async time(row: Row, numRows: number): Promise<number> {
    const feeds = this.#feeds(new Array<Row>(numRows).fill(row));
    return (await this.#session.run(feeds, this.#fetches)).ms;
  }

  /** Most rows that may go into a run. */
  get mostRows(): number {
    const { miniBatchSize, maxBatchSize } = this.#options;
    return this.#binding.fixedRows ?? (miniBatchSize === "auto" ? maxBatchSize : miniBatchSize);
  }

  /** Whether the number of rows in a run is learned. */
  get isLearning(): boolean {
    return this.#options.miniBatchSize === "auto" && this.#binding.fixedRows === undefined;
  }

  #group(rows: RowReader): Iterable<Group> {
    if (rows.length === 0) return [];
    const all = Array.from({ length: rows.length }, (_, at) => at);
    // Rows of one known shape are read when it is their turn, while the model runs on those before them.
    if (this.#isUniform) return [{ rows: all, learner: this.#learnerOf(this.#uniformSize) }];
    for (const at of all) rows.read(at);
    rows.check();
    const { inputs } = this.#binding;
    const groups = new Map<string, Group>();
    for (const at of all) {
      const row = rows.read(at)!;
      const key = row.map(({ data, shape }, at) =>
        inputs[at]!.isShared
          ? `=${data[0]}`
          : this.#options.pad === undefined
          ? shape
          : shape.length
      ).join(";");
      const group = groups.get(key);
      if (group !== undefined) group.rows.push(at);
      else {
        const size = row.reduce((sum, { data }) => sum + data.length, 0);
        groups.set(key, { rows: [at], learner: this.#learnerOf(size) });
      }
    }
    return groups.values();
  }

  #learnerOf(elements: number): BatchSize {
    return this.#learners.of(elements, this.mostRows);
  }

  /** While the model runs, the tensors of the next run are made and sent. */
  async #runGroup(group: Group, rows: RowReader, made: unknown[][]): Promise<void> {
    const running: Promise<void>[] = [];
    for (let done = 0; done < group.rows.length;) {
      const left = group.rows.length - done;
      const size = this.isLearning ? group.learner.next(left) : this.mostRows;
      const positions = group.rows.slice(done, done + size);
      done += positions.length;
      const chunk = positions.map((at) => rows.read(at));
      if (rows.hasFailures) {
        for (const at of group.rows.slice(done)) rows.read(at);
        break;
      }
      const feeds = this.#feeds(chunk as Row[]);
      if (running.length >= MOST_RUNNING) await running.shift();
      const run = this.#runOnce(feeds, positions, group.learner, made);
      // Those after one that fails are not waited for.
      run.catch(() => {});
      running.push(run);
    }
    for (const run of running) await run;
  }

  async #runOnce(
    feeds: Tensors,
    positions: readonly number[],
    learner: BatchSize,
    made: unknown[][],
  ): Promise<void> {
    const { outputs, ms } = await this.#session.run(feeds, this.#fetches);
    learner.record(positions.length, ms);
    this.#metrics.add("modelRuns", 1);
    this.#metrics.add("modelRows", positions.length);
    this.#metrics.add("modelMs", ms);
    for (const [at, output] of this.#binding.outputs.entries()) {
      const { spec, column, type } = output;
      const tensor = outputs[spec.name]!;
      try {
        this.#take(tensor, positions, (data, start, shape, row) => {
          made[at]![row] = valueOf(type, data, start, shape);
        });
      } catch (error) {
        throw new Error(
          `Cannot make column "${column}" of output "${spec.name}": ${(error as Error).message}`,
          { cause: error },
        );
      }
    }
  }

  /** Hands out an output row by row. */
  #take(
    { type, data, dims }: TensorData,
    positions: readonly number[],
    put: (data: ArrayLike<unknown>, start: number, shape: readonly number[], row: number) => void,
  ): void {
    const values = columnElements(type, data);
    if (!this.#options.isBatched) return put(values, 0, dims, positions[0]!);
    const wanted = this.#binding.fixedRows ?? positions.length;
    if (dims[0] !== wanted) {
      throw new RangeError(
        `the model gave the shape [${
          dims.join(", ")
        }] for ${wanted} rows, wanted ${wanted} on the first ` +
          "axis; set batchAxis to none",
      );
    }
    const shape = dims.slice(1), size = sizeOf(shape);
    for (const [at, row] of positions.entries()) put(values, at * size, shape, row);
  }

  /** The tensors of a run. */
  #feeds(rows: readonly Row[]): Tensors {
    const feeds: Record<string, TensorData> = {};
    for (const [at, input] of this.#binding.inputs.entries()) {
      feeds[input.spec.name] = this.#feed(input, rows.map((row) => row[at]!));
    }
    return feeds;
  }

  #feed({ spec: { type }, isShared }: BoundInput, rows: readonly RowTensor[]): TensorData {
    const { isBatched, pad } = this.#options;
    const first = rows[0]!;
    if (isShared || !isBatched) {
      // The row itself stays as it is: it may be needed again when the run fails.
      return { type, data: first.data.slice() as Elements, dims: first.shape };
    }
    const numRows = this.#binding.fixedRows ?? rows.length;
    const shape = pad === undefined
      ? first.shape
      : first.shape.map((_, axis) => Math.max(...rows.map((row) => row.shape[axis]!)));
    const size = sizeOf(shape);
    const data = elements(type, numRows * size);
    if (pad !== undefined && pad !== 0) fillWith(type, data, pad);
    for (const [at, row] of rows.entries()) place(row, data, at * size, shape);
    return { type, data, dims: [numRows, ...shape] };
  }
}

/** Axes of different inputs that must have one length, by their common name. */
type NamedAxes = ReadonlyMap<string, readonly (readonly [input: number, axis: number])[]>;

/** Reads the rows of a batch, each once, and gathers those that do not fit. */
class RowReader {
  readonly length: number;
  readonly #inputs: readonly BoundInput[];
  readonly #named: NamedAxes;
  readonly #columns: readonly ColumnData[];
  readonly #batch: Batch;
  readonly #rows: (Row | undefined)[];
  readonly #failures = new Map<number, Error>();

  constructor(inputs: readonly BoundInput[], named: NamedAxes, batch: Batch) {
    this.length = batch.numRows;
    this.#inputs = inputs;
    this.#named = named;
    this.#batch = batch;
    this.#columns = inputs.map(({ column }) => batch.column(column));
    this.#rows = new Array(batch.numRows);
  }

  get hasFailures(): boolean {
    return this.#failures.size > 0;
  }

  /** @throws {BatchError} naming the rows read so far that do not fit */
  check(): void {
    if (this.hasFailures) throw new BatchError(this.#failures);
  }

  /** The elements of a row; undefined when it does not fit. */
  read(at: number): Row | undefined {
    return this.#failures.has(at) ? undefined : this.#rows[at] ??= this.#readNew(at);
  }

  #readNew(at: number): Row | undefined {
    const row: RowTensor[] = [];
    try {
      for (const [position, { reader }] of this.#inputs.entries()) {
        row.push(reader.read(this.#columns[position]![at]));
      }
      this.#checkNamed(row);
      return row;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const { column, spec } = this.#inputs[Math.min(row.length, this.#inputs.length - 1)]!;
      const { type } = this.#batch.schema.field(column);
      const place = `${columnText(column, type)} to input "${spec.name}"`;
      this.#failures.set(at, new RowError(`Cannot feed ${place}: ${error.message}`));
      return undefined;
    }
  }

  #checkNamed(row: Row): void {
    for (const [name, axes] of this.#named) {
      let first: number | undefined;
      for (const [input, axis] of axes) {
        const length = row[input]!.shape[axis]!;
        first ??= length;
        if (length !== first) {
          const other = this.#inputs[axes[0]![0]]!.spec.name;
          throw new RangeError(
            `its axis "${name}" has the length ${length}, and ${first} in input "${other}": wanted equal ones`,
          );
        }
      }
    }
  }
}

/** Learned sizes, by the number of elements of a row in powers of two. */
export class Learners {
  readonly #learners = new Map<number, BatchSize>();

  /** @param most rows in a run; always the same */
  of(elements: number, most: number): BatchSize {
    const key = Math.ceil(Math.log2(Math.max(elements, 1)));
    let learner = this.#learners.get(key);
    if (learner === undefined) this.#learners.set(key, learner = new BatchSize(most));
    return learner;
  }
}

/** Puts a row where it belongs, into a room that may be larger along any axis. */
function place(row: RowTensor, into: Elements, start: number, shape: readonly number[]): void {
  const target = into as unknown[];
  const { data } = row;
  if (row.data.length === sizeOf(shape)) {
    if (Array.isArray(into)) {
      for (let at = 0; at < data.length; at++) target[start + at] = data[at];
    } else (into as Float32Array).set(data as Float32Array, start);
    return;
  }
  const width = row.shape.at(-1)!;
  for (let from = 0; from < data.length; from += width) {
    let to = 0, rest = from / width, stride = shape.at(-1)!;
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      to += rest % row.shape[axis]! * stride;
      rest = Math.floor(rest / row.shape[axis]!);
      stride *= shape[axis]!;
    }
    for (let at = 0; at < width; at++) target[start + to + at] = data[from + at];
  }
}

function fillWith(type: ElementType, data: Elements, value: number): void {
  if (type === "string") return;
  if (type === "float16") (data as Uint16Array).fill(toFloat16(value));
  else if (type.endsWith("int64")) (data as BigInt64Array).fill(BigInt(Math.trunc(value)));
  else (data as Float32Array).fill(value);
}

/** Names that axes of several inputs share, the first axis left out where it counts rows. */
function namedAxes(inputs: readonly BoundInput[]): NamedAxes {
  const named = new Map<string, (readonly [number, number])[]>();
  for (const [input, { reader }] of inputs.entries()) {
    for (const [axis, length] of reader.shape.entries()) {
      if (typeof length !== "string" || length === "") continue;
      named.set(length, [...named.get(length) ?? [], [input, axis]]);
    }
  }
  for (const [name, axes] of named) if (axes.length < 2) named.delete(name);
  return named;
}
