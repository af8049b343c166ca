import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import drop from "./drop.ts";

const schema = parseSchema("id string, a int, b int");
const batch = Batch.fromRows(schema, [{ id: "r0", a: 1, b: 2 }]);

Deno.test("columns are dropped by name; names that are not there are ignored", async () => {
  assert.deepEqual((await tryTransform(drop, "a", batch)).rows, [{ id: "r0", b: 2 }]);
  assert.deepEqual((await tryTransform(drop, ["a", "b", "c"], batch)).rows, [{ id: "r0" }]);
});

Deno.test("id is not dropped, unless there is none", async () => {
  assert.match(await refusal(drop, ["a", "id"], schema), /^1: Cannot drop column "id"/);
  assert.match(await refusal(drop, "id", schema), /^: Cannot drop column "id"/);
  const { rows } = await tryTransform(drop, ["id"], batch.drop(["id"]));
  assert.deepEqual(rows, [{ a: 1, b: 2 }]);
});

Deno.test("options of another shape are refused", async () => {
  assert.match(await refusal(drop, [], schema), /wanted a column or more/);
  assert.match(await refusal(drop, 5, schema), /wanted the name of a column, or a list of them/);
  assert.match(await refusal(drop, [5], schema), /^0: /);
});

Deno.test("it requires what is needed, without what it drops", () => {
  assert.deepEqual(required(drop, ["a", "c"], ["b", "a"]), ["b", "id"]);
  assert.equal(required(drop, "a", "all"), "all");
});
