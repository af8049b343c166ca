/**
 * The `onnx` transform from code.
 *
 * @module
 */
import type { DataFrame } from "../engine/dataframe.ts";
import type { Json } from "../plugins/contract.ts";
import { dataUrl } from "./model_source.ts";

/** Options of the `onnx` transform, or SynapseML's names for them; the model may be its bytes too. */
export interface OnnxModelOptions {
  readonly model?: string | URL | Uint8Array;
  /** Column by input. */
  readonly feed?: Readonly<Record<string, string>>;
  /** Output by new column. */
  readonly fetch?: Readonly<Record<string, string>>;
  /** New column by fetched column. */
  readonly softMax?: Readonly<Record<string, string>>;
  /** New column by fetched column. */
  readonly argMax?: Readonly<Record<string, string>>;
  /** Default: `auto`. */
  readonly runtime?: "auto" | "wasm" | "native";
  /** Default: `auto`. */
  readonly miniBatchSize?: number | "auto";
  /** The rest, see the reference of the transform. */
  readonly [option: string]: Json | URL | Uint8Array | Readonly<Record<string, string>> | undefined;
}

/** A model for `DataFrame.transform`. */
export interface OnnxModel {
  (frame: DataFrame): DataFrame;
  /** The first column that is fetched. */
  getOutputCol(): string;
}

/**
 * A model as a step of a frame: `frame.transform(onnx({ model: "./model.onnx", ... }))`.
 * @throws {TypeError} from `getOutputCol`, when `fetch` is left out: only the model knows its outputs then
 */
export function onnx(options: OnnxModelOptions): OnnxModel {
  const { model, ...rest } = options;
  const given: Record<string, Json> = {};
  for (const [key, value] of Object.entries(rest)) {
    if (value !== undefined) given[key] = value as Json;
  }
  if (model instanceof Uint8Array) given.model = dataUrl(model);
  else if (model !== undefined) given.model = String(model);
  const getOutputCol = () => {
    const [first] = Object.keys(given.fetch ?? given.fetchDict ?? {});
    if (first === undefined) {
      throw new TypeError("Cannot name the model's output column: no fetch is given");
    }
    return first;
  };
  return Object.assign((frame: DataFrame) => frame.use("onnx", given), { getOutputCol });
}
