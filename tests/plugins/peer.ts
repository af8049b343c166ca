/**
 * Answers with who answers: `<peer> <process id>`; bodies tell it to log, to print, or to break.
 *
 * @module
 */
import type { TransformPlugin } from "../../plugins/contract.ts";

const plugin: TransformPlugin<{ failingPeer?: number | undefined }> = {
  kind: "transform",
  name: "peer",
  summary: "Answers with who answers.",
  options: (v) => v.strictObject({ failingPeer: v.optional(v.number()) }),
  outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
  requires: (_options, needed) => needed === "all" ? "all" : new Set([...needed, "value"]),
  create: ({ failingPeer }, { logger, peer }) => {
    if (peer === failingPeer) throw new Error(`peer ${peer} was told to fail`);
    return {
      transform: (batch) => {
        for (const value of batch.column("value") as string[]) {
          if (value === "log") logger.warn("A line {of} the log", { answer: 42 });
          if (value === "print") console.log("A printed line");
          if (value === "complain") console.error("A complaint");
        }
        return batch.withColumn(
          "reply",
          "string",
          Array(batch.numRows).fill(`${peer} ${Deno.pid}`),
        );
      },
    };
  },
};
export default plugin;
