import assert from "node:assert/strict";
import fc from "fast-check";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import explode from "./explode.ts";

const schema = parseSchema("id string, tags array<string>, n int");
const batch = Batch.fromRows(schema, [
  { id: "r0", tags: ["a", null, "b"], n: 0 },
  { id: "r1", tags: [], n: 1 },
  { id: "r2", tags: null, n: 2 },
  { id: "r3", tags: ["c"], n: 3 },
]);

Deno.test("each item gets a row, with the other columns repeated", async () => {
  const { batch: output } = await tryTransform(explode, "tags", batch);
  assert.equal(String(output.schema), "id string, tags string, n int32");
  assert.deepEqual(output.rows(), [
    { id: "r0", tags: "a", n: 0 },
    { id: "r0", tags: null, n: 0 },
    { id: "r0", tags: "b", n: 0 },
    { id: "r3", tags: "c", n: 3 },
  ]);
});

Deno.test("with outer, a row without items stays with a null item and position", async () => {
  const { batch: output } = await tryTransform(
    explode,
    { column: "tags", as: "tag", position: "at", outer: true },
    batch,
  );
  assert.equal(
    String(output.schema),
    "id string, tags list<string>, n int32, tag string, at int32",
  );
  assert.deepEqual(output.rows().map(({ id, tag, at }) => [id, tag, at]), [
    ["r0", "a", 0],
    ["r0", null, 1],
    ["r0", "b", 2],
    ["r1", null, null],
    ["r2", null, null],
    ["r3", "c", 0],
  ]);
  assert.deepEqual(output.row(5).tags, ["c"]);
});

Deno.test("items of lists in typed arrays are found too, and stored as their type is", async () => {
  const numbers = new Batch(parseSchema("id string, v list<float32>"), [
    ["r0", "r1"],
    [Float32Array.of(1, 2), [3]],
  ]);
  const { batch: output } = await tryTransform(explode, { column: "v", position: "at" }, numbers);
  assert.deepEqual(output.column("v"), Float32Array.of(1, 2, 3));
  assert.deepEqual(output.column("at"), Int32Array.of(0, 1, 0));
});

Deno.test("no item is lost or made up, whatever the lists are", async () => {
  const lists = fc.array(fc.option(fc.array(fc.integer({ min: -9, max: 9 }))), { minLength: 1 });
  await fc.assert(fc.asyncProperty(lists, fc.boolean(), async (lists, outer) => {
    const input = Batch.fromRows(
      parseSchema("id string, v array<int>"),
      lists.map((v, at) => ({ id: `r${at}`, v })),
    );
    const { rows } = await tryTransform(explode, { column: "v", outer }, input);
    assert.deepEqual(
      rows,
      lists.flatMap((list, at) =>
        (list?.length ? list : outer ? [null] : []).map((v) => ({ id: `r${at}`, v }))
      ),
    );
  }));
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const cases: [options: Parameters<typeof refusal>[1], error: RegExp][] = [
    ["n", /^: Cannot explode column "n": it is int32, wanted a list/],
    [{ column: "n" }, /^column: Cannot explode column "n": it is int32, wanted a list/],
    ["tag", /^: Cannot explode column "tag": no such column; did you mean "tags"/],
    [{ column: "tags", as: "n" }, /^as: Cannot explode into column "n": there is one already/],
    [{ column: "tags", as: "id" }, /^as: Cannot explode into column "id"/],
    [{ column: "tags", position: "tags" }, /^position: Cannot explode into column "tags"/],
    [{ column: "tags", as: "x", position: "x" }, /^position: Cannot explode into column "x"/],
    [{ colum: "tags" }, /^colum\w*: .* option "colum/],
  ];
  for (const [options, error] of cases) {
    assert.match(await refusal(explode, options, schema), error);
  }
});

Deno.test("it requires the lists, and what is needed besides what it makes", () => {
  const options = { column: "tags", as: "tag", position: "at" };
  assert.deepEqual(required(explode, options, ["tag", "at", "n"]), ["id", "n", "tags"]);
  assert.deepEqual(required(explode, "tags", ["tags"]), ["id", "tags"]);
  assert.equal(required(explode, "tags", "all"), "all");
});
