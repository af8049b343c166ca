import assert from "node:assert/strict";
import * as v from "valibot";
import { listForMap, optionsError } from "./options_error.ts";

const positive = v.pipe(v.number(), v.integer(), v.minValue(1));

const schema = v.strictObject({
  host: v.optional(v.pipe(v.string(), v.nonEmpty()), "localhost"),
  port: v.pipe(v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535)), 80)),
  path: v.optional(v.pipe(v.string(), v.regex(/^\//, "wanted a URL path"))),
  code: v.optional(v.pipe(v.string(), v.regex(/^\w+$/))),
  methods: v.optional(v.pipe(v.array(v.picklist(["GET", "POST"])), v.minLength(1)), ["GET"]),
  dropped: v.optional(v.strictObject({ status: v.optional(positive, 1), body: v.string() })),
  cors: v.optional(v.union([v.boolean(), v.array(v.string())]), false),
  tags: v.optional(v.record(v.string(), positive)),
  list: v.optional(v.array(v.strictObject({ from: v.string() }))),
  either: v.optional(v.union([v.string(), v.strictObject({ every: positive })])),
  fixed: v.optional(v.literal("id")),
});

Deno.test("what is wrong with options is told in one sentence, and where by the path", () => {
  const cases: [options: unknown, message: string, path: (string | number)[]][] = [
    [
      { prot: 1 },
      'Unknown option "prot": did you mean "port"? Known: "host", "port", "path", "code", ' +
      '"methods", "dropped", "cors", "tags", "list", "either", "fixed"',
      ["prot"],
    ],
    [
      { dropped: { body: "", stats: 1 } },
      'Unknown option "dropped.stats": did you mean "status"? Known: "status", "body"',
      ["dropped", "stats"],
    ],
    [
      { list: [{ from: "a" }, { from: "b", form: 1 }] },
      'Unknown option "list[1].form": did you mean "from"? Known: "from"',
      ["list", 1, "form"],
    ],
    [
      { either: { evry: 1, every: 1 } },
      'Unknown option "either.evry": did you mean "every"? Known: "every"',
      ["either", "evry"],
    ],
    [{ dropped: {} }, 'Missing option "dropped.body": wanted string', ["dropped", "body"]],
    [{ port: "8888" }, 'Cannot use "8888" for "port": wanted number', ["port"]],
    [{ port: 1.5 }, 'Cannot use 1.5 for "port": wanted a whole number', ["port"]],
    [{ port: -1 }, 'Cannot use -1 for "port": wanted at least 0', ["port"]],
    [{ port: 65_536 }, 'Cannot use 65536 for "port": wanted at most 65535', ["port"]],
    [{ port: NaN }, 'Cannot use NaN for "port": wanted number', ["port"]],
    [{ port: null }, 'Cannot use null for "port": wanted number', ["port"]],
    [{ host: "" }, 'Cannot use "" for "host": wanted something that is not empty', ["host"]],
    [{ path: "api" }, 'Cannot use "api" for "path": wanted a URL path', ["path"]],
    [{ code: "a b" }, 'Cannot use "a b" for "code": wanted text that matches /^\\w+$/', ["code"]],
    [{ methods: [] }, 'Cannot use [] for "methods": wanted at least 1 item', ["methods"]],
    [{ methods: "GET" }, 'Cannot use "GET" for "methods": wanted a list', ["methods"]],
    [
      { methods: ["GET", "PUT"] },
      'Cannot use "PUT" for "methods[1]": wanted "GET" or "POST"',
      ["methods", 1],
    ],
    [{ cors: 1 }, 'Cannot use 1 for "cors": wanted boolean or a list', ["cors"]],
    [{ cors: ["a", 1] }, 'Cannot use 1 for "cors[1]": wanted string', ["cors", 1]],
    [{ tags: { a: 1, b: 0 } }, 'Cannot use 0 for "tags.b": wanted at least 1', ["tags", "b"]],
    [{ dropped: 1 }, 'Cannot use 1 for "dropped": wanted a map of names to values', ["dropped"]],
    [
      { either: { every: 0 } },
      'Cannot use 0 for "either.every": wanted at least 1',
      ["either", "every"],
    ],
    [{ either: 1 }, 'Cannot use 1 for "either": wanted string or a map', ["either"]],
    [{ fixed: "ID" }, 'Cannot use "ID" for "fixed": wanted "id"', ["fixed"]],
    [
      { port: "x".repeat(100) },
      `Cannot use "${"x".repeat(76)}... for "port": wanted number`,
      ["port"],
    ],
    ["a", 'Cannot use "a" for options: wanted a map of names to values', []],
  ];
  for (const [options, message, path] of cases) {
    const result = v.safeParse(schema, options);
    assert(!result.success, JSON.stringify(options));
    const error = optionsError(result.issues, schema);
    assert.equal(error.message, message);
    assert.deepEqual(error.path, path, message);
  }
});

Deno.test("options that are one thing or a list of it are named by what was given", () => {
  const names = v.union([v.string(), v.pipe(v.array(v.string()), v.minLength(1))]);
  const cases: [options: unknown, message: string][] = [
    [1, "Cannot use 1 for options: wanted string or a list"],
    [["a", 1], 'Cannot use 1 for "[1]": wanted string'],
  ];
  for (const [options, message] of cases) {
    const result = v.safeParse(names, options);
    assert(!result.success);
    assert.equal(optionsError(result.issues, names).message, message);
  }
});

Deno.test("a list is no map", () => {
  const cases: [options: unknown, message: string | undefined, path: (string | number)[]][] = [
    [[], "Cannot use [] for options: wanted a map of names to values", []],
    [{ tags: [1] }, 'Cannot use [1] for "tags": wanted a map of names to values', ["tags"]],
    [{ dropped: [] }, 'Cannot use [] for "dropped": wanted a map of names to values', ["dropped"]],
    [
      { list: [{ from: "a" }, []] },
      'Cannot use [] for "list[1]": wanted a map of names to values',
      [
        "list",
        1,
      ],
    ],
    [{ methods: ["GET"], cors: ["a"], list: [{ from: "a" }] }, undefined, []],
    [{ either: [], unknown: [] }, undefined, []],
    [null, undefined, []],
  ];
  for (const [options, message, path] of cases) {
    const error = listForMap(options, schema);
    assert.equal(error?.message, message);
    assert.deepEqual(error?.path ?? [], path);
  }
});
