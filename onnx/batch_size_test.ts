import assert from "node:assert/strict";
import { BatchSize } from "./batch_size.ts";

/** Lets it learn from runs that take `call` ms and `row` ms for each row. */
function learn(
  size: BatchSize,
  call: number,
  row: (rows: number) => number,
  runs: number,
): number[] {
  const sizes: number[] = [];
  for (let run = 0; run < runs; run++) {
    const rows = size.next(1000);
    sizes.push(rows);
    size.record(rows, call + rows * row(rows));
  }
  return sizes;
}

Deno.test("a model whose call costs more than its rows gets large batches", () => {
  const size = new BatchSize(256);
  const sizes = learn(size, 1, () => 0.01, 60);
  assert.ok(size.settled);
  assert.ok(size.best >= 128, `${size.best}`);
  assert.deepEqual(sizes.slice(0, 6), [1, 1, 1, 2, 2, 2]);
});

Deno.test("a model whose rows cost the same in any batch is not batched, after few trials", () => {
  const size = new BatchSize(256);
  const sizes = learn(size, 0.02, () => 3, 40);
  assert.equal(size.best, 1);
  assert.deepEqual([...new Set(sizes)], [1, 2, 4]);
  assert.equal(sizes.filter((rows) => rows > 1).length, 6);
});

Deno.test("a model that gets slower in large batches stays below", () => {
  const size = new BatchSize(256);
  learn(size, 1, (rows) => rows > 16 ? 1 : 0.1, 60);
  assert.equal(size.best, 16);
});

Deno.test("no more rows than there are, and no more than the most", () => {
  const size = new BatchSize(100);
  for (const waiting of [1, 3, 5, 99, 100, 101, 10_000]) {
    for (let run = 0; run < 50; run++) {
      const rows = size.next(waiting);
      assert.ok(rows >= 1 && rows <= Math.min(waiting, 100));
      size.record(rows, 1);
    }
  }
  assert.equal(size.best, 100);
  const one = new BatchSize(1);
  assert.equal(one.next(10), 1);
});

Deno.test("it learns anew when costs change", () => {
  const size = new BatchSize(64);
  learn(size, 10, () => 0.1, 100);
  assert.ok(size.best >= 32, `${size.best}`);
  learn(size, 0, (rows) => rows, 3000);
  assert.ok(size.best <= 2, `${size.best}`);
});
