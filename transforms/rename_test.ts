import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import rename from "./rename.ts";

const schema = parseSchema("id string, a int not null, b string");
const batch = Batch.fromRows(schema, [{ id: "r0", a: 1, b: "x" }]);

Deno.test("columns get other names in their places, also when they swap", async () => {
  const one = await tryTransform(rename, { a: "number" }, batch);
  assert.equal(String(one.batch.schema), "id string, number int32, b string");
  assert.equal(one.batch.schema.field("number").nullable, false);
  const two = await tryTransform(rename, { a: "b", b: "a" }, batch);
  assert.equal(String(two.batch.schema), "id string, b int32, a string");
  assert.deepEqual(two.rows, [{ id: "r0", b: 1, a: "x" }]);
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const cases: [options: Parameters<typeof refusal>[1], error: RegExp][] = [
    [{ c: "d" }, /^c: Cannot rename column "c": no such column; did you mean/],
    [{ a: "b" }, /^a: Cannot rename column "a" to "b": another column has that name/],
    [{ a: "c", b: "c" }, /^a: Cannot rename column "a" to "c": another column has that name/],
    [{ a: "id" }, /^a: Cannot rename column "a" to "id": another column has that name/],
    [{ id: "key" }, /^id: Cannot rename column "id": replies are routed by it/],
    [{ a: "" }, /^a: .*wanted the name of a column/],
    [{}, /^: .*wanted an old name and a new one/],
  ];
  for (const [options, error] of cases) assert.match(await refusal(rename, options, schema), error);
});

Deno.test("it requires the old names", () => {
  assert.deepEqual(required(rename, { a: "c" }, ["c", "b"]), ["a", "b", "id"]);
  assert.deepEqual(required(rename, { a: "b", b: "a" }, ["b"]), ["a", "b", "id"]);
  assert.equal(required(rename, { a: "c" }, "all"), "all");
});
