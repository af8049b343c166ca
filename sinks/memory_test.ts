import assert from "node:assert/strict";
import fc from "fast-check";
import { Batch, Schema } from "../engine/batch.ts";
import { pluginContext } from "../tests/contexts.ts";
import memory, { dropMemoryTable, memoryTable } from "./memory.ts";

const schema = new Schema([{ name: "n", type: "int32" }]);
const batchOf = (...numbers: number[]) => new Batch(schema, [Int32Array.from(numbers)]);

Deno.test("rows are kept under the given name, or under that of the query", async () => {
  const named = await memory.create({ name: "named" }, pluginContext({ service: "query" }));
  const unnamed = await memory.create({}, pluginContext({ service: "query" }));
  await named.addBatch(0, batchOf(1, 2));
  await unnamed.addBatch(0, batchOf(3));
  assert.deepEqual(memoryTable("named").rows(), [{ n: 1 }, { n: 2 }]);
  assert.deepEqual(memoryTable("query").rows(), [{ n: 3 }]);
  dropMemoryTable("named");
  dropMemoryTable("query");
  assert.equal(memoryTable("named").numRows, 0);
  dropMemoryTable("named");
});

Deno.test("a batch takes the place of an earlier one of its id, in the order of ids", () => {
  fc.assert(fc.property(
    fc.array(fc.record({ id: fc.nat({ max: 5 }), rows: fc.array(fc.integer()) })),
    (puts) => {
      const table = memoryTable("property");
      table.clear();
      const model = new Map<number, number[]>();
      for (const { id, rows } of puts) {
        table.put(id, new Batch(schema, [Int32Array.from(rows)]));
        model.set(id, rows.map((n) => n | 0));
      }
      const wanted = [...model].sort(([a], [b]) => a - b).flatMap(([, rows]) => rows);
      assert.deepEqual(table.rows(), wanted.map((n) => ({ n })));
      assert.equal(table.numRows, wanted.length);
    },
  ));
  dropMemoryTable("property");
});
