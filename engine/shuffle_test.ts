import assert from "node:assert/strict";
import fc from "fast-check";
import type { Shuffle } from "../plugins/contract.ts";
import { Registry } from "../plugins/registry.ts";
import { arbitraryBatch } from "../tests/arbitrary_batch.ts";
import { Batch, Schema } from "./batch.ts";
import {
  shufflesOf,
  splitShares,
  Spread,
  type SpreadOptions,
  withKeys,
  withoutDestinations,
} from "./shuffle.ts";

const spread = (options: Partial<SpreadOptions> & { readonly shuffle: Shuffle }) =>
  Spread.create({
    destinations: 3,
    first: 0,
    needed: "all",
    input: undefined,
    baseUrl: "file:///",
    ...options,
  });

const KEYED = new Schema([
  { name: "id", type: "string" },
  { name: "key", type: "int32" },
  { name: "at", type: "int32" },
]);

const keyed = (keys: readonly (number | null)[]) =>
  Batch.fromRows(KEYED, keys.map((key, at) => ({ id: `0/0/${at}`, key, at })));

Deno.test("split and joined, every row is there once, rows of a key together and in order", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.option(fc.integer({ min: 0, max: 9 })))),
      fc.integer({ min: 1, max: 5 }),
      async (batches, destinations) => {
        const step = await spread({ shuffle: { keys: ["key"] }, destinations });
        const placeOf = new Map<unknown, number>();
        for (const keys of batches) {
          const batch = keyed(keys);
          const seen: Record<string, unknown>[] = [];
          for (const share of splitShares(step.transform(batch))) {
            assert.ok(share.destination >= 0 && share.destination < destinations);
            assert.ok(share.batch.numRows > 0);
            assert.ok(share.batch.schema.equals(KEYED));
            for (const row of share.batch.rows()) {
              assert.equal(placeOf.get(row.key) ?? share.destination, share.destination);
              placeOf.set(row.key, share.destination);
            }
            const order = Array.from(share.batch.column("at") as Int32Array);
            assert.deepEqual(order, order.toSorted((a, b) => a - b));
            seen.push(...share.batch.rows());
          }
          assert.deepEqual(
            seen.sort((a, b) => (a.at as number) - (b.at as number)),
            batch.rows(),
          );
        }
      },
    ),
  );
});

Deno.test("rows of any columns are split by any of them, and by all", async () => {
  await fc.assert(fc.asyncProperty(arbitraryBatch(), async (batch) => {
    const keys = batch.schema.names.map((name) => `\`${name.replaceAll("`", "``")}\``);
    const named = keys.filter((key) => /^`[\w.]+`$/.test(key));
    const shares = splitShares((await spread({ shuffle: { keys: named } })).transform(batch));
    assert.equal(shares.reduce((sum, share) => sum + share.batch.numRows, 0), batch.numRows);
  }));
});

Deno.test("without keys rows are dealt out in turn, from batch to batch", async () => {
  const step = await spread({ shuffle: { keys: [] }, first: 2 });
  const places = (numRows: number) =>
    splitShares(step.transform(keyed(new Array(numRows).fill(7)))).map((share) =>
      [share.destination, Array.from(share.batch.column("at") as Int32Array)] as const
    );
  assert.deepEqual(places(4), [[2, [0, 3]], [0, [1]], [1, [2]]]);
  assert.deepEqual(places(2), [[0, [0]], [1, [1]]]);
  assert.deepEqual(places(0), []);
});

Deno.test("no more partitions get rows than are asked for, nor than there are", async () => {
  const keys = Array.from({ length: 100 }, (_, at) => at);
  for (const [partitions, wanted] of [[1, [0]], [2, [0, 1]], [200, [0, 1, 2]]] as const) {
    const step = await spread({ shuffle: { keys: ["key"], partitions } });
    const places = splitShares(step.transform(keyed(keys))).map((share) => share.destination);
    assert.deepEqual(places.sort(), wanted);
  }
});

Deno.test("only columns that are needed travel, and ids", async () => {
  const step = await spread({
    shuffle: { keys: ["key + 1"] },
    needed: new Set(["at"]),
    input: KEYED,
  });
  const [share] = splitShares(step.transform(keyed([1])));
  assert.deepEqual(share!.batch.schema.names, ["id", "at"]);
  const none = step.transform(keyed([]));
  assert.deepEqual(withoutDestinations(none).schema.names, ["id", "at"]);
});

Deno.test("the columns of keys are needed too", () => {
  const before = (keys: string[], needed: "all" | string[]) => {
    const columns = withKeys({ keys }, needed === "all" ? "all" : new Set(needed));
    return columns === "all" ? "all" : [...columns].sort();
  };
  assert.deepEqual(before(["a + b", "c"], ["d"]), ["a", "b", "c", "d", "id"]);
  assert.deepEqual(before([], ["d"]), ["d", "id"]);
  assert.deepEqual(before(["a"], "all"), "all");
});

Deno.test("any transform can declare a shuffle; one that cannot be is refused", async () => {
  const declares = (shuffle: unknown) => {
    const plugin = {
      kind: "transform",
      name: "keyed",
      summary: "none",
      // deno-lint-ignore no-explicit-any -- as valibot comes
      options: (v: any) => v.strictObject({}),
      shuffle: () => shuffle,
      create: () => ({ transform: (batch: Batch) => batch }),
    };
    const registry = new Registry([{
      kind: "transform",
      name: "keyed",
      aliases: [],
      load: () => Promise.resolve({ default: plugin as never }),
    }]);
    return shufflesOf({ transforms: [{ name: "keyed", options: {} }] }, registry);
  };
  assert.deepEqual(await declares({ keys: ["a"], partitions: 2 }), [{
    keys: ["a"],
    partitions: 2,
  }]);
  assert.deepEqual(await declares(undefined), [undefined]);
  const attempt = 'Cannot use transform "keyed": its shuffle gave';
  const cases: readonly [unknown, string][] = [
    [{ keys: "a" }, `${attempt} keys that are none; wanted a list of SQL texts`],
    [{ keys: [1] }, `${attempt} keys that are none; wanted a list of SQL texts`],
    [{ keys: [], partitions: 0 }, `${attempt} 0 partitions; wanted 1 or more`],
    [{ keys: [], partitions: 1.5 }, `${attempt} 1.5 partitions; wanted 1 or more`],
  ];
  for (const [shuffle, message] of cases) {
    await assert.rejects(declares(shuffle), { name: "PlanError", message });
  }
});
