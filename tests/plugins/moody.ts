/**
 * Throws at every so many-th call, whatever it is given.
 *
 * @module
 */
import type { TransformPlugin } from "../../plugins/contract.ts";

const plugin: TransformPlugin<{ every: number }> = {
  kind: "transform",
  name: "moody",
  summary: "Throws now and then.",
  options: (v) => v.strictObject({ every: v.number() }),
  outputSchema: (_options, input) => input,
  requires: (_options, needed) => needed,
  create: ({ every }) => {
    let calls = 0;
    return {
      transform: (batch) => {
        if (++calls % every === 0) throw new Error("not in the mood");
        return batch;
      },
    };
  },
};
export default plugin;
