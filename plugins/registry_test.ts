import assert from "node:assert/strict";
import * as v from "valibot";
import { builtins } from "./builtins.ts";
import type { Plugin, PluginBase, SinkPlugin } from "./contract.ts";
import { PlanError } from "./errors.ts";
import { Registry, type RegistryEntry } from "./registry.ts";

const sink = (name: string): SinkPlugin => ({
  kind: "sink",
  name,
  summary: "Does nothing.",
  options: v.strictObject({}),
  create: () => ({ addBatch() {} }),
});

const entry = (kind: RegistryEntry["kind"], name: string, ...aliases: string[]): RegistryEntry => ({
  kind,
  name,
  aliases,
  load: () => Promise.resolve({ default: { ...sink(name), kind } }),
});

const moduleOf = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;

const BASE = import.meta.url;

async function refuses(work: () => unknown, message: string | RegExp): Promise<void> {
  await assert.rejects(async () => await work(), (error) => {
    assert(error instanceof PlanError, String(error));
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
    return true;
  });
}

Deno.test("a plugin is found by its name and its aliases, and loaded once", async () => {
  let loads = 0;
  const counted = {
    ...entry("sink", "console", "print", "org.Console"),
    load: () => Promise.resolve({ default: { ...sink("console"), load: ++loads } }),
  };
  const registry = new Registry([counted, entry("source", "console")]);
  const plugin = await registry.resolve("sink", "console");
  assert.equal(await registry.resolve("sink", "print"), plugin);
  assert.equal(await registry.resolve("sink", "org.Console"), plugin);
  assert.equal(loads, 1);
  assert.notEqual(await registry.resolve("source", "console") as PluginBase<unknown>, plugin);
  assert.deepEqual(registry.entries().map(({ kind, name }) => [kind, name]), [
    ["sink", "console"],
    ["source", "console"],
  ]);
});

Deno.test("an unknown name is answered with the nearest one", async () => {
  const registry = new Registry([
    entry("source", "http"),
    entry("sink", "http", "server"),
    entry("sink", "console"),
  ]);
  const cases: [kind: Plugin["kind"], name: string, message: string][] = [
    ["sink", "htpp", 'Unknown sink "htpp": did you mean "http"? Known: "http", "console"'],
    [
      "source",
      "console",
      'Unknown source "console": it is a sink; did you mean "http"? Known: "http"',
    ],
    ["transform", "http", 'Unknown transform "http": it is a source; there are none'],
    ["sink", "", 'Unknown sink "": did you mean "http"? Known: "http", "console"'],
  ];
  for (const [kind, name, message] of cases) {
    await refuses(() => registry.resolve(kind, name), message);
  }
});

Deno.test("a plugin from outside is used like one of ours", async () => {
  const registry = new Registry([entry("sink", "console")]);
  await registry.load(
    moduleOf(`export default {
      kind: "sink", name: "mine", aliases: ["ours"], summary: "Mine.",
      options: (v) => v.strictObject({ n: v.optional(v.number(), 3) }),
      create: () => ({ addBatch() {} }),
    }`),
    BASE,
  );
  const plugin = await registry.resolve("sink", "ours");
  assert.equal(plugin.name, "mine");
  assert.deepEqual(registry.checkOptions(plugin, null), { n: 3 });
  // The function that makes the schema is called once.
  assert.equal(registry.optionsSchema(plugin), registry.optionsSchema(plugin));
  await refuses(
    () => registry.checkOptions(plugin, { m: 1 }),
    'Unknown option "m": did you mean "n"? Known: "n"',
  );
  await refuses(
    () => registry.checkOptions(plugin, []),
    "Cannot use [] for options: wanted a map of names to values",
  );
});

Deno.test("a name that is taken is refused, of the same kind only", async () => {
  const registry = new Registry([entry("sink", "console", "print")]);
  const code = (kind: string, name: string, aliases: string[] = []) =>
    moduleOf(
      `export default { kind: "${kind}", name: "${name}", aliases: ${
        JSON.stringify(aliases)
      }, summary: "s", options: (v) => v.unknown(), outputSchema() {}, create() {} }`,
    );
  for (
    const [name, aliases, taken] of [
      ["console", [], "console"],
      ["print", [], "print"],
      ["mine", ["other", "print"], "print"],
    ] as [string, string[], string][]
  ) {
    const specifier = code("sink", name, aliases);
    await refuses(
      () => registry.load(specifier, BASE),
      `Cannot use plugin "${specifier}": there is a sink named "${taken}" already; give it another name`,
    );
  }
  assert.equal(registry.entries().length, 1);
  await registry.load(code("source", "console"), BASE);
  assert.equal((await registry.resolve("source", "console")).kind, "source");
});

Deno.test("a module that is no plugin is refused, naming the field", async () => {
  const whole = 'kind: "source", name: "a", summary: "s", options: (v) => v.unknown(), ' +
    "outputSchema() {}, create() {}";
  const cases: [code: string, why: string][] = [
    ["export const a = 1", "it has no default export; export the plugin as default"],
    ["export default null", "its default export is null, wanted an object"],
    ["export default () => {}", "its default export is function, wanted an object"],
    ["export default {}", 'kind is undefined, wanted "source", "transform" or "sink"'],
    [
      `export default { ${whole}, kind: "Source" }`,
      'kind is "Source", wanted "source", "transform" or "sink"',
    ],
    [`export default { ${whole}, name: "My" }`, 'name is "My", wanted lower_snake_case text'],
    [`export default { ${whole}, name: 1 }`, "name is 1, wanted lower_snake_case text"],
    [`export default { ${whole}, summary: "" }`, 'summary is "", wanted one sentence'],
    [`export default { ${whole}, aliases: "b" }`, 'aliases is "b", wanted a list of names'],
    [`export default { ${whole}, aliases: [1] }`, "aliases is [1], wanted a list of names"],
    [`export default { ${whole}, create: 1 }`, "create is 1, wanted a function"],
    [
      `export default { ${whole}, outputSchema: undefined }`,
      "outputSchema is undefined, wanted a function",
    ],
    [
      `export default { ${whole}, options: {} }`,
      "options is {}, wanted a valibot schema or a function that makes one",
    ],
    [
      `export default { ${whole}, options: () => 1 }`,
      "options is 1, wanted a valibot schema or a function that makes one",
    ],
    [
      `export default { ${whole}, options: (v) => v.nothing() }`,
      "its options cannot be made: v.nothing is not a function",
    ],
  ];
  const registry = new Registry([]);
  for (const [code, why] of cases) {
    const specifier = moduleOf(code);
    await refuses(
      () => registry.load(specifier, BASE),
      `Cannot use plugin "${specifier}": ${why}`,
    );
  }
  assert.deepEqual(registry.entries(), []);
});

Deno.test("no two built-in plugins of a kind share a name", () => {
  const names = builtins.flatMap(({ kind, name, aliases }) =>
    [name, ...aliases].map((each) => `${kind} ${each}`)
  );
  assert.deepEqual(names.filter((name, at) => names.indexOf(name) !== at), []);
});
