import assert from "node:assert/strict";
import fc from "fast-check";
import { BatchError, NotConnected, Permanent, RowError } from "../plugins/errors.ts";
import type { Transform } from "../plugins/contract.ts";
import { Batch, Schema } from "./batch.ts";
import { Pipeline } from "./pipeline.ts";

const schema = new Schema([{ name: "id", type: "string" }, { name: "n", type: "int32" }]);
const batchOf = (numbers: number[]) =>
  Batch.fromRows(schema, numbers.map((n, row) => ({ id: `r${row}`, n })));

const pipeline = (...transforms: Transform["transform"][]) =>
  new Pipeline(
    transforms.map((transform, at) => ({
      name: `stage${at}`,
      transform: { transform },
      schema: undefined,
    })),
    { isolationMs: 5_000 },
  );

const numbers = (batch: Batch) => [...batch.column("n")] as number[];

/** Throws when a number of the batch is among the poisonous ones. */
const allergic = (poison: (n: number) => boolean): Transform["transform"] => (batch) => {
  if (numbers(batch).some(poison)) throw new Error("poison");
  return batch;
};

Deno.test("run() answers at once when every stage does", () => {
  const outcome = pipeline((batch) => batch, (batch) => batch.filter([true, false])).run(
    batchOf([1, 2]),
  );
  assert.ok(!(outcome instanceof Promise));
  assert.deepEqual(numbers(outcome.batch), [1]);
});

Deno.test("a stage that throws costs the guilty rows alone, in order, sync or async", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat({ max: 9 }), { maxLength: 60 }),
      fc.boolean(),
      async (values, asynchronous) => {
        const sick = allergic((n) => n === 7);
        const stage: Transform["transform"] = asynchronous
          ? async (batch) => await sick(batch)
          : sick;
        const { batch, failures } = await pipeline(stage, (batch) => batch).run(batchOf(values));
        assert.deepEqual(
          failures.map(({ id }) => id),
          values.flatMap((n, row) => n === 7 ? [`r${row}`] : []),
        );
        if (failures.length < values.length) {
          assert.deepEqual(numbers(batch), values.filter((n) => n !== 7));
        } else assert.equal(batch.numRows, 0);
      },
    ),
  );
});

Deno.test("a BatchError names the failed rows, so that nothing is split", async () => {
  let calls = 0;
  const { batch, failures } = await pipeline((batch) => {
    calls++;
    const bad = numbers(batch).indexOf(2);
    if (bad < 0) return batch;
    throw new BatchError(new Map([[bad, new RowError("two is not allowed", 422)]]));
  }).run(batchOf([1, 2, 3, 4]));
  assert.equal(calls, 2);
  assert.deepEqual(failures, [{ id: "r1", status: 422, message: "two is not allowed" }]);
  assert.deepEqual(numbers(batch), [1, 3, 4]);
});

Deno.test("a BatchError that names rows that do not exist is an error like any other", async () => {
  const { failures } = await pipeline(() => {
    throw new BatchError(new Map([[99, new Error("?")]]));
  }).run(batchOf([1, 2]));
  assert.equal(failures.length, 2);
});

Deno.test("without ids an error is thrown on, with the stage's name", async () => {
  const run = pipeline(allergic(() => true)).run(batchOf([1]).drop(["id"]));
  await assert.rejects(async () => await run, { message: "stage0: poison" });
});

Deno.test("a Permanent error is thrown on", async () => {
  const run = pipeline(() => {
    throw new Permanent("gone for good");
  }).run(batchOf([1, 2]));
  await assert.rejects(async () => await run, { name: "Permanent" });
});

Deno.test("a stage that is not connected is tried again", async () => {
  let calls = 0;
  const { batch, failures } = await pipeline((batch) => {
    if (++calls < 3) throw new NotConnected("no database");
    return batch;
  }).run(batchOf([1, 2]));
  assert.equal(calls, 3);
  assert.equal(failures.length, 0);
  assert.deepEqual(numbers(batch), [1, 2]);
});

Deno.test("a lone row gets a second chance, but for errors that are signals", async () => {
  for (
    const [error, calls, failed] of [
      [new Error("a hiccup"), 2, 0],
      [new BatchError(new Map([[0, new RowError("no", 422)]])), 1, 1],
    ] as const
  ) {
    let count = 0;
    const { batch, failures } = await pipeline((batch) => {
      if (++count === 1) throw error;
      return batch;
    }).run(batchOf([1]));
    assert.deepEqual([count, failures.length, batch.numRows], [calls, failed, 1 - failed]);
  }
});

Deno.test("plugins that lie about their output are told so", async () => {
  const lies: [unknown, RegExp][] = [
    [undefined, /stage0: returned undefined: wanted a Batch/],
    [[], /returned an Array/],
    [{}, /returned a Object/],
    [batchOf([1]).drop(["id"]), /lost the column "id"/],
    [batchOf([1]).withColumn("id", "int32", [1]), /changed the type of the column "id"/],
  ];
  for (const [lie, message] of lies) {
    const { failures } = await pipeline(() => lie as Batch).run(batchOf([1]));
    assert.match(failures[0]!.message, message);
    assert.equal(failures[0]!.status, 500);
  }
  const declared = new Pipeline([{
    name: "liar",
    transform: { transform: (batch) => batch.drop(["n"]) },
    schema,
  }], { isolationMs: 100 });
  const { failures } = await declared.run(batchOf([1]));
  assert.equal(
    failures[0]!.message,
    "liar: returned columns (id string): it declared (id string, n int32)",
  );
});

Deno.test("close() closes every stage, and throws the first failure at the end", async () => {
  const closed: string[] = [];
  const stage = (name: string, fails: boolean) => ({
    name,
    schema: undefined,
    transform: {
      transform: (batch: Batch) => batch,
      close: () => {
        closed.push(name);
        if (fails) throw new Error(name);
      },
    },
  });
  const failing = new Pipeline([stage("a", true), stage("b", false)], { isolationMs: 1 });
  await assert.rejects(() => failing.close(), { message: "a" });
  assert.deepEqual(closed, ["a", "b"]);
});
