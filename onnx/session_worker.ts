/**
 * The worker of a session. Started by `worker_session.ts`; it is never imported.
 *
 * @module
 */
import { parentPort } from "node:worker_threads";
import { type ModelSession, openSession } from "./session.ts";
import { type FromSession, fromWire, type ToSession, toWire } from "./session_protocol.ts";

const port = parentPort!;
const post = (message: FromSession, moved: ArrayBuffer[] = []) => port.postMessage(message, moved);

let session: ModelSession | undefined;

/** The work at hand; the runtime is called once at a time. */
let tail: Promise<void> = Promise.resolve();

port.on("message", (message: ToSession) => {
  tail = tail.then(() => handle(message));
});

async function handle(message: ToSession): Promise<void> {
  try {
    if (message.type === "open") {
      const { bytes } = message.options;
      session = await openSession({
        ...message.options,
        bytes: bytes === undefined ? undefined : new Uint8Array(bytes),
      });
      return post({ type: "opened" });
    }
    const { outputs, ms } = await session!.run(fromWire(message.feeds), message.fetches);
    const { wire, buffers } = toWire(outputs);
    post({ type: "outputs", outputs: wire, ms }, buffers);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    // After a trap the memory of the wasm runtime may be in any state.
    post({ type: "failed", message: reason, isBroken: error instanceof WebAssembly.RuntimeError });
  }
}
