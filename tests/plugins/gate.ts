/**
 * Holds batches up until the test opens the gate; see `../gate.ts`.
 *
 * @module
 */
import type { TransformPlugin } from "../../plugins/contract.ts";
import type { GateMessage } from "../gate.ts";

const plugin: TransformPlugin<{ channel: string }> = {
  kind: "transform",
  name: "gate",
  summary: "Holds batches up until it is opened.",
  options: (v) => v.strictObject({ channel: v.string() }),
  outputSchema: (_options, input) => input,
  requires: (_options, needed) => needed === "all" ? "all" : new Set([...needed, "value"]),
  create: ({ channel: name }) => {
    const channel = new BroadcastChannel(name);
    let mayPass = 0;
    let waiting: (() => void) | undefined;
    channel.onmessage = ({ data }: MessageEvent<GateMessage>) => {
      if (!("pass" in data)) return;
      mayPass += data.pass;
      waiting?.();
    };
    return {
      transform: async (batch) => {
        const arrived = [...batch.column("value")] as string[];
        channel.postMessage({ arrived } satisfies GateMessage);
        while (mayPass === 0) await new Promise<void>((resolve) => waiting = resolve);
        mayPass--;
        return batch;
      },
      close: () => channel.close(),
    };
  },
};
export default plugin;
