import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import type { Json } from "../plugins/contract.ts";
import { refusal, transformContext, tryTransform } from "../tests/try_transform.ts";
import mapBatches from "./map_batches.ts";

const module = "data:text/javascript," + encodeURIComponent(`
  export default (batch) => batch.filter([true, false]);
  export const late = async (batch) => { await 0; return batch.withColumn("m", "int32", batch.column("n")); };
  export const swapped = (batch) => batch.withColumn("m", "int32", batch.column("n")).select(["m", "id"]);
  export const own = (batch, { Batch, Schema, options, service, reply }) => {
    reply("r0", { status: 200, body: service });
    return new Batch(new Schema([{ name: "id", type: "string" }, { name: "x", type: "string" }]),
      [batch.column("id"), Array(batch.numRows).fill(JSON.stringify(options))]);
  };
  export const nothing = () => {};
`);
const schema = parseSchema("id string, n int");
const input = Batch.fromRows(schema, [{ id: "r0", n: 1 }, { id: "r1", n: 2 }]);
const run = (options: { [key: string]: Json }) =>
  tryTransform(mapBatches, { module, ...options }, input);

Deno.test("the function's batch is the result, at once or later", async () => {
  assert.deepEqual((await run({})).rows, [{ id: "r0", n: 1 }]);
  assert.deepEqual((await run({ export: "late" })).rows, [
    { id: "r0", n: 1, m: 1 },
    { id: "r1", n: 2, m: 2 },
  ]);
});

Deno.test("the function is handed all it needs, so its module imports nothing", async () => {
  const { rows, replies } = await run({ export: "own", options: { a: [1] } });
  assert.deepEqual(rows[1], { id: "r1", x: '{"a":[1]}' });
  assert.deepEqual([...replies], [["r0", { status: 200, body: "test" }]]);
  assert.equal((await run({ export: "own" })).rows[0]!.x, "null");
});

Deno.test("declared columns may come in any order; the declared one is kept, id first", async () => {
  const { batch } = await run({ export: "swapped", schema: "m int" });
  assert.equal(String(batch.schema), "id string, m int32");
  const named = await run({ export: "swapped", schema: "m int, id string" });
  assert.equal(String(named.batch.schema), "m int32, id string");
});

Deno.test("columns other than the declared ones are left for the engine to refuse", async () => {
  const { batch } = await run({ export: "late", schema: "m int" });
  assert.equal(String(batch.schema), "id string, n int32, m int32");
  const transform = await mapBatches.create(
    { module, export: "nothing", schema: "m int" },
    transformContext(),
  );
  assert.equal(await transform.transform(input), undefined);
});

Deno.test("without a declared schema only the data can tell", () => {
  const declared = (options: { [key: string]: Json }) =>
    mapBatches.outputSchema!({ module, export: "default", ...options }, schema, transformContext());
  assert.equal(declared({}), undefined);
  assert.equal(String(declared({ schema: "a double" })), "id string, a float64");
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  assert.match(await refusal(mapBatches, {}, schema), /^module: Missing option "module"/);
  assert.match(
    await refusal(mapBatches, { module, schema: "a nit" }, schema),
    /^schema: .*wanted columns and their types/,
  );
  await assert.rejects(() => run({ export: "lat" }), {
    name: "PlanError",
    message: /did you mean "late"/,
  });
});

Deno.test("it requires all columns: only the function knows which", () => {
  assert.equal(mapBatches.requires, undefined);
});
