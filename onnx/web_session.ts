/**
 * ONNX Runtime as WebAssembly: it comes with Millrace, and runs everywhere.
 *
 * It has one thread. For more, its glue code is loaded from a `blob:` URL, which Deno's module loader
 * refuses.
 *
 * @module
 */
import type { ModelSession, SessionOptions } from "./session.ts";
import { type OrtModule, OrtSession } from "./ort_session.ts";

/** Loads a model on the wasm runtime. */
export async function openWebSession(
  { path, bytes, external, optimization }: SessionOptions,
): Promise<ModelSession> {
  const module = await loadModule();
  const externalData = await Promise.all(
    external.map(async ({ name, path }) => ({ path: name, data: await Deno.readFile(path) })),
  );
  const model = bytes ?? await Deno.readFile(path!);
  return await OrtSession.open(module, model, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: optimization,
    ...(externalData.length === 0 ? {} : { externalData }),
  });
}

let loading: Promise<OrtModule> | undefined;

function loadModule(): Promise<OrtModule> {
  return loading ??= (async () => {
    // It takes the origin of a worker for a base of URLs, and Deno's workers have the origin "null".
    Object.defineProperty(globalThis, "location", { value: undefined, configurable: true });
    const ort = await import("onnxruntime-web/wasm");
    const { wasm } = ort.env;
    wasm.numThreads = 1;
    wasm.proxy = false;
    // Handed over as bytes, since there is nothing to fetch it from inside a compiled binary.
    wasm.wasmBinary = await Deno.readFile(
      new URL("./ort-wasm-simd-threaded.wasm", import.meta.resolve("onnxruntime-web/wasm")),
    );
    ort.env.logLevel = "error";
    return ort as unknown as OrtModule;
  })();
}
