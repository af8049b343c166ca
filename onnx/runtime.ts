/**
 * Which runtime a model gets.
 *
 * @module
 */
import { PlanError } from "../plugins/errors.ts";
import { findNative } from "./native_session.ts";
import type { RuntimeName } from "./session.ts";

/** What is asked for. */
export interface RuntimeOptions {
  readonly runtime: RuntimeName | "auto";
  readonly device: "cpu" | "cuda";
  readonly threads: number;
}

/** A runtime that is there. */
export interface Runtime {
  readonly name: RuntimeName;
  /** The module of the native one. */
  readonly nativeUrl: string | undefined;
}

/**
 * Finds the runtime for a model.
 * @throws {PlanError} when it is not there, or cannot do what is asked for
 */
export function chooseRuntime(
  { runtime, device, threads }: RuntimeOptions,
  baseUrl: string,
): Runtime {
  if (runtime !== "wasm") {
    try {
      return { name: "native", nativeUrl: findNative(baseUrl, runtime === "native") };
    } catch (error) {
      if (runtime === "native") throw error;
    }
  }
  const instead = "install onnxruntime-node beside the config (npm install onnxruntime-node)";
  if (device !== "cpu") {
    throw new PlanError(
      `Cannot use device "${device}": the wasm runtime has the CPU alone; ${instead}, or use device "cpu"`,
      { path: ["device"] },
    );
  }
  if (threads !== 1) {
    throw new PlanError(
      `Cannot use ${threads} threads: the wasm runtime has one, since Deno refuses the blob: URLs that it ` +
        `loads more from; ${instead}, or use more partitions`,
      { path: ["threads"] },
    );
  }
  return { name: "wasm", nativeUrl: undefined };
}
