/**
 * Numbers from 0, in batches whose sizes depend on nothing but where they start. It says what it is asked
 * for on stdout, so that a test can choose its moment, and waits before each batch for a byte on stdin,
 * so that it does not run away meanwhile; once stdin is closed it does not wait.
 *
 * @module
 */
import type { ReplayableSource, SourcePlugin } from "../../plugins/contract.ts";

interface NumbersOptions {
  /** How many there are. */
  readonly numRows: number;
}

const plugin: SourcePlugin<NumbersOptions> = {
  kind: "source",
  name: "numbers",
  summary: "Numbers from 0.",
  options: (v) => v.strictObject({ numRows: v.number() }),
  outputSchema: (_options, { Schema }) => new Schema([{ name: "n", type: "int32" }]),
  create: ({ numRows }, { Batch, Schema }): ReplayableSource => {
    let latest = 0;
    return {
      latestOffset: (start) => {
        Deno.stdin.readSync(new Uint8Array(1));
        const from = (start ?? 0) as number;
        latest = Math.min(numRows, from + 1 + from * 7 % 5);
        console.log(`latest ${latest}`);
        return latest;
      },
      getBatch: (start, end) => {
        const from = (start ?? 0) as number;
        console.log(`get ${from} ${end}`);
        const length = end as number - from;
        return new Batch(new Schema([{ name: "n", type: "int32" }]), [
          Int32Array.from({ length }, (_, at) => from + at),
        ]);
      },
      commit: (end) => console.log(`commit ${end}`),
      ended: () => latest === numRows,
      close: () => {},
    };
  },
};
export default plugin;
