import assert from "node:assert/strict";
import { ENGINE_SCHEMA } from "./make_plan.ts";
import { builtins } from "../plugins/builtins.ts";
import { PlanError } from "../plugins/errors.ts";
import { Registry } from "../plugins/registry.ts";
import { knownPlugins } from "../tests/known_plugins.ts";
import {
  type ConfigError,
  formatProblem,
  loadConfig,
  loadPlans,
  makePlans,
  parseConfig,
} from "./config.ts";

const ENV: Record<string, string> = { PORT: "8889", ON: "true", DIGITS: "007", EMPTY: "" };
const env = (name: string) => ENV[name];
const newRegistry = () => new Registry(builtins);
const parse = (text: string) => parseConfig(text, "c.yaml", { env });

/** All that is wrong with a config, as it is printed. */
async function problemsOf(text: string): Promise<string[]> {
  const config = parse(text);
  const { problems } = await makePlans(config, { newRegistry });
  return [...config.problems, ...problems].map(formatProblem);
}

const GOOD = `
services:
  - name: my_query
    partitions: 2
    source: { http: { host: localhost, port: 8888, name: my_api } }
    transforms:
      - with_column: { newCol: length(value) }
    sink: { http: { replyCol: newCol } }
    trigger: { processingTime: 5 seconds }
    checkpoint: ./checkpoints/my_query
plugins: []
`;

Deno.test("a config becomes drafts, as YAML and as JSON", () => {
  const draft = {
    name: "my_query",
    source: { name: "http", options: { host: "localhost", port: 8888, name: "my_api" } },
    transforms: [{ name: "with_column", options: { newCol: "length(value)" } }],
    sink: { name: "http", options: { replyCol: "newCol" } },
    trigger: { processingTime: "5 seconds" },
    engine: { partitions: 2, checkpoint: "./checkpoints/my_query" },
    plugins: [],
    baseUrl: new URL(`file://${Deno.cwd()}/`).href,
  };
  assert.deepEqual(parse(GOOD).problems, []);
  assert.deepEqual(parse(GOOD).drafts, [draft]);
  const json = JSON.stringify(
    {
      services: [{
        name: "my_query",
        partitions: 2,
        source: { http: draft.source.options },
        transforms: [{ with_column: { newCol: "length(value)" } }],
        sink: { http: { replyCol: "newCol" } },
        trigger: draft.trigger,
        checkpoint: "./checkpoints/my_query",
      }],
    },
    null,
    "\t",
  );
  assert.deepEqual(parse(json).drafts, [draft]);
  assert.deepEqual(parse(`\uFEFF${GOOD.replaceAll("\n", "\r\n")}`).drafts, [draft]);
});

Deno.test("drafts become plans, whose paths are relative to the file", async () => {
  const config = parseConfig(GOOD, "/some/where/c.yaml", { env });
  const { plans, problems } = await makePlans(config, { newRegistry });
  assert.deepEqual(problems, []);
  const [{ name, partitions, trigger, checkpoint, baseUrl }] = plans as [typeof plans[number]];
  assert.deepEqual({ name, partitions, trigger, checkpoint, baseUrl }, {
    name: "my_query",
    partitions: 2,
    trigger: { processingTime: 5000 },
    checkpoint: "/some/where/checkpoints/my_query",
    baseUrl: "file:///some/where/",
  });
});

Deno.test("a plugin may be named alone, or with nothing below it", () => {
  const [draft] = parse(`
services:
  - name: a
    source: rate
    transforms:
      - some_transform
      - other:
      # - commented: {}
    sink:
      console:
        # numRows: 20
`).drafts;
  assert.deepEqual(draft!.source, { name: "rate", options: {} });
  assert.deepEqual(draft!.transforms, [{ name: "some_transform", options: {} }, {
    name: "other",
    options: {},
  }]);
  assert.deepEqual(draft!.sink, { name: "console", options: {} });
});

Deno.test("variables are filled in, and read as YAML where they are not quoted", () => {
  const cases: [written: string, value: unknown][] = [
    ["${PORT}", 8889],
    ['"${PORT}"', 8889],
    ["'${PORT}'", 8889],
    ["${ABSENT:8888}", 8888],
    ['"${ABSENT:8888}"', 8888],
    ["${ABSENT:1e3}", 1000],
    ['"${ABSENT:1e3}"', "1e3"],
    ["${ABSENT:1.5}", 1.5],
    ["${DIGITS}", 7],
    ['"${DIGITS}"', "007"],
    ["1${PORT}", 18889],
    ['"1${PORT}"', "18889"],
    ["${ON}", true],
    ['"${ON}"', true],
    ["${ABSENT:null}", null],
    ['"${ABSENT:null}"', "null"],
    ["${ABSENT:}", ""],
    ["${EMPTY}", ""],
    ["!!str ${PORT}", "8889"],
    ['!!str "${PORT}"', "8889"],
    ["http://h:${PORT}/a", "http://h:8889/a"],
    ["${ABSENT:a, b: [c] # d}", "a, b: [c] # d"],
    [`"\${ABSENT:say 'x'}"`, "say 'x'"],
    ['"${ABSENT:a \\"b\\"}"', 'a "b"'],
    ["$${PORT}", "${PORT}"],
    ['"$${PORT} ${PORT}"', "${PORT} 8889"],
    ["x # ${NOT_LOOKED_AT}", "x"],
    ['"\\u0024{PORT}"', 8889],
    ["&a ${PORT}", 8889],
  ];
  for (const [written, value] of cases) {
    const config = parse(`
# \${IN_A_COMMENT}
services:
  - name: a
    source: { p: { x: ${written.includes("#") ? `${written}\n      ` : written} } }
    sink:
      p:
        x: ${written}
`);
    assert.deepEqual(config.problems, [], written);
    assert.deepEqual(config.drafts[0]!.source.options, { x: value }, `in a flow map: ${written}`);
    assert.deepEqual(config.drafts[0]!.sink.options, { x: value }, `in a block map: ${written}`);
  }
  const block = parse(
    "services:\n- name: a\n  source: p\n  sink:\n    p:\n      x: |\n        ${PORT}\n",
  );
  assert.deepEqual(block.drafts[0]!.sink.options, { x: "8889\n" });
});

Deno.test("anchors, aliases and merges work, and every value has its place", () => {
  const config = parse(`
services:
  - &first
    name: a
    source: &source { http: { port: 1 } }
    sink: { p: &p { "__proto__": x } }
  - <<: *first
    name: b
    sink: *source
    maxBatchSize: 7
`);
  assert.deepEqual(config.problems, []);
  const [a, b] = config.drafts;
  assert.equal(b!.name, "b");
  assert.deepEqual(b!.source, a!.source);
  assert.deepEqual(b!.sink, a!.source);
  assert.deepEqual(b!.engine, { maxBatchSize: 7 });
  assert.deepEqual(Object.keys(a!.sink.options as object), ["__proto__"]);
  assert.deepEqual(config.locate(["services", 1, "source", "http", "port"]), {
    line: 5,
    column: 37,
  });
  assert.deepEqual(config.locate(["services", 1, "maxBatchSize"]), { line: 10, column: 19 });
});

Deno.test("locate() leads to the value, or to the nearest one above it", () => {
  const config = parse(GOOD);
  const cases: [path: (string | number)[], line: number, column: number][] = [
    [["services", 0, "source", "http", "port"], 5, 46],
    [["services", 0, "source", "http", "absent"], 5, 21],
    [["services", 0, "source", "http", "port", "deeper", 3], 5, 46],
    [["services", 0, "transforms", 0, "with_column"], 7, 22],
    [["services", 0, "nothing"], 3, 5],
    [["services", 7], 3, 3],
    [["plugins", 0], 11, 10],
    [[], 2, 1],
  ];
  for (const [path, line, column] of cases) {
    assert.deepEqual(config.locate(path), { line, column }, path.join("."));
  }
});

Deno.test("problemOf() puts an error of a plan where the file has its cause", () => {
  const config = parse(GOOD);
  const error = new PlanError("Wrong", { path: ["sink", "http", "replyCol"] });
  assert.deepEqual(config.problemOf(error, config.services[0]!), {
    file: "c.yaml",
    line: 8,
    column: 31,
    path: ["services", 0, "sink", "http", "replyCol"],
    message: "Wrong",
  });
  assert.equal(
    formatProblem(
      config.problemOf(new PlanError("No", { path: ["plugins", 0] }), config.services[0]!),
    ),
    "c.yaml:11:10: No",
  );
});

const known = "Known: " +
  ["name", "source", "transforms", "sink", "trigger", ...Object.keys(ENGINE_SCHEMA.entries)]
    .map((key) => `"${key}"`).join(", ");

/** The rest of a service that is right. */
const REST = "source: rate\n    sink: console";

const BAD: Record<string, [text: string, ...problems: string[]]> = {
  "an empty file": ["", "c.yaml:1:1: The config is empty: wanted a map with a list of services"],
  "only comments": [
    "# services:\n",
    "c.yaml:1:1: The config is empty: wanted a map with a list of services",
  ],
  "a list": [
    "- a\n",
    'c.yaml:1:1: Cannot use ["a"] for the config: wanted a map with a list of services',
  ],
  "a text": [
    "hello\n",
    'c.yaml:1:1: Cannot use "hello" for the config: wanted a map with a list of services',
  ],
  "no services": [
    "plugins: []\n",
    'c.yaml:1:1: Missing key "services": wanted a list of one service or more',
  ],
  "a list of no services": [
    "services: []\n",
    'c.yaml:1:11: Cannot use [] for "services": wanted a list of one service or more',
  ],
  "services of nothing": [
    "services:\n",
    'c.yaml:1:1: Cannot use null for "services": wanted a list of one service or more',
  ],
  "a misspelt key of the file, once": [
    "servces: []\n",
    'c.yaml:1:1: Unknown key "servces": did you mean "services"? Known: "services", "plugins", "cluster"',
  ],
  "a misspelt key of a service": [
    `services:\n  - name: a\n    partitons: 2\n    ${REST}\n`,
    `c.yaml:3:5: Unknown key "partitons": did you mean "partitions"? ${known}`,
  ],
  "every key that is missing": [
    "services:\n  - partitions: 1\n",
    'c.yaml:2:5: Missing key "name": wanted text',
    'c.yaml:2:5: Missing key "source": wanted {<plugin>: {options}}',
    'c.yaml:2:5: Missing key "sink": wanted {<plugin>: {options}}',
  ],
  "values of the wrong type": [
    "services:\n  - name: 5\n    source: 1\n    transforms: { filter: x }\n    sink: []\n  - x\n",
    'c.yaml:2:11: Cannot use 5 for "name": wanted text',
    'c.yaml:3:13: Cannot use 1 for "source": wanted {<plugin>: {options}}',
    'c.yaml:4:17: Cannot use {"filter":"x"} for "transforms": wanted a list of transforms',
    'c.yaml:5:11: Cannot use [] for "sink": wanted {<plugin>: {options}}',
    'c.yaml:6:5: Cannot use "x" for "services[1]": wanted a map with name, source and sink',
  ],
  "an empty plugin": [
    `services:\n  - name: a\n    source: {}\n    transforms: [ 5 ]\n    sink: console\n`,
    'c.yaml:3:13: Cannot use {} for "source": wanted {<plugin>: {options}}',
    'c.yaml:4:19: Cannot use 5 for "transforms[0]": wanted {<plugin>: {options}}',
  ],
  "two plugins in a source": [
    "services:\n  - name: a\n    source:\n      http:\n      port: 8888\n    sink: console\n",
    'c.yaml:5:7: Cannot use 2 plugins ("http", "port") for "source": wanted one; ' +
    "its options are indented below it",
  ],
  "a key twice": [
    `services:\n  - name: a\n    ${REST}\n    name: b\n`,
    'c.yaml:5:5: Cannot use key "name" twice in one map: it is in line 2 already',
  ],
  "a key twice in JSON": [
    '{"services": [], "services": []}',
    'c.yaml:1:18: Cannot use key "services" twice in one map: it is in line 1 already',
  ],
  "two services of a name": [
    `services:\n  - name: a\n    ${REST}\n  - name: a\n    ${REST}\n`,
    'c.yaml:5:11: Cannot use name "a" twice: it is that of the service in line 2 already',
  ],
  "several documents": [
    `services:\n  - name: a\n    ${REST}\n---\nservices: []\n`,
    "c.yaml:5:1: Cannot read a second document: wanted one document a file, " +
    "with all services in one list",
  ],
  "broken YAML, told once": [
    "services: [ a, b\nx: {\n",
    "c.yaml:2:1: Cannot parse the file: flow sequence in block collection must be " +
    "sufficiently indented and end with a ]",
  ],
  "a tab": [
    "services:\n\t- name: a\n",
    "c.yaml:2:1: Cannot parse the file: tabs are not allowed as indentation",
  ],
  "an unknown tag": [
    "services: !include x.yaml\n",
    "c.yaml:1:11: Cannot parse the file: unresolved tag: !include",
  ],
  "an unknown alias": [
    `services:\n  - name: a\n    source: *base\n    sink: console\n`,
    'c.yaml:3:13: Unknown alias "*base": no "&base" before it',
  ],
  "an alias in itself": [
    "services: &a [ *a ]\n",
    'c.yaml:1:16: Cannot use alias "*a": it holds itself',
  ],
  "a bomb of aliases": [
    "services: &a [x,x,x,x,x,x,x,x,x,x]\n" +
    ["a", "b", "c", "d", "e", "f", "g", "h"].map((name, at, names) =>
      at === 0 ? "" : `${name}: &${name} [${Array(10).fill(`*${names[at - 1]}`)}]\n`
    ).join(""),
    'c.yaml:2:11: Cannot use alias "*a": aliases stand for more than 10000 values',
  ],
  "a merge of no map": [
    `services:\n  - name: a\n    <<: 5\n    ${REST}\n`,
    'c.yaml:3:9: Cannot merge 5 by "<<": wanted a map',
  ],
  "a list as a key": [
    "? [a]\n: b\n",
    'c.yaml:1:1: Missing key "services": wanted a list of one service or more',
    "c.yaml:1:3: Cannot use a list, a map or nothing as a key: wanted text",
  ],
  "infinity": [
    `services:\n  - name: a\n    source: { rate: { rowsPerSecond: .inf } }\n    sink: console\n`,
    "c.yaml:3:38: Cannot use .inf: wanted text, a finite number or a boolean",
  ],
  "variables that are not set": [
    `services:\n  - name: \${GONE}\n    source: { http: { port: 1, name: "a\${ABSENT}" } }\n    sink: console\n`,
    'c.yaml:2:11: Cannot interpolate "${GONE}": the environment variable GONE is not set; ' +
    "set it, or write ${GONE:default}",
    'c.yaml:3:40: Cannot interpolate "${ABSENT}": the environment variable ABSENT is not set; ' +
    "set it, or write ${ABSENT:default}",
  ],
  "a plugin list of the wrong type": [
    `services:\n  - name: a\n    ${REST}\nplugins: ./x.ts\n`,
    'c.yaml:5:10: Cannot use "./x.ts" for "plugins": wanted a list of paths, URLs or packages',
  ],
  "a plugin of the wrong type": [
    `services:\n  - name: a\n    ${REST}\nplugins: [ 5 ]\n`,
    'c.yaml:5:12: Cannot use 5 for "plugins[0]": wanted a path, a URL or a package',
  ],
  "a plugin that is not there": [
    `services:\n  - name: a\n    ${REST}\nplugins:\n  - ./no_such_plugin.ts\n`,
    'c.yaml:6:5: Cannot load module "./no_such_plugin.ts": there is no file ' +
    `file://${Deno.cwd()}/no_such_plugin.ts`,
  ],
  "unknown plugins, all of them": [
    `services:\n  - name: a\n    source: { htpp: { port: 1 } }\n    transforms:\n      - with_colum\n    sink:\n      consle:\n`,
    `c.yaml:3:15: Unknown source "htpp": did you mean "http"? ${knownPlugins("source")}`,
    `c.yaml:5:9: Unknown transform "with_colum": did you mean "with_column"? ` +
    knownPlugins("transform"),
    'c.yaml:7:7: Unknown sink "consle": did you mean "console"? ' +
    knownPlugins("sink"),
  ],
  "a misspelt option": [
    "services:\n  - name: a\n    source: { http: { prot: 8888 } }\n    sink: http\n",
    'c.yaml:3:23: Unknown option "prot": did you mean "port"? Known: "host", "port", "name", ' +
    '"path", "methods", "maxBodyBytes", "replyTimeoutMs", "droppedReply", "cors"',
  ],
  "options that do not fit, all of them": [
    'services:\n  - name: a\n    source: { http: { port: 99999, host: "" } }\n    sink: http\n    partitions: 0\n    trigger: never\n',
    'c.yaml:5:17: Cannot use 0 for "partitions": wanted at least 1',
    'c.yaml:6:14: Cannot use "never" for "trigger": wanted continuous, availableNow, once, ' +
    'or {processingTime: "5 seconds"}',
    'c.yaml:3:42: Cannot use "" for "host": wanted something that is not empty',
    'c.yaml:3:29: Cannot use 99999 for "port": wanted at most 65535',
  ],
  "a column that is not there": [
    "services:\n  - name: a\n    source: { http: { port: 1 } }\n    sink: { http: { replyCol: nope } }\n",
    'c.yaml:4:31: Cannot reply with column "nope": no such column; there are "id", "value", ' +
    '"request", "timestamp"',
  ],
  "the problems of every service": [
    "services:\n  - name: a\n    source: htpp\n    sink: console\n  - name: b\n    source: rate\n    sink: consle\n",
    `c.yaml:3:13: Unknown source "htpp": did you mean "http"? ${knownPlugins("source")}`,
    'c.yaml:7:11: Unknown sink "consle": did you mean "console"? ' +
    knownPlugins("sink"),
  ],
};

for (const [what, [text, ...problems]] of Object.entries(BAD)) {
  Deno.test(`a config with ${what} is refused`, async () => {
    assert.deepEqual(await problemsOf(text), problems);
  });
}

Deno.test("a file nested deeper than the stack is refused", async () => {
  const [problem] = await problemsOf(`services: ${"[".repeat(200_000)}${"]".repeat(200_000)}`);
  assert.match(
    problem!,
    /^c\.yaml:1:\d+: Cannot parse the file: lists and maps are nested too deep$/,
  );
});

Deno.test("loadConfig() says why a file cannot be read", async () => {
  const cases: [path: string, message: string][] = [
    ["no_such.yaml", "no_such.yaml: Cannot read the config: there is no such file"],
    ["engine", "engine: Cannot read the config: it is a directory, wanted a file"],
  ];
  for (const [path, message] of cases) {
    await assert.rejects(loadConfig(path), { name: "ConfigError", message });
  }
});

Deno.test("loadPlans() tells the problems of all files, and names used in two of them", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const a = `${directory}/a.yaml`, b = `${directory}/b.json`;
    await Deno.writeTextFile(
      a,
      `services:\n  - name: x\n    ${REST}\n  - name: y\n    source: htp\n    sink: console\n`,
    );
    await Deno.writeTextFile(
      b,
      '{"services": [{"name": "x", "source": "rate", "sink": "console"}]}',
    );
    await assert.rejects(loadPlans([a, b], { newRegistry }), (error: ConfigError) => {
      assert.deepEqual(error.message.split("\n"), [
        `${a}:6:13: Unknown source "htp": did you mean "http"? ${knownPlugins("source")}`,
        `${b}:1:24: Cannot use name "x" twice: it is that of the service at ${a}:2 already`,
      ]);
      return true;
    });
    await Deno.writeTextFile(a, `services:\n  - name: y\n    ${REST}\n`);
    const loaded = await loadPlans([a, b], { newRegistry });
    assert.deepEqual(loaded.map(({ plans }) => plans.map(({ name }) => name)), [["y"], ["x"]]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
