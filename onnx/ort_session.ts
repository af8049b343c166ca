/**
 * A session of ONNX Runtime, whose JavaScript interface is the same for wasm and native code.
 *
 * @module
 */
import type { Elements, ElementType } from "./element.ts";
import type { ModelSession, RunResult, Tensors } from "./session.ts";

/** What is used of ONNX Runtime's module. */
export interface OrtModule {
  readonly InferenceSession: {
    create(model: string | Uint8Array, options: Record<string, unknown>): Promise<OrtInference>;
  };
  readonly Tensor: new (
    type: ElementType,
    data: Elements,
    dims: readonly number[],
  ) => OrtTensor;
}

interface OrtInference {
  run(
    feeds: Record<string, OrtTensor>,
    fetches: readonly string[],
  ): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

interface OrtTensor {
  readonly type: string;
  readonly data: unknown;
  readonly dims: readonly number[];
  dispose(): void;
}

/** A session of either runtime. */
export class OrtSession implements ModelSession {
  readonly #module: OrtModule;
  #inference: OrtInference | undefined;

  private constructor(module: OrtModule, inference: OrtInference) {
    this.#module = module;
    this.#inference = inference;
  }

  /** @param options those of `InferenceSession.create` */
  static async open(
    module: OrtModule,
    model: string | Uint8Array,
    options: Record<string, unknown>,
  ): Promise<OrtSession> {
    return new OrtSession(module, await module.InferenceSession.create(model, options));
  }

  async run(feeds: Tensors, fetches: readonly string[]): Promise<RunResult> {
    if (this.#inference === undefined) throw new Error("The model is closed");
    const given: Record<string, OrtTensor> = {};
    for (const [name, { type, data, dims }] of Object.entries(feeds)) {
      given[name] = new this.#module.Tensor(type, data, dims);
      // Deno's native interface does not know the half-precision array that the tensor makes of the bits.
      if (type === "float16") Object.defineProperty(given[name], "data", { value: data });
    }
    const started = performance.now();
    const results = await this.#inference.run(given, fetches);
    const ms = performance.now() - started;
    const outputs: Record<string, Tensors[string]> = {};
    for (const name of fetches) {
      const { type, data, dims } = results[name]!;
      outputs[name] = {
        type: type as ElementType,
        // Where JavaScript has half-precision arrays, float16 comes in one.
        data: type === "float16" ? bitsOf(data as ArrayBufferView) : data as Elements,
        dims: [...dims],
      };
    }
    return { outputs, ms };
  }

  async close(): Promise<void> {
    const inference = this.#inference;
    this.#inference = undefined;
    await inference?.release();
  }
}

function bitsOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint16Array {
  return new Uint16Array(buffer as ArrayBuffer, byteOffset, byteLength / 2);
}
