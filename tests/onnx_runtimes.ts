/**
 * The runtimes that tests of models run over. The native one is a package of 290 MB, so it is not fetched
 * for tests: it is used where it is installed, in `node_modules` of this project or beside `ONNX_NATIVE`.
 *
 * @module
 */
import { pathToFileURL } from "node:url";
import { findNative } from "../onnx/native_session.ts";

/** A runtime for tests. */
export interface TestRuntime {
  readonly runtime: "wasm" | "native";
  /** For the context of a plan. */
  readonly baseUrl: string;
  /** Why it cannot be used here. */
  readonly missing: string | undefined;
}

/** Where the native runtime is looked for. */
export const NATIVE_BASE: string = pathToFileURL(
  `${Deno.env.get("ONNX_NATIVE") ?? new URL("..", import.meta.url).pathname}/`,
).href;

/** Both runtimes. */
export const RUNTIMES: readonly TestRuntime[] = [
  { runtime: "wasm", baseUrl: NATIVE_BASE, missing: undefined },
  { runtime: "native", baseUrl: NATIVE_BASE, missing: whyMissing() },
];

function whyMissing(): string | undefined {
  try {
    findNative(NATIVE_BASE, false);
    return undefined;
  } catch {
    return "onnxruntime-node is not installed; name a folder that has it in its node_modules in ONNX_NATIVE";
  }
}
