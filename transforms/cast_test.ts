import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import cast from "./cast.ts";

const schema = parseSchema("id string, s string, x double, p struct<a: int>, l array<string>");
const batch = Batch.fromRows(schema, [
  { id: "r0", s: "7", x: 1.9, p: { a: 1 }, l: ["1", "b"] },
  { id: "r1", s: "seven", x: null, p: null, l: [] },
]);

Deno.test("columns are cast in their places; what cannot be cast is null", async () => {
  const { batch: output } = await tryTransform(
    cast,
    { s: "int", x: "bigint", l: "list<double>" },
    batch,
  );
  assert.equal(
    String(output.schema),
    "id string, s int32, x int64, p struct<a: int32>, l list<float64>",
  );
  assert.deepEqual(output.rows(), [
    { id: "r0", s: 7, x: 1n, p: { a: 1 }, l: [1, null] },
    { id: "r1", s: null, x: null, p: null, l: [] },
  ]);
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const cases: [options: Parameters<typeof refusal>[1], error: RegExp][] = [
    [{ y: "int" }, /^y: Cannot cast column "y": no such column/],
    [{ p: "int" }, /^p: .*there is no cast from struct<a: int32> to int32/],
    [{ s: "integre" }, /^s: Cannot use "integre" for "s": wanted a type;/],
    [{ id: "string" }, /^id: Cannot cast column "id"/],
    [{}, /^: .*wanted a column and its type/],
  ];
  for (const [options, error] of cases) assert.match(await refusal(cast, options, schema), error);
});

Deno.test("it requires the columns it casts", () => {
  assert.deepEqual(required(cast, { s: "int" }, ["x"]), ["id", "s", "x"]);
  assert.equal(required(cast, { s: "int" }, "all"), "all");
});
