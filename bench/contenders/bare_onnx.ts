/**
 * `bare_onnx.ts MODEL OUTPUT SHAPE SECONDS`: onnxruntime-web in a bare loop at each batch size, without
 * any of Millrace. Prints the most items a second, and at which size.
 *
 * @module
 */
import * as ort from "onnxruntime-web/wasm";

const [model, output, shapeText, seconds] = Deno.args as [string, string, string, string];
const shape = shapeText.split(",").map(Number);
const elements = shape.reduce((product, length) => product * length, 1);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = await Deno.readFile(
  new URL("./ort-wasm-simd-threaded.wasm", import.meta.resolve("onnxruntime-web/wasm")),
);
const session = await ort.InferenceSession.create(await Deno.readFile(model));
const input = session.inputNames[0]!;

// V8 optimises the wasm meanwhile.
await itemsPerSecond(1, 2);
const sizes = [1, 4, 16, 64, 256];
const rates: number[] = [];
for (const rows of sizes) rates.push(await itemsPerSecond(rows, 0.5));
const size = sizes[rates.indexOf(Math.max(...rates))]!;
console.log(JSON.stringify({ itemsPerSecond: await itemsPerSecond(size, Number(seconds)), size }));

async function itemsPerSecond(rows: number, seconds: number): Promise<number> {
  const started = performance.now();
  let items = 0, ms = 0;
  do {
    const data = new Float32Array(rows * elements).fill(0.5);
    await session.run({ [input]: new ort.Tensor("float32", data, [rows, ...shape]) }, [output]);
    items += rows;
    ms = performance.now() - started;
  } while (ms < seconds * 1000);
  return items / ms * 1000;
}
