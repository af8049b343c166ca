/**
 * Holds batches up until the test lets them through; see `../gate.ts`.
 *
 * @module
 */
import type { TransformPlugin } from "../../plugins/contract.ts";

const plugin: TransformPlugin<{ url: string }> = {
  kind: "transform",
  name: "gate",
  summary: "Holds batches up until they may pass.",
  options: (v) => v.strictObject({ url: v.string() }),
  outputSchema: (_options, input) => input,
  requires: (_options, needed) => needed === "all" ? "all" : new Set([...needed, "value"]),
  create: ({ url }) => ({
    transform: async (batch) => {
      const body = JSON.stringify(batch.column("value"));
      await (await fetch(url, { method: "POST", body })).text();
      return batch;
    },
  }),
};
export default plugin;
