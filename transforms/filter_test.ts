import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import filter from "./filter.ts";

const schema = parseSchema("id string, n int, ok boolean");
const batch = Batch.fromRows(schema, [
  { id: "r0", n: 1, ok: true },
  { id: "r1", n: null, ok: null },
  { id: "r2", n: 3, ok: false },
]);

Deno.test("rows stay for which the condition is true; false and null drop them", async () => {
  const cases: [options: Parameters<typeof refusal>[1], ids: string[]][] = [
    ["n > 1", ["r2"]],
    [{ condition: "not n > 1" }, ["r0"]],
    ["ok", ["r0"]],
    ["n is null", ["r1"]],
    [true, ["r0", "r1", "r2"]],
    [{ condition: false }, []],
    ["cast(null as boolean)", []],
  ];
  for (const [options, ids] of cases) {
    const { batch: output } = await tryTransform(filter, options, batch);
    assert.deepEqual([...output.column("id")], ids, JSON.stringify(options));
  }
});

Deno.test("a batch that loses no row is passed on as it is", async () => {
  const { batch: output } = await tryTransform(filter, "id is not null", batch);
  assert.equal(output, batch);
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const cases: [options: Parameters<typeof refusal>[1], error: RegExp][] = [
    ["n + 1", /^: Cannot use "n \+ 1" as a condition: it is int32, wanted boolean/],
    [{ condition: "n" }, /^condition: Cannot use "n" as a condition: it is int32, wanted boolean/],
    [{ condition: "m > 1" }, /^condition: .*no column "m"/],
    ["n >", /^: Cannot use "n >" for options: wanted a SQL (condition|expression)/],
    [{ condition: "n >" }, /^condition: .*wanted a SQL expression; it ends too early/],
    [{ conditon: "n > 1" }, /^condi\w+: .* option "condi/],
    [null, /^condition: Missing option "condition"/],
  ];
  for (const [options, error] of cases) assert.match(await refusal(filter, options, schema), error);
});

Deno.test("it requires what it reads besides what is needed", () => {
  assert.deepEqual(required(filter, "n > 1 and ok", ["x"]), ["id", "n", "ok", "x"]);
  assert.deepEqual(required(filter, { condition: "n > 1" }, ["n"]), ["id", "n"]);
  assert.equal(required(filter, "ok", "all"), "all");
});
