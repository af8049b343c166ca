/**
 * What goes to the worker of a session, and what comes from it.
 *
 * @module
 */
import type { SessionOptions, Tensors } from "./session.ts";

/** To the worker. The first message is `open`; runs are answered in order. */
export type ToSession =
  | { readonly type: "open"; readonly options: SessionOptions }
  | { readonly type: "run"; readonly feeds: Tensors; readonly fetches: readonly string[] };

/** From the worker: one answer to each message. */
export type FromSession =
  | { readonly type: "opened" }
  | { readonly type: "outputs"; readonly outputs: Tensors }
  | {
    readonly type: "failed";
    readonly message: string;
    /** Whether nothing more is to be expected of the worker. */
    readonly isBroken: boolean;
  };

/** The buffers of tensors, each once, that can be moved in place of copied. */
export function transferable(tensors: Tensors): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const { data } of Object.values(tensors)) {
    if (
      ArrayBuffer.isView(data) && data.buffer instanceof ArrayBuffer &&
      data.byteLength === data.buffer.byteLength
    ) buffers.add(data.buffer);
  }
  return [...buffers];
}
