import assert from "node:assert/strict";
import { builtins } from "../plugins/builtins.ts";
import type { Json } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { Registry } from "../plugins/registry.ts";
import {
  ENGINE_SCHEMA,
  keptColumns,
  makePlan,
  type PlanDraft,
  requiredColumns,
  resolveSchemas,
} from "./make_plan.ts";
import { DEFAULT_BATCHING } from "./plan.ts";

const DRAFT: PlanDraft = {
  name: "q",
  source: { name: "memory", options: { schema: "id string, a int, b string, c double" } },
  transforms: [],
  sink: { name: "memory", options: {} },
  engine: {},
  plugins: [],
  baseUrl: "file:///configs/my%20config/",
};

const make = (draft: Partial<PlanDraft> = {}, registry = new Registry(builtins)) =>
  makePlan({ ...DRAFT, ...draft }, registry);

/** A transform for tests, as a module. */
const plugin = (body: string) =>
  `data:text/javascript,${
    encodeURIComponent(
      `export default { kind: "transform", name: "mine", summary: "s", options: (v) => v.unknown(),
        create: () => ({ transform: (batch) => batch }), ${body} }`,
    )
  }`;

/** How a message ends that names all plugins of a kind. */
const known = (kind: string) =>
  `Known: ${builtins.filter((e) => e.kind === kind).map(({ name }) => `"${name}"`).join(", ")}`;

const use = (name: string, options: Json = {}) => ({ name, options });

Deno.test("a draft becomes a plan: names in full, defaults of the engine filled in, options as given", async () => {
  const plan = await make({
    source: { name: "server", options: { port: 0, name: "api" } },
    transforms: [use("with_column", { reply: "value" })],
    sink: { name: "org.apache.spark.sql.execution.streaming.HTTPSinkProvider", options: null },
  });
  assert.deepEqual(plan, {
    version: 1,
    name: "q",
    source: { name: "http", options: { port: 0, name: "api" } },
    transforms: [{ name: "with_column", options: { reply: "value" } }],
    sink: { name: "http", options: {} },
    partitions: 1,
    trigger: { continuous: true },
    batching: DEFAULT_BATCHING,
    plugins: [],
    baseUrl: DRAFT.baseUrl,
  });
  assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
});

Deno.test("options of the engine take their place in the plan", async () => {
  const plan = await make({
    engine: { partitions: 4, checkpoint: "./state", maxBatchSize: 7, maxQueueSize: 9 },
  });
  assert.equal(plan.partitions, 4);
  assert.equal(plan.checkpoint, "/configs/my config/state");
  assert.deepEqual(plan.batching, { ...DEFAULT_BATCHING, maxBatchSize: 7, maxQueueSize: 9 });
  const places = { "/state": "/state", "file:///a%20b": "/a b", "../a#b%20c": "/configs/a#b%20c" };
  for (const [checkpoint, path] of Object.entries(places)) {
    assert.equal((await make({ engine: { checkpoint } })).checkpoint, path);
  }
});

Deno.test("triggers by name, as maps, with times as text", async () => {
  const cases: [given: Json, trigger: Json][] = [
    ["continuous", { continuous: true }],
    ["availableNow", { availableNow: true }],
    ["once", { once: true }],
    [{ processingTime: 1500 }, { processingTime: 1500 }],
    [{ processingTime: "5 seconds" }, { processingTime: 5000 }],
    [{ processingTime: "1 minute" }, { processingTime: 60_000 }],
    [{ processingTime: "0.5s" }, { processingTime: 500 }],
    [{ processingTime: "20 ms" }, { processingTime: 20 }],
    [{ processingTime: "2 Hours" }, { processingTime: 7_200_000 }],
    [{ continuous: "1 second" }, { continuous: true }],
    [{ continuous: true }, { continuous: true }],
    [{ availableNow: true }, { availableNow: true }],
    [{ once: true }, { once: true }],
  ];
  for (const [trigger, wanted] of cases) {
    assert.deepEqual((await make({ trigger })).trigger, wanted, JSON.stringify(trigger));
  }
});

Deno.test("outside plugins are kept as URLs, so that they mean the same elsewhere", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/mine.ts`;
  try {
    const code = decodeURIComponent(plugin("")).replace("data:text/javascript,", "");
    await Deno.writeTextFile(path, code);
    const registry = new Registry(builtins);
    const plan = await make({
      plugins: ["./mine.ts"],
      transforms: [use("mine")],
      baseUrl: new URL(`file://${directory}/`).href,
    }, registry);
    assert.deepEqual(plan.plugins, [`file://${path}`]);
    assert.deepEqual(await resolveSchemas(plan, registry).then((s) => s.map(String)), [
      "id string, a int32, b string, c float64",
      "undefined",
    ]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("what is wrong with a draft is told whole, and its path leads to the culprit", async () => {
  const names = Object.keys(ENGINE_SCHEMA.entries).map((key) => `"${key}"`);
  const engineKnown = `Known: ${names.join(", ")}`;
  const triggers = 'continuous, availableNow, once, or {processingTime: "5 seconds"}';
  const cases: [draft: Partial<PlanDraft>, message: string, path: (string | number)[]][] = [
    [{ name: "" }, "Cannot start a query without a name: wanted text", ["name"]],
    [
      { source: use("memry") },
      `Unknown source "memry": did you mean "memory"? ${known("source")}`,
      ["source"],
    ],
    [
      { source: use("http", { port: "http" }) },
      'Cannot use "http" for "port": wanted number',
      ["source", "http", "port"],
    ],
    [
      { source: use("server", { port: -1 }) },
      'Cannot use -1 for "port": wanted at least 0',
      ["source", "server", "port"],
    ],
    [
      { source: use("rate", { numRow: 1 }) },
      'Unknown option "numRow": did you mean "numRows"? Known: "rowsPerSecond", "numRows"',
      ["source", "rate", "numRow"],
    ],
    [{ source: use("memory") }, 'Missing option "schema": wanted string', [
      "source",
      "memory",
      "schema",
    ]],
    [
      { source: use("memory", { schema: "a int", rows: [{ a: "x" }] }) },
      'Cannot read row 0: field "a": wanted int32, given "x"',
      ["source", "memory", "rows", 0],
    ],
    [
      { transforms: [use("drop", ["a"]), use("rename", { zz: "y" })] },
      'Cannot rename column "zz": no such column; did you mean "id"? Known: "id", "b", "c"',
      ["transforms", 1, "rename", "zz"],
    ],
    [
      { transforms: [use("with_column", { n: "lenght(b)" })] },
      'Cannot compile "lenght(b)": there is no function "lenght"; did you mean "length"?',
      ["transforms", 0, "with_column", "n"],
    ],
    [
      { transforms: [use("with_column", { n: "missing + 1" })] },
      'Cannot compile "missing + 1": there is no column "missing"; did you mean "id"? ' +
      'Known: "id", "a", "b", "c"',
      ["transforms", 0, "with_column", "n"],
    ],
    [
      { transforms: [use("with_column", { id: "b" })] },
      'Cannot replace column "id": replies are routed by it; choose another name',
      ["transforms", 0, "with_column", "id"],
    ],
    [
      { sink: use("consol") },
      `Unknown sink "consol": did you mean "console"? ${known("sink")}`,
      [
        "sink",
      ],
    ],
    [
      { sink: use("http", { replyCol: "out" }) },
      'Cannot reply with column "out": no such column; there are "id", "a", "b", "c"',
      ["sink", "http", "replyCol"],
    ],
    [
      { source: use("rate"), sink: use("server", { replyCol: "value" }) },
      'Cannot reply with column "id": no such column; its source has no requests to answer',
      ["sink", "server"],
    ],
    [
      { engine: { partitons: 2 } },
      `Unknown option "partitons": did you mean "partitions"? ${engineKnown}`,
      ["partitons"],
    ],
    [{ engine: { partitions: 0 } }, 'Cannot use 0 for "partitions": wanted at least 1', [
      "partitions",
    ]],
    [{ engine: { partitions: 1.5 } }, 'Cannot use 1.5 for "partitions": wanted a whole number', [
      "partitions",
    ]],
    [
      { engine: { checkpoint: "" } },
      'Cannot use "" for "checkpoint": wanted something that is not empty',
      [
        "checkpoint",
      ],
    ],
    [
      { engine: { checkpoint: "s3://bucket/state" } },
      'Cannot use "s3://bucket/state" for "checkpoint": wanted a directory of this machine',
      ["checkpoint"],
    ],
    [{ trigger: "onec" }, `Cannot use "onec" for "trigger": wanted ${triggers}`, ["trigger"]],
    [
      { trigger: { processingTime: "soon" } },
      'Cannot use "soon" for "trigger.processingTime": wanted milliseconds, or text such as "5 seconds"',
      ["trigger", "processingTime"],
    ],
    [
      { trigger: { processingTime: 0 } },
      'Cannot use 0 for "trigger.processingTime": wanted at least 1',
      ["trigger", "processingTime"],
    ],
    [
      { plugins: ["mine"] },
      'Cannot load module "mine": no package "mine" in node_modules beside ' +
      "the config; install it there (npm install mine), or write ./mine for a file",
      ["plugins", 0],
    ],
    [
      { plugins: [plugin(""), `${plugin("")} `] },
      `Cannot use plugin "${
        plugin("")
      } ": there is a transform named "mine" already; give it another name`,
      ["plugins", 1],
    ],
    [
      { plugins: [plugin("outputSchema: () => 5")], transforms: [use("mine")] },
      'Cannot use transform "mine": its outputSchema gave number, wanted a Schema',
      ["transforms", 0, "mine"],
    ],
    [
      {
        plugins: [plugin('outputSchema: (_, input) => input.without(["id"])')],
        transforms: [use("mine")],
      },
      'Cannot use transform "mine": it drops the column "id", by which replies are routed',
      ["transforms", 0, "mine"],
    ],
    [
      {
        plugins: [plugin('outputSchema: () => { throw new RangeError("no good"); }')],
        transforms: [use("mine")],
      },
      "no good",
      ["transforms", 0, "mine"],
    ],
  ];
  for (const [draft, message, path] of cases) {
    await assert.rejects(() => make(draft), (error) => {
      assert(error instanceof PlanError, String(error));
      assert.equal(error.message, message);
      assert.deepEqual(error.path, path, message);
      return true;
    });
  }
});

Deno.test("columns of the source that nobody reads are left out", async () => {
  const cases: [transforms: PlanDraft["transforms"], replyCol: string, columns: string[]][] = [
    [[], "b", ["id", "b"]],
    [[], "id", ["id"]],
    [[use("with_column", { n: "length(b)" })], "n", ["id", "b"]],
    [[use("with_column", { n: "length(b)" })], "a", ["id", "a", "b"]],
    [[use("with_column", { b: "a + 1" })], "b", ["id", "a"]],
    [[use("filter", { condition: "c > 1" })], "b", ["id", "b", "c"]],
    [[use("rename", { a: "n" })], "n", ["id", "a"]],
    [[use("select", ["a as n", "b"])], "n", ["id", "a", "b"]],
    [[use("drop", ["c"])], "a", ["id", "a"]],
  ];
  for (const [transforms, replyCol, columns] of cases) {
    const registry = new Registry(builtins);
    const plan = await make({ transforms, sink: use("http", { replyCol }) }, registry);
    const required = await requiredColumns(plan, registry);
    const what = JSON.stringify([transforms, replyCol]);
    assert.deepEqual(keptColumns(["id", "a", "b", "c"], required), columns, what);
    const schemas = await resolveSchemas(plan, registry);
    assert.deepEqual(schemas[0]!.names, columns, what);
    assert.equal(schemas.length, transforms.length + 1);
    assert.ok(schemas.at(-1)!.has(replyCol), what);
  }
});

Deno.test("all columns are kept for a sink or a transform that does not say what it needs", async () => {
  const registry = new Registry(builtins);
  assert.equal(await requiredColumns(await make({}, registry), registry), "all");
  const plan = await make({
    plugins: [plugin("")],
    transforms: [use("mine")],
    sink: use("http", { replyCol: "b" }),
  }, registry);
  assert.equal(await requiredColumns(plan, registry), "all");
  assert.deepEqual((await resolveSchemas(plan, registry)).map((schema) => schema?.names), [
    ["id", "a", "b", "c"],
    undefined,
  ]);
});
