/**
 * The transforms of a plan at work in one isolate: a batch goes in, and for each of its rows comes out
 * either a place in the output batch, an early reply, or a failure.
 *
 * @module
 */
import type { Json, Reply, Transform } from "../plugins/contract.ts";
import { Batch, sameType, type Schema } from "./batch.ts";

/** A transform with its name and what it declared. */
export interface Stage {
  readonly name: string;
  readonly transform: Transform;
  /** What its batches must look like; undefined when only the data can tell. */
  readonly schema: Schema | undefined;
}

/** A row that failed: its caller gets `status` and `message`. */
export interface RowFailure {
  readonly id: string;
  readonly status: number;
  readonly message: string;
}

/** What became of a batch. */
export interface Outcome {
  readonly batch: Batch;
  readonly failures: readonly RowFailure[];
}

/** Limits of {@linkcode Pipeline}. */
export interface PipelineOptions {
  /** After so many ms the search for guilty rows ends, and all that is left of the batch fails. */
  readonly isolationMs: number;
}

/** Runs batches through stages, one batch at a time. */
export class Pipeline {
  readonly #stages: readonly Stage[];
  readonly #options: PipelineOptions;

  constructor(stages: readonly Stage[], options: PipelineOptions) {
    this.#stages = stages;
    this.#options = options;
  }

  /** Warms up every stage, in order. */
  async warmUp(): Promise<void> {
    for (const { transform } of this.#stages) await transform.warmUp?.();
  }

  /** Closes every stage, also when one fails to; the first failure is thrown at the end. */
  async close(): Promise<void> {
    const errors: unknown[] = [];
    for (const { transform } of this.#stages) {
      try {
        await transform.close?.();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  /** The state of the stages that have one, by position. */
  async snapshot(): Promise<Map<number, Json | Uint8Array>> {
    const states = new Map<number, Json | Uint8Array>();
    for (const [position, { transform }] of this.#stages.entries()) {
      if (transform.snapshot) states.set(position, await transform.snapshot());
    }
    return states;
  }

  /**
   * Runs a batch. It returns at once, without a promise, when every stage does.
   *
   * When a stage throws and the rows have ids, the batch is split at that stage until the guilty rows
   * stand alone; the others go on. Without ids the error is thrown on.
   */
  run(batch: Batch): Outcome | Promise<Outcome> {
    return this.#from(0, batch, []);
  }

  #from(
    position: number,
    batch: Batch,
    failures: readonly RowFailure[],
  ): Outcome | Promise<Outcome> {
    for (let at = position; at < this.#stages.length; at++) {
      const stage = this.#stages[at]!;
      let output: Batch | Promise<Batch>;
      try {
        output = stage.transform.transform(batch);
        if (!(output instanceof Promise)) output = checkOutput(stage, batch, output);
      } catch (error) {
        output = Promise.reject(error);
      }
      if (output instanceof Promise) return this.#resume(at, batch, output, failures);
      batch = output;
    }
    return { batch, failures };
  }

  /** The slow path: a stage that is asynchronous or has thrown. */
  async #resume(
    position: number,
    input: Batch,
    pending: Promise<Batch>,
    failures: readonly RowFailure[],
  ): Promise<Outcome> {
    const stage = this.#stages[position]!;
    const deadline = performance.now() + this.#options.isolationMs;
    let output: Batch;
    try {
      output = await patiently(stage, input, pending, deadline);
    } catch (error) {
      if (isFatal(error) || !input.schema.has("id")) throw named(stage, error);
      const isolation = new Isolation(stage, deadline);
      // Rows of a larger batch get more than one chance while it is split; so does a lone one.
      if (input.numRows === 1 && !isSignal(error)) await isolation.retry(input);
      else await isolation.take(input, error);
      if (isolation.kept.length === 0) {
        return {
          batch: Batch.empty(input.schema.select(["id"])),
          failures: [...failures, ...isolation.failures],
        };
      }
      output = Batch.concat(isolation.kept);
      failures = [...failures, ...isolation.failures];
    }
    return await this.#from(position + 1, output, failures);
  }
}

/** Finds the rows of a batch that make a stage throw. */
class Isolation {
  readonly kept: Batch[] = [];
  readonly failures: RowFailure[] = [];
  readonly #stage: Stage;
  readonly #deadline: number;

  constructor(stage: Stage, deadline: number) {
    this.#stage = stage;
    this.#deadline = deadline;
  }

  /** Divides a batch that has thrown into rows kept and rows failed, order kept. */
  async take(batch: Batch, error: unknown): Promise<void> {
    if (isFatal(error)) throw named(this.#stage, error);
    const guilty = guiltyRows(error, batch.numRows);
    if (guilty !== undefined) {
      for (const [row, cause] of guilty) this.#fail(batch, row, cause);
      const rest = batch.filter(
        Array.from({ length: batch.numRows }, (_, row) => !guilty.has(row)),
      );
      if (rest.numRows > 0) await this.retry(rest);
      return;
    }
    if (batch.numRows <= 1 || pauseOf(error) !== undefined || performance.now() > this.#deadline) {
      for (let row = 0; row < batch.numRows; row++) this.#fail(batch, row, error);
      return;
    }
    const middle = batch.numRows >> 1;
    await this.retry(batch.slice(0, middle));
    await this.retry(batch.slice(middle));
  }

  /** Runs a batch again, or parts of it, if it throws again. */
  async retry(batch: Batch): Promise<void> {
    let output: Batch;
    try {
      output = checkOutput(this.#stage, batch, await this.#stage.transform.transform(batch));
    } catch (error) {
      await this.take(batch, error);
      return;
    }
    this.kept.push(output);
  }

  #fail(batch: Batch, row: number, error: unknown): void {
    this.failures.push({
      id: batch.column("id")[row] as string,
      status: statusOf(error),
      message: named(this.#stage, error).message,
    });
  }
}

/** The output of a stage, tried again for as long as it asks for patience and there is time. */
async function patiently(
  stage: Stage,
  input: Batch,
  pending: Promise<Batch>,
  deadline: number,
): Promise<Batch> {
  for (let attempt = 0;; attempt++) {
    try {
      return checkOutput(stage, input, await pending);
    } catch (error) {
      const pause = pauseOf(error, attempt);
      if (pause === undefined || performance.now() + pause > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
      pending = (async () => await stage.transform.transform(input))();
    }
  }
}

/** How many ms an error asks to wait before the next attempt; undefined when it is no such signal. */
export function pauseOf(error: unknown, attempt: number = 0): number | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error.name === "NotConnected") return Math.min(50 * 2 ** attempt, 5_000);
  if (error.name !== "RetryAfter") return undefined;
  const { milliseconds } = error as { milliseconds?: unknown };
  return typeof milliseconds === "number" && milliseconds >= 0 ? milliseconds : 1_000;
}

/**
 * Holds a stage to its word.
 * @throws {TypeError} naming the stage and what is wrong with its output
 */
function checkOutput(stage: Stage, input: Batch, output: unknown): Batch {
  if (!(output instanceof Batch)) {
    throw new TypeError(`returned ${describe(output)}: wanted a Batch`);
  }
  const given = input.schema.find("id"), kept = output.schema.find("id");
  if (given !== undefined && (kept === undefined || !sameType(given.type, kept.type))) {
    const what = kept === undefined ? "lost" : "changed the type of";
    throw new TypeError(`${what} the column "id": wanted it kept, since replies are routed by it`);
  }
  if (stage.schema !== undefined && !output.schema.equals(stage.schema)) {
    throw new TypeError(`returned columns (${output.schema}): it declared (${stage.schema})`);
  }
  return output;
}

/** The failed rows that an error names, or undefined when it names none (or none that exist). */
function guiltyRows(error: unknown, numRows: number): ReadonlyMap<number, unknown> | undefined {
  if (!(error instanceof Error) || error.name !== "BatchError") return undefined;
  const { rows } = error as { rows?: unknown };
  if (!(rows instanceof Map) || rows.size === 0) return undefined;
  for (const row of rows.keys()) {
    if (!(Number.isInteger(row) && row >= 0 && row < numRows)) return undefined;
  }
  return rows;
}

/** Errors that say themselves what is to be done. */
function isSignal(error: unknown): boolean {
  return isFatal(error) || pauseOf(error) !== undefined ||
    error instanceof Error && error.name === "BatchError";
}

/** Errors that no splitting can help with. */
function isFatal(error: unknown): boolean {
  return error instanceof Error && error.name === "Permanent";
}

function statusOf(error: unknown): number {
  if (pauseOf(error) !== undefined) return 503;
  const status = error instanceof Error && error.name === "RowError"
    ? (error as { status?: unknown }).status
    : undefined;
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599
    ? status as number
    : 500;
}

/** The error with the stage's name before its message; a caller's fault is told as it is. */
function named(stage: Stage, error: unknown): Error {
  if (!(error instanceof Error)) {
    const what = typeof error === "string" ? JSON.stringify(error) : describe(error);
    return new Error(`${stage.name}: threw ${what}`);
  }
  if (error.name === "RowError") return error;
  const prefixed = new Error(`${stage.name}: ${error.message}`, { cause: error });
  prefixed.name = error.name;
  return prefixed;
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "an Array";
  return typeof value === "object" ? `a ${value.constructor?.name ?? "object"}` : typeof value;
}

/** Early replies of a batch, gathered from the transforms of its isolate. */
export class EarlyReplies {
  #replies: [id: string, reply: Reply][] = [];

  readonly add = (id: string, reply: Reply): void => {
    this.#replies.push([id, reply]);
  };

  /** All since the last call. */
  drain(): readonly [id: string, reply: Reply][] | undefined {
    if (this.#replies.length === 0) return undefined;
    const replies = this.#replies;
    this.#replies = [];
    return replies;
  }
}
