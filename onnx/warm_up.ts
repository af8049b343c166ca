/**
 * Runs a model before there is work for it, until it is as fast as it will be: the wasm runtime takes
 * several times as long until V8 has optimised it.
 *
 * @module
 */
import type { BoundInput } from "./binding.ts";
import { elements, sizeOf } from "./element.ts";
import type { ModelRunner } from "./model_runner.ts";
import type { BatchSize } from "./batch_size.ts";
import type { RowTensor } from "./to_tensor.ts";

/** How long it may take, and for how long runs are compared. */
export interface WarmUpOptions {
  /** At most so many ms; the run at hand is finished. */
  readonly maxMs: number;
  /** Runs of so many ms are compared with those before them. */
  readonly windowMs: number;
}

/** The length of axes of which nothing is known. */
export const UNKNOWN_LENGTH = 16;
/** Runs at least in a window. */
const WINDOW_RUNS = 3;
/** A window whose best run is not faster than this share of the best before shows that time has settled. */
const SETTLED = 0.9;

/**
 * A row of zeros, `false` and empty texts.
 * @param shapes of one row, by input; other lengths that are open are {@linkcode UNKNOWN_LENGTH}
 */
export function blankRow(
  inputs: readonly BoundInput[],
  shapes: Readonly<Record<string, readonly number[]>>,
): RowTensor[] {
  return inputs.map(({ spec, reader }) => {
    const given = shapes[spec.name];
    const shape = reader.shape.map((length, axis) =>
      typeof length === "number" ? length : given?.[axis] ?? UNKNOWN_LENGTH
    );
    return { data: elements(spec.type, sizeOf(shape)), shape };
  });
}

/**
 * Runs single rows until their time has settled, and then more rows at a time until it is known how many
 * pay.
 * @param learner undefined where the size is fixed
 * @returns ms that a run of one row takes at the end
 */
export async function warmUp(
  runner: ModelRunner,
  row: readonly RowTensor[],
  learner: BatchSize | undefined,
  { maxMs, windowMs }: WarmUpOptions,
): Promise<number> {
  const deadline = performance.now() + maxMs;
  let best = Infinity;
  for (let isSettled = false; !isSettled && performance.now() < deadline;) {
    const found = await fastestOf(runner, row, Math.min(performance.now() + windowMs, deadline));
    isSettled = found >= best * SETTLED;
    best = Math.min(best, found);
  }
  while (learner !== undefined && !learner.settled && performance.now() < deadline) {
    const size = learner.next(runner.mostRows);
    learner.record(size, await runner.time(row, size));
  }
  return best;
}

async function fastestOf(
  runner: ModelRunner,
  row: readonly RowTensor[],
  until: number,
): Promise<number> {
  let best = Infinity;
  for (let runs = 0; runs < WINDOW_RUNS || performance.now() < until; runs++) {
    best = Math.min(best, await runner.time(row, 1));
  }
  return best;
}
