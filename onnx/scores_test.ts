import assert from "node:assert/strict";
import fc from "fast-check";
import { argMax, softMax } from "./scores.ts";

Deno.test("probabilities add up to 1 and keep the order, however large the scores", () => {
  assert.deepEqual(Array.from(softMax([0, 0])), [0.5, 0.5]);
  assert.deepEqual(Array.from(softMax([1000, 0])), [1, 0]);
  assert.deepEqual(Array.from(softMax([Infinity, 0])), [1, 0]);
  assert.deepEqual(Array.from(softMax([])), []);
  assert.ok(softMax(Float32Array.of(1, 2)) instanceof Float32Array);
  fc.assert(fc.property(
    fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 }),
    (scores) => {
      const shares = Array.from(softMax(scores));
      assert.ok(Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1) < 1e-9);
      assert.ok(shares[argMax(scores)]! >= Math.max(...shares));
    },
  ));
});

Deno.test("argmax is the first of the greatest; NaN counts for nothing", () => {
  const cases: [ArrayLike<number | bigint>, number][] = [
    [[1, 3, 3], 1],
    [[NaN, -1, NaN], 1],
    [[NaN, NaN], 0],
    [[], -1],
    [[1n, 2n ** 60n], 1],
    [[-Infinity], 0],
  ];
  for (const [values, position] of cases) assert.equal(argMax(values), position);
});
