import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeAll } from "./decode_all.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

Deno.test("decodeAll() gives what decoding one by one gives, whatever the bytes", () => {
  const bytes = fc.oneof(
    { weight: 4, arbitrary: fc.string({ maxLength: 400 }).map((text) => encoder.encode(text)) },
    { weight: 1, arbitrary: fc.string({ unit: "binary" }).map((text) => encoder.encode(text)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  );
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 40 }), (parts) => {
      assert.deepEqual(decodeAll(parts), parts.map((part) => decoder.decode(part)));
    }),
    { numRuns: 500 },
  );
});

Deno.test("decodeAll() is not misled by a character cut in two between neighbours", () => {
  const parts = [Uint8Array.of(0xc3), Uint8Array.of(0xa9), Uint8Array.of(0x61)];
  assert.deepEqual(decodeAll(parts), ["\uFFFD", "\uFFFD", "a"]);
});
