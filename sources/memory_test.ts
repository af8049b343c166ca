import assert from "node:assert/strict";
import fc from "fast-check";
import type { Json, ReplayableSource } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { planContext, pluginContext } from "../tests/contexts.ts";
import memory, { dropMemoryStream, type MemorySourceOptions, memoryStream } from "./memory.ts";

const open = async (options: MemorySourceOptions) =>
  await memory.create(options, pluginContext()) as ReplayableSource;

const rowsOf = async (options: MemorySourceOptions) => {
  const source = await open(options);
  const end = await source.latestOffset(null);
  return end === null ? [] : (await source.getBatch(null, end)).rows();
};

Deno.test("rows of the options become values of their columns' types", async () => {
  const cases: [schema: string, given: Json, value: unknown][] = [
    ["string", "a", "a"],
    ["int", -2147483648, -2147483648],
    ["bigint", 9007199254740991, 9007199254740991n],
    ["float", 0.1, Math.fround(0.1)],
    ["double", 0.1, 0.1],
    ["boolean", false, false],
    ["timestamp", "2024-05-06T07:08:09Z", Date.UTC(2024, 4, 6, 7, 8, 9)],
    ["binary", "AAH/", Uint8Array.of(0, 1, 255)],
    ["array<int>", [1, null, 3], [1, null, 3]],
    ["struct<a: int, b: string>", { a: 1 }, { a: 1, b: null }],
    ["int", null, null],
  ];
  for (const [type, given, value] of cases) {
    assert.deepEqual(
      await rowsOf({ schema: `before int, c ${type}`, rows: [{ c: given }] }),
      [{ before: null, c: value }],
      type,
    );
  }
});

Deno.test("rows that do not fit are refused, with the row, the column and what is allowed", () => {
  const cases: [schema: string, rows: Record<string, Json>[], message: string, path: Json[]][] = [
    ["a int", [{ a: 1 }, { a: "x" }], 'Cannot read row 1: field "a": wanted int32, given "x"', [
      "rows",
      1,
    ]],
    ["a int not null", [{}], 'Cannot read row 0: field "a": wanted int32, given nothing', [
      "rows",
      0,
    ]],
    [
      "a bigint",
      [{ a: 2 ** 53 }],
      'Cannot read row 0: field "a": wanted int64, given 9007199254740992',
      ["rows", 0],
    ],
    [
      "a array<struct<b: int>>",
      [{ a: [{ b: 1 }, { b: 1.5 }] }],
      'Cannot read row 0: field "a[1].b": wanted int32, given 1.5',
      ["rows", 0],
    ],
    [
      "user string, age int",
      [{ usr: "ann" }],
      'Cannot read row 0: unknown column "usr"; did you mean "user"? Known: "user", "age"',
      ["rows", 0],
    ],
  ];
  for (const [schema, rows, message, path] of cases) {
    assert.throws(() => memory.outputSchema({ schema, rows }, planContext), (error) => {
      assert(error instanceof PlanError);
      assert.equal(error.message, message);
      assert.deepEqual(error.path, path);
      return true;
    });
  }
  assert.throws(
    () => memory.outputSchema({ schema: "a wrong", rows: [] }, planContext),
    (error) => error instanceof PlanError && error.path[0] === "schema",
  );
});

Deno.test("without a name the source ends after its rows; with one it waits for more", async () => {
  assert.equal((await open({ schema: "n int", rows: [] })).ended!(), true);
  const stream = memoryStream("waits");
  const source = await open({ schema: "n int", rows: [{ n: 0 }], name: "waits" });
  assert.equal(source.ended!(), false);
  assert.equal(await source.latestOffset(null), 1);

  const more = source.waitForMore!(1, new AbortController().signal);
  stream.addData({ n: 1 }, { n: 2 });
  await more;
  assert.equal(await source.latestOffset(1), 3);
  assert.deepEqual((await source.getBatch(null, 3)).rows(), [{ n: 0 }, { n: 1 }, { n: 2 }]);
  assert.deepEqual((await source.getBatch(1, 2)).rows(), [{ n: 1 }]);

  const abort = new AbortController();
  const given = source.waitForMore!(3, abort.signal);
  abort.abort();
  await given;
  await source.waitForMore!(3, abort.signal);

  const end = source.waitForMore!(3, new AbortController().signal);
  stream.end();
  await end;
  assert.equal(source.ended!(), true);
  assert.throws(() => stream.addData({ n: 3 }), /Cannot add rows: the stream has ended/);
  dropMemoryStream("waits");
});

Deno.test("rows that were added before a restart and are gone are not taken for new ones", async () => {
  const source = await open({ schema: "n int", rows: [{ n: 0 }], name: "gone" });
  assert.equal(await source.latestOffset(3), 3);
  assert.throws(
    () => source.getBatch(1, 3),
    /^RangeError: Cannot read rows up to 3: there are 1; rows added by code are gone after a restart$/,
  );
  memoryStream("gone").addData({ n: 1 }, { n: 2 }, { n: 3 });
  const end = await source.latestOffset(3);
  assert.deepEqual((await source.getBatch(3, end!)).rows(), [{ n: 3 }]);
  dropMemoryStream("gone");
});

Deno.test("a value that code adds must be of its column's type", async () => {
  memoryStream("wrong").addData({ n: 1n });
  const source = await open({ schema: "n int", rows: [], name: "wrong" });
  assert.throws(
    () => source.getBatch(null, 1),
    /Cannot store row 0, column "n": wanted int32, got 1n/,
  );
  dropMemoryStream("wrong");
});

Deno.test("batches cut anywhere are the whole when put together", async () => {
  await fc.assert(fc.asyncProperty(
    fc.array(fc.integer(), { maxLength: 8 }),
    fc.array(fc.integer(), { maxLength: 8 }),
    fc.nat(),
    async (given, added, at) => {
      const rows = given.map((n) => ({ n }));
      dropMemoryStream("cut");
      memoryStream("cut").addData(...added.map((n) => ({ n })));
      const source = await open({ schema: "n int", rows, name: "cut" });
      const end = given.length + added.length;
      const cut = at % (end + 1);
      assert.deepEqual([
        ...(await source.getBatch(null, cut)).rows(),
        ...(await source.getBatch(cut, end)).rows(),
      ], [...given, ...added].map((n) => ({ n })));
    },
  ));
  dropMemoryStream("cut");
});
