import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import type { Json } from "../plugins/contract.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import udf from "./udf.ts";

const module = "data:text/javascript," + encodeURIComponent(`
  export default (n) => n === null ? -1 : n * 2;
  export const join = (...values) => values.join("/");
  export const nothing = () => {};
  export const picky = (n) => { if (n === 3) throw new RangeError("not 3"); return n; };
  export const wrong = (n) => n === 3 ? "three" : n;
  export const late = async () => { throw new Error("late"); };
  export const pi = 3.14;
`);
const schema = parseSchema("id string, n int, s string");
const input = Batch.fromRows(schema, [
  { id: "r0", n: 1, s: "a" },
  { id: "r1", n: null, s: null },
  { id: "r2", n: 3, s: "b" },
]);

Deno.test("the function is called for each row, with nulls too", async () => {
  const { batch } = await tryTransform(
    udf,
    { module, args: ["n"], as: "m", returns: "int" },
    input,
  );
  assert.equal(String(batch.schema), "id string, n int32, s string, m int32");
  assert.deepEqual(batch.column("m"), Int32Array.of(2, -1, 6));
});

Deno.test("arguments are expressions, the result may replace a column", async () => {
  const { rows } = await tryTransform(
    udf,
    { module, export: "join", args: ["upper(s)", "n + 1", 7], as: "s", returns: "string" },
    input,
  );
  assert.deepEqual(rows.map(({ s }) => s), ["A/2/7", "//7", "B/4/7"]);
});

Deno.test("undefined is null", async () => {
  const { rows } = await tryTransform(
    udf,
    { module, export: "nothing", as: "x", returns: "array<int>" },
    input,
  );
  assert.deepEqual(rows.map(({ x }) => x), [null, null, null]);
});

Deno.test("a row for which it throws, or returns what does not fit, fails alone", async () => {
  const cases: [name: string, rows: number[], message: RegExp][] = [
    ["picky", [2], /not 3/],
    ["wrong", [2], /result does not fit: wanted int32, got "three"/],
    ["late", [0, 1, 2], /returned a promise: use map_batches for asynchronous work/],
  ];
  for (const [name, rows, message] of cases) {
    await assert.rejects(
      () =>
        tryTransform(udf, { module, export: name, args: ["n"], as: "x", returns: "int" }, input),
      (error: { name: string; rows: Map<number, Error> }) => {
        assert.equal(error.name, "BatchError");
        assert.deepEqual([...error.rows.keys()], rows);
        assert.match(error.rows.get(rows[0]!)!.message, message);
        return true;
      },
    );
  }
});

Deno.test("a module or function that is not there is told when it is created", async () => {
  const use = (own: { [key: string]: Json }) =>
    tryTransform(udf, { module, as: "x", returns: "int", ...own }, input);
  await assert.rejects(() => use({ export: "joyn" }), {
    name: "PlanError",
    message: /Cannot use "joyn".*did you mean "join"/,
  });
  await assert.rejects(() => use({ export: "pi" }), {
    name: "PlanError",
    message: /no such function/,
  });
  await assert.rejects(() => use({ module: "./missing.js" }), {
    name: "PlanError",
    message: /Cannot load.*missing\.js/,
  });
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const valid = { module, args: ["n"], as: "x", returns: "int" };
  const cases: [options: Json, error: RegExp][] = [
    [{ ...valid, args: ["n", "m"] }, /^args.1: .*no column "m"/],
    [{ ...valid, args: "n" }, /^args: .*wanted a list of columns and expressions/],
    [{ ...valid, as: "id" }, /^as: Cannot replace column "id"/],
    [{ ...valid, returns: "number" }, /^returns: .*wanted a type;/],
    [{ module, args: [], returns: "int" }, /^as: Missing option "as"/],
  ];
  for (const [options, error] of cases) assert.match(await refusal(udf, options, schema), error);
});

Deno.test("it requires its arguments, and what is needed besides the result", () => {
  const options = { module, args: ["n + m"], as: "x", returns: "int" };
  assert.deepEqual(required(udf, options, ["x", "s"]), ["id", "m", "n", "s"]);
  assert.deepEqual(required(udf, { ...options, as: "n" }, ["n"]), ["id", "m", "n"]);
  assert.equal(required(udf, options, "all"), "all");
});
