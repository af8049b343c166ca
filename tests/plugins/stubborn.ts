/**
 * Starts, or does not, as its options say for each start: for tests of workers that do not come up.
 *
 * @module
 */
import type { TransformPlugin } from "../../plugins/contract.ts";

/** What a start can come to. */
type Start = "ok" | "throw" | "exit" | "hang" | "wait";

const plugin: TransformPlugin<{ log: string; starts: Start[] }> = {
  kind: "transform",
  name: "stubborn",
  summary: "Starts, or does not; exits at the body `exit`.",
  options: (v) =>
    v.strictObject({
      log: v.pipe(v.string(), v.description("A file; it grows by a byte with each start.")),
      starts: v.pipe(
        v.array(v.picklist(["ok", "throw", "exit", "hang", "wait"])),
        v.description(
          "What the starts come to, one after another; the last says for all after it.",
        ),
      ),
    }),
  outputSchema: (_options, input) => input,
  requires: (_options, needed) => needed === "all" ? "all" : new Set([...needed, "value"]),
  create: ({ log, starts }) => {
    const count = Deno.statSync(log).size;
    Deno.writeTextFileSync(log, ".", { append: true });
    return {
      warmUp: async () => {
        switch (starts[Math.min(count, starts.length - 1)]) {
          case "throw":
            throw new Error("no model");
          case "exit":
            Deno.exit(3);
            break;
          case "hang":
            for (;;);
          case "wait":
            await new Promise(() => {});
        }
      },
      transform: (batch) => {
        if (Array.from(batch.column("value")).includes("exit")) Deno.exit(5);
        return batch;
      },
    };
  },
};
export default plugin;
