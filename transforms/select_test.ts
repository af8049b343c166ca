import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import select from "./select.ts";

const schema = parseSchema("id string, value string, n int, p struct<q: int>");
const batch = Batch.fromRows(schema, [
  { id: "r0", value: "abc", n: 1, p: { q: 5 } },
  { id: "r1", value: "d", n: 2, p: null },
]);

Deno.test("columns come in the order in which they are selected; id comes first when it is not named", async () => {
  const cases: [options: string[], schema: string][] = [
    [["n", "value"], "id string, n int32, value string"],
    [["n", "id"], "n int32, id string"],
    [["*"], "id string, value string, n int32, p struct<q: int32>"],
    [["n as m", "*"], "m int32, id string, value string, n int32, p struct<q: int32>"],
    [["p.q", "n + 1", "length(value) as size"], "id string, q int32, n + 1 int32, size int32"],
  ];
  for (const [options, expected] of cases) {
    const { batch: output } = await tryTransform(select, options, batch);
    assert.equal(String(output.schema), expected);
    assert.equal(output.numRows, 2);
  }
});

Deno.test("values are those of the expressions", async () => {
  const { rows } = await tryTransform(select, ["upper(value) as value", "p.q"], batch);
  assert.deepEqual(rows, [{ id: "r0", value: "ABC", q: 5 }, { id: "r1", value: "D", q: null }]);
});

Deno.test("without an id there is none added", async () => {
  const { rows } = await tryTransform(select, ["n"], batch.drop(["id"]));
  assert.deepEqual(rows, [{ n: 1 }, { n: 2 }]);
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const cases: [options: Parameters<typeof refusal>[1], error: RegExp][] = [
    [["n", "m"], /^1: .*no column "m"/],
    [
      ["n", "value as n"],
      /^1: Cannot select column "n" twice: give one of them another name by "as"/,
    ],
    [["*", "n"], /^1: Cannot select column "n" twice/],
    [["value as id"], /^0: Cannot replace column "id"/],
    [["n", "n +"], /^1: Cannot use "n \+" for "\[1\]": wanted a SQL expression; it ends too early/],
    [[], /^: .*wanted a column or more/],
    ["n", /^: .*wanted a list of columns and expressions/],
  ];
  for (const [options, error] of cases) assert.match(await refusal(select, options, schema), error);
});

Deno.test("it requires what it reads, and with * what is needed besides", () => {
  assert.deepEqual(required(select, ["n", "length(value) as size"], ["size"]), [
    "id",
    "n",
    "value",
  ]);
  assert.deepEqual(required(select, ["n"], "all"), ["id", "n"]);
  assert.deepEqual(required(select, ["*", "n + m as s"], ["s", "x"]), ["id", "m", "n", "x"]);
  assert.equal(required(select, ["*", "n as m"], "all"), "all");
});
