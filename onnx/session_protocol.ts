/**
 * What goes to the worker of a session, and what comes from it.
 *
 * Elements travel as whole buffers: Deno's `node:worker_threads` looks at each element of a typed array
 * in a message, which takes longer than many a model.
 *
 * @module
 */
import { type Elements, elementsIn, type ElementType } from "./element.ts";
import type { SessionOptions, Tensors } from "./session.ts";

/** A tensor on its way. */
export interface WireTensor {
  readonly type: ElementType;
  readonly data: ArrayBuffer | string[];
  readonly dims: readonly number[];
}

/** Named tensors on their way. */
export type WireTensors = Readonly<Record<string, WireTensor>>;

/** To the worker. The first message is `open`; they are answered in order. */
export type ToSession =
  | { readonly type: "open"; readonly options: WireSessionOptions }
  | { readonly type: "run"; readonly feeds: WireTensors; readonly fetches: readonly string[] };

/** The options with the model's bytes as a buffer. */
export type WireSessionOptions = Omit<SessionOptions, "bytes"> & {
  readonly bytes: ArrayBuffer | undefined;
};

/** From the worker: one answer to each message. */
export type FromSession =
  | { readonly type: "opened" }
  | { readonly type: "outputs"; readonly outputs: WireTensors; readonly ms: number }
  | {
    readonly type: "failed";
    readonly message: string;
    /** Whether nothing more is to be expected of the worker. */
    readonly isBroken: boolean;
  };

/** Tensors for a message. Move the buffers with it: those that had more in them were copied. */
export function toWire(tensors: Tensors): { wire: WireTensors; buffers: ArrayBuffer[] } {
  const wire: Record<string, WireTensor> = {}, buffers = new Set<ArrayBuffer>();
  for (const [name, { type, data, dims }] of Object.entries(tensors)) {
    const content = Array.isArray(data) ? data : wholeBuffer(data);
    wire[name] = { type, data: content, dims };
    if (!Array.isArray(content)) buffers.add(content);
  }
  return { wire, buffers: [...buffers] };
}

/** The tensors of a message. */
export function fromWire(wire: WireTensors): Tensors {
  const tensors: Record<string, Tensors[string]> = {};
  for (const [name, { type, data, dims }] of Object.entries(wire)) {
    const content: Elements = Array.isArray(data)
      ? data
      : elementsIn(type as Exclude<ElementType, "string">, data);
    tensors[name] = { type, data: content, dims };
  }
  return tensors;
}

/** The buffer of a view that has nothing else in it. */
export function wholeBuffer(view: ArrayBufferView): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = view;
  return buffer instanceof ArrayBuffer && byteLength === buffer.byteLength
    ? buffer
    : new Uint8Array(buffer, byteOffset, byteLength).slice().buffer;
}
