import assert from "node:assert/strict";
import { Batch, type Schema } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { refusal, required, transformContext, tryTransform } from "../tests/try_transform.ts";
import withColumn from "./with_column.ts";

const schema = parseSchema("id string not null, value string not null, n int");
const batch = Batch.fromRows(schema, [
  { id: "r0", value: "abc", n: 1 },
  { id: "r1", value: "", n: null },
]);

Deno.test("a column is added at the end, or put in the place of another", async () => {
  const { batch: output } = await tryTransform(
    withColumn,
    { size: "length(value)", value: "upper(value)" },
    batch,
  );
  assert.equal(String(output.schema), "id string, value string, n int32, size int32");
  assert.deepEqual(output.rows(), [
    { id: "r0", value: "ABC", n: 1, size: 3 },
    { id: "r1", value: "", n: null, size: 0 },
  ]);
  assert.ok(output.column("size") instanceof Int32Array);
  assert.equal(output.column("id"), batch.column("id"));
});

Deno.test("a later expression reads the columns of earlier ones", async () => {
  const { rows } = await tryTransform(withColumn, { n: "n + 1", m: "n * 10" }, batch);
  assert.deepEqual(rows.map(({ n, m }) => [n, m]), [[2, 20], [null, null]]);
});

Deno.test("numbers and booleans that YAML made are expressions too", async () => {
  const { rows } = await tryTransform(withColumn, { half: 0.5, yes: true, one: 1 }, batch);
  assert.deepEqual(rows[1], { id: "r1", value: "", n: null, half: 0.5, yes: true, one: 1 });
});

Deno.test("all expressions of a batch see the same time", async () => {
  const { rows } = await tryTransform(
    withColumn,
    { a: "current_timestamp()", b: "current_timestamp()" },
    batch,
  );
  assert.equal(new Set(rows.flatMap(({ a, b }) => [a, b])).size, 1);
});

Deno.test("a function of the user's is loaded when the transform is created", async () => {
  const module = "data:text/javascript,export const twice = (text) => text + text";
  const sql = `udf('${module}', 'twice', 'string', value)`;
  const { rows } = await tryTransform(withColumn, { value: sql }, batch);
  assert.deepEqual(rows.map(({ value }) => value), ["abcabc", ""]);
  await assert.rejects(
    async () =>
      await withColumn.create({ x: sql.replace("'twice'", "'thrice'") }, transformContext()),
    { name: "PlanError", path: ["x"], message: /Cannot use "thrice".*did you mean "twice"/ },
  );
});

Deno.test("without a known input it is compiled for the batches that come", async () => {
  const transform = await withColumn.create({ x: "n + 1" }, transformContext());
  const floats = Batch.fromRows(parseSchema("id string, n double"), [{ id: "r", n: 1.5 }]);
  assert.deepEqual([...(await transform.transform(batch)).column("x")], [2, null]);
  assert.deepEqual([...(await transform.transform(floats)).column("x")], [2.5]);
  await assert.rejects(async () => await transform.transform(batch.drop(["n"])), {
    name: "PlanError",
  });
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const cases: [options: Parameters<typeof refusal>[1], error: RegExp][] = [
    [{ x: "length(valeu)" }, /^x: .*no column "valeu"; did you mean "value"/],
    [{ a: "b", b: "1" }, /^a: .*no column "b"/],
    [
      { x: "length(" },
      /^x: Cannot use "length\(" for "x": wanted a SQL expression; it ends too early/,
    ],
    [{ x: "*" }, /^x: .*\* stands for columns/],
    [{ id: "value" }, /^id: Cannot replace column "id": replies are routed by it/],
    [{}, /^: .*wanted a column and its expression/],
    [{ x: null }, /^x: .*wanted a SQL expression/],
    ["x", /^: .*wanted a map of column names to expressions/],
  ];
  for (const [options, error] of cases) {
    assert.match(await refusal(withColumn, options, schema), error);
  }
});

Deno.test("a batch without requests may have its id made", async () => {
  const { rows } = await tryTransform(withColumn, { id: "value" }, batch.drop(["id"]));
  assert.deepEqual(rows.map(({ id }) => id), ["abc", ""]);
});

Deno.test("it requires what it reads, and what is needed besides what it makes", () => {
  const options = { a: "length(value)", b: "a + n", c: "c + 1" };
  assert.deepEqual(required(withColumn, options, ["id", "b", "x"]), ["c", "id", "n", "value", "x"]);
  assert.deepEqual(required(withColumn, options, []), ["c", "id", "n", "value"]);
  assert.deepEqual(required(withColumn, { a: "1" }, ["a"]), ["id"]);
  assert.equal(required(withColumn, options, "all"), "all");
});

Deno.test("a column that cannot be null is declared so", () => {
  const output = withColumn.outputSchema!(
    { a: "length(value)", b: "n + 1" },
    schema,
    transformContext(),
  ) as Schema;
  assert.equal(output.field("a").nullable, false);
  assert.equal(output.field("b").nullable, undefined);
});
