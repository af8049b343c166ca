import assert from "node:assert/strict";
import { Batch, Schema } from "../engine/batch.ts";
import { PlanError } from "../plugins/errors.ts";
import { pluginContext } from "../tests/contexts.ts";
import foreachBatch from "./foreach_batch.ts";

const BATCH = Batch.fromRows(new Schema([{ name: "n", type: "int32" }]), [{ n: 1 }, { n: 2 }]);

const moduleOf = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
const open = (module: string, given: { export?: string; options?: unknown } = {}) =>
  foreachBatch.create({ module, export: "default", options: {}, ...given }, pluginContext());

Deno.test("the function gets each batch with its id, its options and what it needs to work", async () => {
  const sink = await open(
    moduleOf(`
      export const calls = globalThis.foreachBatchCalls = [];
      export function keep(batch, batchId, { options, logger, signal, Batch, Schema }) {
        logger.info("called");
        calls.push([batchId, batch.rows(), options, signal.aborted, batch instanceof Batch,
          batch.schema instanceof Schema]);
      }`),
    { export: "keep", options: { table: "seen" } },
  );
  await sink.addBatch(0, BATCH);
  await sink.addBatch(1, BATCH.slice(1));
  assert.deepEqual((globalThis as unknown as { foreachBatchCalls: unknown }).foreachBatchCalls, [
    [0, [{ n: 1 }, { n: 2 }], { table: "seen" }, false, true, true],
    [1, [{ n: 2 }], { table: "seen" }, false, true, true],
  ]);
});

Deno.test("the sink waits for the function, and passes on what it throws", async () => {
  const sink = await open(moduleOf(`
    export default async (batch, batchId) => {
      await new Promise((resolve) => queueMicrotask(resolve));
      if (batchId === 1) throw new RangeError("disk full");
    }`));
  await sink.addBatch(0, BATCH);
  await assert.rejects(async () => await sink.addBatch(1, BATCH), new RangeError("disk full"));
});

Deno.test("a module or function that is not there is named, with what there is", async () => {
  const module = moduleOf("export const saveTo = () => {}, table = 1;");
  const cases: [what: string, module: string, name: string, message: RegExp][] = [
    [
      "a name that is not exported",
      module,
      "savTo",
      /^Cannot use "savTo" of "data:.*": it exports no such function; did you mean "saveTo"\? Known: "saveTo"$/,
    ],
    ["something else than a function", module, "table", /Known: "saveTo"$/],
    ["a name that every object has", module, "toString", /Known: "saveTo"$/],
    [
      "a module without functions",
      moduleOf("export default 1"),
      "default",
      /it exports no such function; there are none$/,
    ],
    [
      "no module",
      "./absent.ts",
      "default",
      /^Cannot load module "\.\/absent\.ts": there is no file/,
    ],
  ];
  for (const [what, module, name, message] of cases) {
    await assert.rejects(async () => await open(module, { export: name }), (error) => {
      assert(error instanceof PlanError, what);
      assert.match(error.message, message, what);
      return true;
    });
  }
});
