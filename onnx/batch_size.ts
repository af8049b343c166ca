/**
 * How many rows a run gets: learned from what a row costs at each size, so that a model whose batches do
 * not pay is not batched.
 *
 * @module
 */

/** What one more doubling of the size must save of the time per row to be worth its delay. */
const LEAST_GAIN = 0.03;
/** Weight of a new measurement; what disturbs a run makes it longer, never shorter. */
const WEIGHT = { shorter: 0.3, longer: 0.05 };
/** What a run costs besides the model's own time, in ms: two messages between workers. */
const CALL_MS = 0.1;
/** Measurements of a size before it is judged; the first, which prepares memory, does not count. */
const TRIALS = 3;
/** After so many runs a size next to the best one is tried again: machines get busier and idler. */
const REVISIT = 32;

/** Measurements of one size. */
interface Level {
  runs: number;
  /** Milliseconds a row, smoothed. */
  cost: number;
}

/** Learns the size of runs; sizes are powers of two up to the most, and the most itself. */
export class BatchSize {
  readonly #sizes: readonly number[];
  readonly #levels: Level[];
  #runs = 0;

  /** @param most rows in a run, 1 or more */
  constructor(most: number) {
    const sizes: number[] = [];
    for (let size = 1; size < most; size *= 2) sizes.push(size);
    this.#sizes = [...sizes, most];
    this.#levels = this.#sizes.map(() => ({ runs: 0, cost: Infinity }));
  }

  /** The best size by what is known. */
  get best(): number {
    return this.#sizes[this.#best()]!;
  }

  /** Whether enough is known of all sizes that matter. */
  get settled(): boolean {
    return this.#unknown() === undefined;
  }

  /**
   * The size of the next run.
   * @param waiting number of rows there are, 1 or more
   */
  next(waiting: number): number {
    this.#runs++;
    const trial = this.#unknown() ?? (this.#runs % REVISIT === 0 ? this.#neighbour() : undefined);
    const level = trial !== undefined && this.#sizes[trial]! <= waiting ? trial : this.#best();
    return Math.min(this.#sizes[level]!, waiting);
  }

  /**
   * Learns from a run.
   * @param milliseconds that the model took
   */
  record(size: number, milliseconds: number): void {
    const level = this.#levels[this.#sizes.indexOf(size)];
    // Runs of sizes between are remainders.
    if (level === undefined) return;
    level.runs++;
    if (level.runs === 1) return;
    const cost = (milliseconds + CALL_MS) / size;
    const weight = cost < level.cost ? WEIGHT.shorter : WEIGHT.longer;
    level.cost = level.runs === 2 ? cost : level.cost + weight * (cost - level.cost);
  }

  /** The smallest size that no doubling improves. */
  #best(): number {
    let best = 0;
    for (let level = 1; level < this.#levels.length; level++) {
      if (this.#levels[level]!.runs < TRIALS) break;
      if (this.#levels[level]!.cost < this.#levels[best]!.cost * (1 - LEAST_GAIN)) best = level;
    }
    return best;
  }

  /** The next size to measure: while doubling pays, the doubled one, and one further to be sure. */
  #unknown(): number | undefined {
    const first = this.#levels.findIndex(({ runs }) => runs < TRIALS);
    return first < 0 || first > this.#best() + 2 ? undefined : first;
  }

  /** A size beside the best, above and below in turn. */
  #neighbour(): number | undefined {
    const level = this.#best() + (this.#runs / REVISIT % 2 === 0 ? 1 : -1);
    return this.#levels[level] === undefined ? undefined : level;
  }
}
