import assert from "node:assert/strict";
import { Batch, Schema } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { REQUEST_SCHEMA } from "../engine/http/service.ts";
import type { Json } from "../plugins/contract.ts";
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";
import { dataUrl } from "../onnx/model_source.ts";
import { conformTransform, type TransformCase } from "./conformance_transform.ts";
import { oneNode, onnxModel } from "./onnx_model.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

const requests = (...bodies: string[]) =>
  Batch.fromRows(
    REQUEST_SCHEMA,
    bodies.map((value, at) => ({
      id: `r${at}`,
      value,
      request: {
        method: "POST",
        path: "/",
        query: "",
        headers: [{ name: "accept", value: "*/*" }],
        body: bytes(value),
      },
      timestamp: 1000 * at,
    })),
  );

const TEXTS = requests("a b c", "", "ping", "a longer body, with commas");
const JSONS = requests('{"a": 1, "b": ["x", "y"]}', "{}", "no JSON", '{"a": 2, "b": []}');

const typed = () =>
  Batch.fromRows(
    parseSchema("id string, n int, x double, s string, tags array<string>, p struct<q: bigint>"),
    [
      { id: "r0", n: 1, x: 0.5, s: "one", tags: ["a", "b"], p: { q: 1n } },
      { id: "r1", n: null, x: -1.5, s: "", tags: [], p: null },
      { id: "r2", n: 3, x: null, s: null, tags: null, p: { q: null } },
      { id: "r3", n: -4, x: 2, s: "4", tags: ["c"], p: { q: 2n ** 60n } },
    ],
  );

const TYPED = typed();

const MODULE = "data:text/javascript," + encodeURIComponent(`
export default (n) => n === null ? null : n * 2;
export const join = (a, b) => \`\${a}-\${b}\`;
export const late = async (batch) => { await 0; return batch.filter(batch.column("n").map((n) => n > 0)); };
export const score = (batch, { options }) =>
  batch.select(["id"]).withColumn("score", "float64", Array.from(batch.column("n"), (n) => n * options.factor));
`);

const POINTS = Batch.fromRows(parseSchema("id string, v array<float>, w array<bigint>, n int"), [
  { id: "r0", v: [1, 2, 3], w: [1n], n: 1 },
  { id: "r1", v: [0, -1, 0.5], w: [2n, 3n], n: 2 },
  { id: "r2", v: [3, 2, 1], w: [4n], n: 3 },
]);

const SUM = dataUrl(onnxModel({
  inputs: [{ name: "a", shape: ["N", 3] }, { name: "b", shape: ["N", 3] }],
  outputs: [{ name: "y", shape: ["N", 3] }],
  nodes: [{ op: "Add", inputs: ["a", "b"], outputs: ["y"] }],
}));

const cases: Readonly<Record<string, readonly (readonly [string, Json, Batch])[]>> = {
  with_column: [
    ["one column", { newCol: "length(value)" }, TEXTS],
    ["in place", { n: "n + 1", m: "n * 2" }, TYPED],
    ["a chain", { words: "split(value, ' ')", count: "size(words)" }, TEXTS],
    ["from nothing", { one: 1, yes: true }, TYPED],
  ],
  select: [
    ["names", ["s", "n"], TYPED],
    ["all and more", ["*", "length(s) as size", "n + 1"], TYPED],
    ["with id", ["x as y", "id"], TYPED],
  ],
  filter: [
    ["bare", "n > 0", TYPED],
    ["named", { condition: "length(value) > 4" }, TEXTS],
    ["none pass", "false", TYPED],
  ],
  drop: [["one", "tags", TYPED], ["several", ["n", "x", "missing"], TYPED]],
  rename: [["one", { n: "number" }, TYPED], ["a swap", { n: "x", x: "n" }, TYPED]],
  cast: [["text", { s: "int" }, TYPED], ["several", { n: "string", x: "bigint" }, TYPED]],
  explode: [
    ["in place", "tags", TYPED],
    ["all options", { column: "tags", as: "tag", position: "at", outer: true }, TYPED],
  ],
  parse_request: [
    ["full", { schema: "a int, b array<string>" }, JSONS],
    ["partial", { schema: "a int not null, b string", parsingCheck: "partial" }, JSONS],
    ["none", { schema: "a bigint, c timestamp", parsingCheck: "none" }, JSONS],
    ["keeping some", { schema: "a int", keep: ["timestamp"] }, JSONS],
    [
      "keeping all",
      { schema: "a int, value array<string>", keep: true, parsingCheck: "none" },
      JSONS,
    ],
    ["from the request", { schema: "a int", column: "request" }, JSONS],
    ["bytes", { schema: "binary" }, JSONS],
  ],
  make_reply: [
    ["as it is", { col: "n" }, TYPED],
    ["wrapped", { col: "n", name: "answer", wrapScalars: true }, TYPED],
    [
      "whole",
      { col: "s", statusCode: "200 + n", contentType: "text/css", headers: { a: "b" } },
      TYPED,
    ],
  ],
  send_reply: [
    ["text", { when: "n > 0", statusCode: 422, entity: "concat('no ', s)" }, TYPED],
    ["no body", { when: "value = 'ping'" }, TEXTS],
    ["all", { when: "true", entity: "struct(value as was)" }, TEXTS],
  ],
  repartition: [
    ["by columns", { keys: ["s", "n"] }, TYPED],
    ["by an expression", { keys: ["length(value)"], partitions: 2 }, TEXTS],
    ["in turn", {}, TYPED],
  ],
  udf: [
    ["one value", { module: MODULE, args: ["n"], as: "twice", returns: "int" }, TYPED],
    [
      "in place",
      { module: MODULE, export: "join", args: ["n", "upper(s)"], as: "s", returns: "string" },
      TYPED,
    ],
  ],
  map_batches: [
    ["undeclared, late", { module: MODULE, export: "late" }, TYPED],
    [
      "declared",
      { module: MODULE, export: "score", schema: "score double", options: { factor: 2 } },
      TYPED,
    ],
  ],
  onnx: [
    [
      "all of it",
      {
        model: SUM,
        feed: { a: "v", b: "v" },
        fetch: { sum: "y" },
        softMax: { sum: "p" },
        argMax: { sum: "k" },
        warmUp: false,
      },
      POINTS,
    ],
    [
      "shapes of all kinds",
      {
        model: dataUrl(oneNode("Identity", "int64", ["N", "length"])),
        feed: { x: "w" },
        fetch: { same: "y" },
        warmUp: false,
      },
      POINTS,
    ],
  ],
};

const registry = new Registry(builtins);

for (const { kind, name } of builtins) {
  if (kind !== "transform") continue;
  Deno.test(`the transform ${name} keeps the promises of its kind`, async (t) => {
    const own = cases[name];
    assert.ok(own !== undefined, `add cases for "${name}" to this file`);
    await conformTransform(
      t,
      await registry.resolve("transform", name),
      own.map(([title, options, input]): TransformCase => ({ title, options, input })),
    );
  });
}

Deno.test("the suite finds out a transform that breaks its promises", async (t) => {
  const broken: Deno.TestStepDefinition["fn"][] = [];
  const recorder = {
    ...t,
    step: (step: string | Deno.TestStepDefinition, fn?: Deno.TestStepDefinition["fn"]) => {
      broken.push(typeof step === "string" ? fn! : step.fn);
      return Promise.resolve(true);
    },
  } as unknown as Deno.TestContext;
  const schema = new Schema([{ name: "n", type: "int32" }]);
  let calls = 0;
  await conformTransform(recorder, {
    kind: "transform",
    name: "Broken",
    summary: "none",
    options: (v) => v.strictObject({}),
    outputSchema: (_, input) => input.without(["n"]),
    requires: () => new Set(),
    create: () => {
      let closed = false;
      return {
        transform: (batch) => {
          (batch.column("tags") as string[][])[0]!.push("!");
          calls++;
          return new Batch(
            new Schema([{ name: "id", type: "string" }, ...schema.fields]),
            [
              Array.from(batch.column("id"), (id) => `${id}!`),
              new Int32Array(batch.numRows).fill(calls),
            ],
          );
        },
        close: () => {
          if (closed) throw new Error("closed already");
          closed = true;
        },
      };
    },
  }, [{ title: "broken", options: {}, input: typed() }]);
  assert.equal(broken.length, 9);
  for (const fn of broken) await assert.rejects(async () => await fn(t));
});
