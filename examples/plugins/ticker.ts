/**
 * A source of ticks at the full multiples of an interval: with `everyMs: 60000`, on the minute.
 *
 * It is replayable, because tick and time follow from each other: asked again for the same offsets, also
 * after a restart, it gives the same rows. Ticks that came due while nothing ran are made up for.
 *
 * It needs nothing of Millrace at run time; what is imported here are types, and these vanish.
 *
 * @module
 */
import type { ReplayableSource, SourcePlugin } from "@millrace/millrace";

interface TickerOptions {
  readonly everyMs: number;
  readonly count?: number | undefined;
}

/** Ticks are counted from 1970. Plain data, since the engine keeps it in the checkpoint. */
interface TickOffset {
  /** The first tick of this query. */
  readonly first: number;
  /** The tick after the last one that has come due. */
  readonly next: number;
}

const plugin: SourcePlugin<TickerOptions> = {
  kind: "source",
  name: "ticker",
  summary: "A row at every full multiple of an interval.",
  description: "Columns: `n`, counted from 0, and `due`, the time of the tick. Replayable.",
  options: (v) =>
    v.strictObject({
      everyMs: v.pipe(
        v.optional(v.pipe(v.number(), v.integer(), v.minValue(1)), 1000),
        v.description("Milliseconds from one tick to the next."),
      ),
      count: v.pipe(
        v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
        v.description("Ticks after which the source ends. Default: it never does."),
      ),
    }),
  examples: [
    { title: "On the minute", options: { everyMs: 60_000 } },
    { title: "Five ticks a second, ten in all", options: { everyMs: 200, count: 10 } },
  ],
  outputSchema: (_options, { Schema }) =>
    new Schema([
      { name: "n", type: "int32", nullable: false },
      { name: "due", type: "timestamp", nullable: false },
    ]),
  create: ({ everyMs, count = Infinity }, { Batch, Schema }): ReplayableSource => {
    const schema = new Schema([
      { name: "n", type: "int32", nullable: false },
      { name: "due", type: "timestamp", nullable: false },
    ]);
    let first: number | undefined;
    const nextTick = () => Math.floor(Date.now() / everyMs) + 1;
    return {
      latestOffset: (start) => {
        const last = start as unknown as TickOffset | null;
        // The first offset fixes where the count begins; every later one carries it on.
        first ??= last?.first ?? nextTick();
        const next = Math.min(nextTick(), first + count);
        // A clock that was set back must not take ticks back.
        return next <= (last?.next ?? first) ? start : { first, next };
      },
      getBatch: (start, end) => {
        const { first, next } = end as unknown as TickOffset;
        const from = (start as unknown as TickOffset | null)?.next ?? first;
        const length = next - from;
        return new Batch(schema, [
          Int32Array.from({ length }, (_, at) => from + at - first),
          Float64Array.from({ length }, (_, at) => (from + at) * everyMs),
        ], length);
      },
      // Nothing is held back for a batch that may be asked for again, so there is nothing to let go.
      commit: () => {},
      waitForMore: (_after, signal) => wait(everyMs - Date.now() % everyMs, signal),
      ended: () => first !== undefined && nextTick() >= first + count,
      close: () => {},
    };
  },
};
export default plugin;

/** Resolves after some time, or when the signal is aborted: nobody waits for a query that stops. */
function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
