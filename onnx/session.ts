/**
 * A loaded model that runs: one interface, two runtimes (`web_session.ts`, `native_session.ts`), in a
 * worker of its own (`worker_session.ts`).
 *
 * @module
 */
import type { TensorData } from "./element.ts";

/** Named tensors that go into a run or come out of it. */
export type Tensors = Readonly<Record<string, TensorData>>;

/** What came of a run. */
export interface RunResult {
  readonly outputs: Tensors;
  /** How long the model took. */
  readonly ms: number;
}

/** The runtimes by name. */
export type RuntimeName = "wasm" | "native";

/** What a session is made of; plain data, so that a worker can be told. */
export interface SessionOptions {
  readonly runtime: RuntimeName;
  /** The URL of the native runtime's module; undefined for wasm. */
  readonly nativeUrl?: string | undefined;
  /** The model's file; undefined when `bytes` are given. */
  readonly path: string | undefined;
  readonly bytes?: Uint8Array | undefined;
  /** Files with weights beside the model: their names in the model, and where they are. */
  readonly external: readonly { readonly name: string; readonly path: string }[];
  readonly device: "cpu" | "cuda";
  readonly threads: number;
  readonly optimization: "disabled" | "basic" | "extended" | "all";
}

/** A model at work. */
export interface ModelSession {
  /**
   * Runs the model once; runs that are asked for meanwhile follow in order.
   * @param feeds one tensor for each input; they may be moved away, and are not to be used again
   * @param fetches names of the outputs that are wanted
   * @throws {Error} saying what the model has against the tensors
   */
  run(feeds: Tensors, fetches: readonly string[]): Promise<RunResult>;
  /** Frees the model; safe twice. */
  close(): Promise<void>;
}

/**
 * Loads a model in this isolate.
 * @throws {Error} when the runtime cannot load it
 */
export async function openSession(options: SessionOptions): Promise<ModelSession> {
  if (options.runtime === "native") {
    const { openNativeSession } = await import("./native_session.ts");
    return await openNativeSession(options);
  }
  const { openWebSession } = await import("./web_session.ts");
  return await openWebSession(options);
}
