/**
 * Where a model is, by the option that says so: a path, a `file:` URL, or its bytes in a `data:` URL.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { dirname, isAbsolute, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { PlanError } from "../plugins/errors.ts";
import { type ModelMetadata, readModelMetadata } from "./model_metadata.ts";
import { bytesSource, fileSource } from "./protobuf.ts";

/** A model that can be loaded. */
export interface Model {
  /** As messages name it. */
  readonly name: string;
  /** Undefined when the option holds the bytes themselves. */
  readonly path: string | undefined;
  readonly metadata: ModelMetadata;
}

const DATA_URL = /^data:[^,]*;base64,/;
/** What has been read, by place and state of the file; a plan is looked at several times before it runs. */
const known = new Map<string, ModelMetadata>();
const MOST_KNOWN = 32;

/**
 * Finds a model and reads what it says of itself.
 * @param given the option
 * @param baseUrl what a relative path is relative to; ends in `/`
 * @throws {PlanError} when there is no such file, or it holds no ONNX model
 */
export function findModel(given: string, baseUrl: string): Model {
  if (given.startsWith("data:")) {
    const name = `${given.slice(0, 40)}...`;
    const metadata = remember(given, name, () => readModelMetadata(bytesSource(bytesOf(given))));
    return { name, path: undefined, metadata };
  }
  const path = pathOf(given, baseUrl);
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path);
  } catch (cause) {
    throw unusable(
      given,
      cause instanceof Deno.errors.NotFound ? `there is no file ${path}` : cause,
    );
  }
  try {
    const { size, mtime, isDirectory } = file.statSync();
    if (isDirectory) throw unusable(given, "it is a directory, wanted a file");
    const state = `${path}\n${size}\n${mtime?.getTime()}`;
    const metadata = remember(state, given, () => readModelMetadata(fileSource(file)));
    for (const each of metadata.externalFiles) externalPath(given, path, each);
    return { name: given, path, metadata };
  } finally {
    file.close();
  }
}

/** The bytes of a model. */
export async function modelBytes(given: string, { path }: Model): Promise<Uint8Array> {
  return path === undefined ? bytesOf(given) : await Deno.readFile(path);
}

/** The `data:` URL of a model's bytes. */
export function dataUrl(bytes: Uint8Array): string {
  const { buffer, byteOffset, byteLength } = bytes;
  const text = Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString("base64");
  return `data:application/octet-stream;base64,${text}`;
}

/** Where a file with weights is; it must lie in the model's folder. */
export function externalPath(name: string, modelPath: string, file: string): string {
  const relative = normalize(file);
  if (isAbsolute(relative) || relative.startsWith("..")) {
    throw unusable(name, `its weights are in ${JSON.stringify(file)}, wanted a file in its folder`);
  }
  return join(dirname(modelPath), relative);
}

function pathOf(given: string, baseUrl: string): string {
  if (!/^[a-z][a-z\d+.-]+:/i.test(given)) return resolve(fileURLToPath(baseUrl), given);
  if (given.startsWith("file:")) return fileURLToPath(given);
  throw unusable(given, "wanted a path, a file: URL, or a data: URL with base64");
}

function bytesOf(given: string): Uint8Array {
  const head = DATA_URL.exec(given);
  if (head === null) {
    throw unusable(`${given.slice(0, 40)}...`, "wanted a data: URL with base64");
  }
  // A copy of its own: the buffer of a small `Buffer` is shared.
  return new Uint8Array(Buffer.from(given.slice(head[0].length), "base64"));
}

function remember(key: string, name: string, read: () => ModelMetadata): ModelMetadata {
  let metadata = known.get(key);
  if (metadata === undefined) {
    try {
      metadata = read();
    } catch (error) {
      throw error instanceof PlanError
        ? error
        : unusable(name, `it is no ONNX model: ${(error as Error).message}`);
    }
    if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value!);
    known.set(key, metadata);
  }
  return metadata;
}

function unusable(name: string, why: unknown): PlanError {
  const reason = why instanceof Error ? why.message : String(why);
  return new PlanError(`Cannot use model ${JSON.stringify(name)}: ${reason}`, {
    path: ["model"],
    ...(why instanceof Error ? { cause: why } : {}),
  });
}
