import assert from "node:assert/strict";
import fc from "fast-check";
import type { DataType } from "../batch.ts";
import { comparator } from "./compare.ts";
import { parseType } from "./parser.ts";

const numbers = fc.oneof(fc.integer({ min: -2, max: 2 }), fc.constantFrom(NaN, -0, Infinity, 0.5));
const texts = fc.string({ unit: fc.constantFrom("a", "b", "\ufffd", "😀"), maxLength: 3 });
const VALUES: [type: DataType, values: fc.Arbitrary<unknown>][] = [
  ["float64", numbers],
  ["timestamp", fc.integer({ min: -2, max: 2 })],
  ["int64", fc.bigInt({ min: -2n, max: 2n })],
  ["boolean", fc.boolean()],
  ["string", texts],
  ["binary", fc.uint8Array({ maxLength: 3 })],
  [parseType("array<double>"), fc.array(fc.option(numbers), { maxLength: 2 })],
  [parseType("tensor<float>[2]"), fc.float32Array({ minLength: 2, maxLength: 2 })],
  [
    parseType("struct<a: int, b: string>"),
    fc.record({ a: fc.option(fc.integer({ min: 0, max: 1 })), b: fc.option(texts) }),
  ],
];

Deno.test("The values of every type have one order", () => {
  for (const [type, values] of VALUES) {
    const compare = comparator(type);
    const order = (a: unknown, b: unknown) => Math.sign(compare(a, b)) + 0;
    fc.assert(
      fc.property(values, values, values, (a, b, c) => {
        assert.equal(order(a, a), 0);
        assert.equal(order(a, b), -order(b, a) + 0);
        if (order(a, b) <= 0 && order(b, c) <= 0) assert(order(a, c) <= 0);
      }),
      { numRuns: 300 },
    );
  }
});

Deno.test("Text goes by code points, as its UTF-8 does by bytes", () => {
  const encoder = new TextEncoder();
  const [text, bytes] = [comparator("string"), comparator("binary")];
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (a, b) => {
      const ofBytes = bytes(encoder.encode(a), encoder.encode(b));
      assert.equal(Math.sign(text(a, b)), Math.sign(ofBytes));
    }),
  );
  assert(text("\uffff", "😀") < 0);
});

Deno.test("NaN is above all numbers and equal to itself, nulls are below", () => {
  const compare = comparator("float64");
  assert.equal(compare(NaN, NaN), 0);
  assert(compare(NaN, Infinity) > 0);
  assert.equal(compare(0, -0), 0);
  const lists = comparator({ list: "float64" });
  assert(lists([null], [-Infinity]) < 0);
  assert.equal(lists([null], [null]), 0);
  assert(lists([1], [1, null]) < 0);
});
