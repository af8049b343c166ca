import assert from "node:assert/strict";

import { col, lower } from "../mod.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { makePlan, requiredColumns, resolveSchemas } from "../engine/make_plan.ts";
import { session } from "../engine/session.ts";
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";
import { refusal } from "../tests/try_transform.ts";
import repartition from "./repartition.ts";

const INPUT = parseSchema("id string, user string, n int");

Deno.test("options that do not fit are refused, each with its path", async () => {
  const cases: readonly [Parameters<typeof refusal>[1], string][] = [
    [
      { keys: ["user", "usr"] },
      'keys.1: Cannot compile "usr": there is no column "usr"; did you mean "user"?',
    ],
    [{ keys: ["n +"] }, "keys.0: "],
    [{ keys: "user" }, "keys: "],
    [{ partitions: 0 }, "partitions: "],
    [{ partitions: 1.5 }, "partitions: "],
    [{ keys: [], by: "user" }, "by: "],
  ];
  for (const [options, message] of cases) {
    const refused = await refusal(repartition, options, INPUT);
    assert.ok(refused.startsWith(message), refused);
  }
});

Deno.test("what a plan reads before and after rows move is known", async () => {
  const registry = new Registry(builtins);
  const use = (name: string, options: Parameters<typeof refusal>[1]) => ({ name, options });
  const plan = await makePlan({
    name: "q",
    source: use("http", { port: 0 }),
    transforms: [
      use("with_column", { key: "request.path", size: "length(value)" }),
      use("repartition", { keys: ["key"] }),
      use("with_column", { reply: "size + 1" }),
    ],
    sink: use("http", { replyCol: "reply" }),
    engine: {},
    plugins: [],
    baseUrl: "file:///",
  }, registry);
  assert.deepEqual(await requiredColumns(plan, registry), new Set(["id", "value", "request"]));
  assert.deepEqual((await resolveSchemas(plan, registry)).map((schema) => schema?.names), [
    ["id", "value", "request"],
    ["id", "value", "request", "key", "size"],
    // What only the stage before the move has read stays behind.
    ["id", "key", "size"],
    ["id", "key", "size", "reply"],
  ]);
});

Deno.test("frames are repartitioned by columns, by expressions, in turn, and to fewer partitions", async () => {
  const rows = Array.from({ length: 40 }, (_, at) => ({ n: at, key: `k${at % 5}` }));
  const frame = session.read.format("memory").option("rows", rows).schema("n int, key string")
    .option("partitions", 2).load();
  const cases = [
    [frame.repartition("key"), "key"],
    [frame.repartition(2, "n").filter("n >= 0").repartition(lower(col("key"))), undefined],
    [frame.repartition(1), "key"],
    [frame.repartition(7), undefined],
  ] as const;
  for (const [moved, ordered] of cases) {
    const collected = await moved.collect();
    assert.deepEqual(collected.toSorted((a, b) => Number(a.n) - Number(b.n)), rows);
    for (const key of ordered === undefined ? [] : ["k0", "k3"]) {
      const order = collected.filter((row) => row.key === key).map((row) => Number(row.n));
      assert.deepEqual(order, order.toSorted((a, b) => a - b));
    }
  }
});
