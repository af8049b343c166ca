/**
 * ONNX Runtime as native code, out of the npm package `onnxruntime-node`, which is the user's to install.
 *
 * @module
 */
import Module, { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { PlanError } from "../plugins/errors.ts";
import { importModule, resolveModule } from "../plugins/loader.ts";
import { type OrtModule, OrtSession } from "./ort_session.ts";
import type { ModelSession, SessionOptions } from "./session.ts";

const PACKAGE = "onnxruntime-node";
/** The version that the wasm runtime has too. */
const VERSION = "1.30.0";

/**
 * The URL of the native runtime's module.
 * @param mayFetch whether Deno may fetch the package where it is not installed
 * @throws {PlanError} saying how to install it
 */
export function findNative(baseUrl: string, mayFetch: boolean): string {
  try {
    return resolveModule(PACKAGE, baseUrl);
  } catch (cause) {
    if (mayFetch && !isStandalone()) return `npm:${PACKAGE}@${VERSION}`;
    throw new PlanError(
      `Cannot use runtime "native": no package "${PACKAGE}" in node_modules beside the config; install it ` +
        `there (npm install ${PACKAGE}@${VERSION}), or use runtime "wasm"`,
      { path: ["runtime"], cause },
    );
  }
}

/** Loads a model on the native runtime. */
export async function openNativeSession(
  { nativeUrl, path, bytes, device, threads, optimization }: SessionOptions,
): Promise<ModelSession> {
  const module = await loadModule(nativeUrl!);
  return await OrtSession.open(module, bytes ?? path!, {
    executionProviders: [device],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: optimization,
    logSeverityLevel: 3,
  });
}

async function loadModule(url: string): Promise<OrtModule> {
  // The package is CommonJS, which Deno imports from packages of its own cache alone.
  const module = url.startsWith("file:")
    ? requireCommonJs(url)
    : await importModule(url, import.meta.url);
  const found = "InferenceSession" in module ? module : module.default;
  if (typeof found !== "object" || found === null || !("InferenceSession" in found)) {
    throw new TypeError(`The module ${url} is not ${PACKAGE}: it exports no InferenceSession`);
  }
  return found as OrtModule;
}

/**
 * Loads a CommonJS module of a folder. Only for an isolate of its own: whatever is required there later is
 * taken for CommonJS too, which Deno 2.4 does not do by itself.
 */
function requireCommonJs(url: string): Record<string, unknown> {
  const extensions = (Module as unknown as { _extensions: Record<string, Extension> })._extensions;
  extensions[".js"] = (module, path) => {
    module._compile(Deno.readTextFileSync(path), path, "commonjs");
  };
  return createRequire(url)(fileURLToPath(url));
}

type Extension = (
  module: { _compile(code: string, path: string, format: string): void },
  path: string,
) => void;

/** `Deno.build.standalone` is false in the workers of a compiled binary (Deno 2.4). */
function isStandalone(): boolean {
  return Deno.build.standalone || !/deno(?:\.exe)?$/i.test(Deno.execPath());
}
