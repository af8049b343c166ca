import assert from "node:assert/strict";
import fc from "fast-check";
import { arbitraryType, arbitraryValue } from "../tests/arbitrary_batch.ts";
import type { DataType } from "./batch.ts";
import { KeyHasher, murmur3 } from "./key_hash.ts";

const hashOf = (type: DataType, value: unknown) =>
  new KeyHasher().hash([{ type, data: [value] }], 1)[0]!;

Deno.test("MurmurHash3 gives what its reference implementation gives", () => {
  const cases: readonly [string, number, number][] = [
    ["", 0, 0],
    ["", 1, 0x514e28b7],
    ["", 0xffffffff, 0x81f16f39],
    ["\0\0\0\0", 0, 0x2362f9de],
    ["a", 0x9747b28c, 0x7fa09ea6],
    ["aa", 0x9747b28c, 0x5d211726],
    ["aaa", 0x9747b28c, 0x283e0130],
    ["aaaa", 0x9747b28c, 0x5a97808a],
    ["Hello, world!", 0x9747b28c, 0x24884cba],
    ["The quick brown fox jumps over the lazy dog", 0x9747b28c, 0x2fa826cd],
  ];
  for (const [text, seed, wanted] of cases) {
    const bytes = new TextEncoder().encode(text);
    assert.equal(murmur3(bytes, bytes.length, seed), wanted, JSON.stringify(text));
  }
});

// A change of these numbers moves rows of a running cluster to other partitions than its old peers do.
Deno.test("the hash of a key is the same for ever", () => {
  const cases: readonly [DataType, unknown, number][] = [
    ["string", null, 0xdd4449c2],
    ["string", "", 0xb222cece],
    ["string", "user-1", 0x099ec7cc],
    ["int32", 1, 0x8c0a8722],
    ["float64", 0.1, 0x0fdc7b2e],
    ["boolean", true, 0x9b5f0d55],
    ["binary", Uint8Array.of(1, 2), 0x140346b2],
    [{ list: "string" }, ["a", null], 0x8c54a84c],
    [{ struct: [{ name: "a", type: "int64" }] }, { a: -1n }, 0xe1dc5be1],
    [{ tensor: "float32", shape: [2] }, Float32Array.of(0.5, 2), 0x4ecb75b7],
  ];
  const got = cases.map(([type, value]) => hashOf(type, value));
  assert.deepEqual(got, cases.map(([, , wanted]) => wanted));
});

Deno.test("equal values hash alike, across types and spellings of the same number", () => {
  const alike: readonly (readonly [DataType, unknown])[][] = [
    [["int32", 1], ["int64", 1n], ["float32", 1], ["float64", 1], ["timestamp", 1]],
    [["int32", -7], ["int64", -7n], ["float64", -7]],
    [["int64", 2n ** 53n + 2n], ["float64", 2 ** 53 + 2]],
    [["int64", -(2n ** 63n)], ["float64", -(2 ** 63)]],
    [["int64", -(2n ** 40n) - 5n], ["float64", -(2 ** 40) - 5]],
    [["float64", 0], ["float64", -0], ["int32", 0], ["int64", 0n]],
    [["float64", NaN], ["float32", NaN], ["float64", -NaN]],
    [["string", null], ["int32", null], ["float64", undefined], [{ list: "int32" }, null]],
    [[{ list: "int32" }, [1, 2]], [{ list: "float64" }, Float64Array.of(1, 2)], [
      { tensor: "int64", shape: [2] },
      BigInt64Array.of(1n, 2n),
    ]],
  ];
  for (const same of alike) {
    const hashes = same.map(([type, value]) => hashOf(type, value));
    assert.equal(new Set(hashes).size, 1, JSON.stringify(same, (_, each) => String(each)));
  }
});

Deno.test("different keys of the same letters and numbers hash apart", () => {
  const columns = (...values: unknown[]) =>
    new KeyHasher().hash(values.map((value) => ({ type: "string", data: [value] })), 1)[0]!;
  const hashes = [
    columns("ab", "c"),
    columns("a", "bc"),
    columns("abc", ""),
    columns("abc", null),
    columns(null, "abc"),
    hashOf("string", "1"),
    hashOf("int32", 1),
    hashOf("boolean", true),
    hashOf("binary", Uint8Array.of(49)),
    hashOf({ list: { list: "int32" } }, [[1], []]),
    hashOf({ list: { list: "int32" } }, [[], [1]]),
    hashOf("float64", 0.1),
    hashOf("float32", Math.fround(0.1)),
  ];
  assert.equal(new Set(hashes).size, hashes.length);
});

Deno.test("a hash depends on nothing but the values: not on what the hasher did before", () => {
  const used = new KeyHasher();
  const typed = arbitraryType().chain((type) =>
    arbitraryValue(type).map((value) => ({ type, value }))
  );
  fc.assert(fc.property(typed, ({ type, value }) => {
    const copy = structuredClone(value);
    assert.equal(used.hash([{ type, data: [copy] }], 1)[0], hashOf(type, value));
  }));
});

Deno.test("keys that differ little are spread evenly over the partitions", () => {
  const keys: Readonly<Record<string, (at: number) => readonly [DataType, unknown]>> = {
    integers: (at) => ["int32", at],
    hundreds: (at) => ["int64", BigInt(at) * 100n],
    texts: (at) => ["string", `user-${at}`],
    fractions: (at) => ["float64", at / 8],
  };
  for (const [what, key] of Object.entries(keys)) {
    for (const partitions of [2, 3, 8, 12]) {
      const counts = new Array(partitions).fill(0);
      for (let at = 0; at < 12_000; at++) counts[hashOf(...key(at)) % partitions]++;
      const even = 12_000 / partitions;
      // Five standard deviations of an even spread.
      const slack = 5 * Math.sqrt(even);
      for (const count of counts) {
        assert.ok(Math.abs(count - even) < slack, `${what} over ${partitions}: ${counts}`);
      }
    }
  }
});
