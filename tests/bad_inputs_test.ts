import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { formatProblem, makePlans, parseConfig } from "../engine/config.ts";
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";
import { post, type ServiceSetup, startService, withService } from "./with_service.ts";

const FILE = fileURLToPath(new URL("c.yaml", import.meta.url));

/** All problems of a config, one a line. Lists of all known names are left out: they grow. */
async function problemsOf(text: string): Promise<string> {
  const config = parseConfig(text, FILE, { env: () => undefined });
  const problems = [...config.problems];
  if (problems.length === 0) {
    const newRegistry = () => new Registry(builtins);
    problems.push(...(await makePlans(config, { newRegistry })).problems);
  }
  return problems.map(formatProblem).join("\n").replaceAll(FILE, "c.yaml")
    .replaceAll(/\? Known: .*/g, "?");
}

/** A config with one service; what is given stands in its place. */
function service(parts: Partial<Record<"source" | "transform" | "sink" | "more", string>>): string {
  const { source = "http", transform, sink = "{ http: { replyCol: value } }", more } = parts;
  const lines = ["services:", "  - name: api", `    source: ${source}`, `    sink: ${sink}`];
  if (transform !== undefined) lines.push(`    transforms: [${transform}]`);
  if (more !== undefined) lines.push(more);
  return lines.join("\n") + "\n";
}
const source = (options: string) => service({ source: `{ http: ${options} }` });
const transform = (use: string, sink?: string) =>
  service({ transform: use, ...(sink === undefined ? {} : { sink }) });
const more = (line: string) => service({ more: `    ${line}` });
const plugins = (list: string) => service({ more: `plugins: ${list}` });

const configs: readonly (readonly [text: string, ...problems: string[]])[] = [
  // The file.
  ["", "1:1: The config is empty: wanted a map with a list of services"],
  ["# nothing\n", "1:1: The config is empty: wanted a map with a list of services"],
  ["- a\n", '1:1: Cannot use ["a"] for the config: wanted a map with a list of services'],
  ["hello", '1:1: Cannot use "hello" for the config: wanted a map with a list of services'],
  [
    "services: [\n",
    "2:1: Cannot parse the file: flow sequence in block collection must be sufficiently indented " +
    "and end with a ]",
  ],
  ["services:\n\t- a\n", "2:1: Cannot parse the file: tabs are not allowed as indentation"],
  [
    "services: []\n---\nservices: []\n",
    "2:1: Cannot read a second document: wanted one document a file, with all services in one list",
  ],
  ["plugins: []\n", '1:1: Missing key "services": wanted a list of one service or more'],
  [
    "services: []\nservises: 1\n",
    '1:11: Cannot use [] for "services": wanted a list of one service or more',
    '2:1: Unknown key "servises": did you mean "services"?',
  ],
  [
    "services: { name: a }\n",
    '1:11: Cannot use {"name":"a"} for "services": wanted a list of one service or more',
  ],
  [
    "services: [api]\n",
    '1:12: Cannot use "api" for "services[0]": wanted a map with name, source and sink',
  ],
  [
    "services:\n  - {}\n",
    '2:5: Missing key "name": wanted text',
    '2:5: Missing key "source": wanted {<plugin>: {options}}',
    '2:5: Missing key "sink": wanted {<plugin>: {options}}',
  ],
  [
    "services:\n  - { name: 5, source: http, sink: http }\n",
    '2:13: Cannot use 5 for "name": wanted text',
  ],
  [more("partitons: 2"), '5:5: Unknown key "partitons": did you mean "partitions"?'],
  [more("name: again"), '5:5: Cannot use key "name" twice in one map: it is in line 2 already'],
  [
    service({ more: "  - { name: api, source: http, sink: http }" }),
    '5:13: Cannot use name "api" twice: it is that of the service in line 2 already',
  ],
  // Environment variables and YAML's own values.
  [
    source("{ port: ${MY_PORT} }"),
    '3:29: Cannot interpolate "${MY_PORT}": the environment variable MY_PORT is not set; ' +
    "set it, or write ${MY_PORT:default}",
  ],
  [
    source("{ port: ${MY PORT} }"),
    '3:29: Cannot interpolate "${MY PORT}": wanted ${NAME} or ${NAME:default}; ' +
    "write $${ for a literal ${",
  ],
  [
    source('{ name: "${NAME" }'),
    '3:30: Cannot interpolate "${": it has no closing }; write $${ for a literal ${',
  ],
  [service({ source: "*nothing" }), '3:13: Unknown alias "*nothing": no "&nothing" before it'],
  [
    source("{ port: .nan }"),
    "3:29: Cannot use .nan: wanted text, a finite number or a boolean",
  ],
  // The engine's own options.
  [more("partitions: 0"), '5:17: Cannot use 0 for "partitions": wanted at least 1'],
  [more("partitions: 1.5"), '5:17: Cannot use 1.5 for "partitions": wanted a whole number'],
  [more("partitions: many"), '5:17: Cannot use "many" for "partitions": wanted number'],
  [more("checkpoint: 5"), '5:17: Cannot use 5 for "checkpoint": wanted string'],
  [more("batchTimeoutMs: 1"), '5:21: Cannot use 1 for "batchTimeoutMs": wanted at least 10'],
  [
    more("maxWorkerMemoryMb: 1"),
    '5:24: Cannot use 1 for "maxWorkerMemoryMb": wanted at least 16',
  ],
  [
    more("trigger: sometimes"),
    '5:14: Cannot use "sometimes" for "trigger": wanted continuous, availableNow, once, ' +
    'or {processingTime: "5 seconds"}',
  ],
  [
    more("trigger: { processingTime: soon }"),
    '5:32: Cannot use "soon" for "trigger.processingTime": wanted milliseconds, ' +
    'or text such as "5 seconds"',
  ],
  // Which plugin.
  [service({ source: "{ htpp: {} }" }), '3:15: Unknown source "htpp": did you mean "http"?'],
  [
    service({ source: "{ console: {} }" }),
    '3:15: Unknown source "console": it is a sink; did you mean "memory"?',
  ],
  [
    service({ source: "{ http: {}, rate: {} }" }),
    '3:25: Cannot use 2 plugins ("http", "rate") for "source": wanted one; ' +
    "its options are indented below it",
  ],
  [
    service({ source: "[http]" }),
    '3:13: Cannot use ["http"] for "source": wanted {<plugin>: {options}}',
  ],
  [
    service({ source: "" }),
    '3:5: Cannot use null for "source": wanted {<plugin>: {options}}',
  ],
  [
    transform("{ with_colum: { a: '1' } }"),
    '5:20: Unknown transform "with_colum": did you mean "with_column"?',
  ],
  [transform("5"), '5:18: Cannot use 5 for "transforms[0]": wanted {<plugin>: {options}}'],
  [
    service({ sink: "{ filter: 'true' }" }),
    '4:13: Unknown sink "filter": it is a transform; did you mean "http"?',
  ],
  // Options of the source.
  [source("{ prot: 1 }"), '3:23: Unknown option "prot": did you mean "port"?'],
  [source("{ port: eighty }"), '3:29: Cannot use "eighty" for "port": wanted number'],
  [source("{ port: 70000 }"), '3:29: Cannot use 70000 for "port": wanted at most 65535'],
  [source("{ port: 80.5 }"), '3:29: Cannot use 80.5 for "port": wanted a whole number'],
  [source("{ host: '' }"), '3:29: Cannot use "" for "host": wanted something that is not empty'],
  [source("{ path: 'a b?' }"), '3:29: Cannot use "a b?" for "path": wanted a URL path'],
  [
    source("{ methods: [FETCH] }"),
    '3:33: Cannot use "FETCH" for "methods[0]": ' +
    'wanted "GET" or "POST" or "PUT" or "PATCH" or "DELETE"',
  ],
  [source("{ methods: [] }"), '3:32: Cannot use [] for "methods": wanted at least 1 item'],
  [source("{ methods: POST }"), '3:32: Cannot use "POST" for "methods": wanted a list'],
  [source("{ maxBodyBytes: 0 }"), '3:37: Cannot use 0 for "maxBodyBytes": wanted at least 1'],
  [
    source("{ droppedReply: { status: 99 } }"),
    '3:47: Cannot use 99 for "droppedReply.status": wanted at least 200',
  ],
  [
    source("{ droppedReply: { staus: 404 } }"),
    '3:39: Unknown option "droppedReply.staus": did you mean "status"?',
  ],
  [source("[1]"), "3:21: Cannot use [1] for options: wanted a map of names to values"],
  // Transforms: expressions, types, columns.
  [
    transform("with_column"),
    "5:18: Cannot use {} for options: wanted a column and its expression",
  ],
  [
    transform("{ with_column: { n: length(valeu) } }"),
    '5:38: Cannot compile "length(valeu)": there is no column "valeu"; did you mean "value"?',
  ],
  [
    transform("{ with_column: { n: lenght(value) } }"),
    '5:38: Cannot compile "lenght(value)": there is no function "lenght"; did you mean "length"?',
  ],
  [
    transform("{ with_column: { n: 'length(value' } }"),
    '5:38: Cannot use "length(value" for "n": wanted a SQL expression; it ends too early',
  ],
  [
    transform("{ with_column: { n: value and true } }"),
    '5:38: Cannot compile "value and true": in and: wanted boolean, given string',
  ],
  [
    transform("{ with_column: { id: value } }"),
    '5:39: Cannot replace column "id": replies are routed by it; choose another name',
  ],
  [
    transform("{ filter: length(value) }"),
    '5:28: Cannot use "length(value)" as a condition: it is int32, wanted boolean',
  ],
  [
    transform("{ drop: [id] }"),
    '5:27: Cannot drop column "id": replies are routed by it; choose another name',
  ],
  [
    transform("{ cast: { value: int33 } }"),
    '5:35: Cannot use "int33" for "value": wanted a type; position 1: unknown type "int33"; ' +
    'did you mean "int32"?',
  ],
  [
    transform("{ rename: { a: b } }"),
    '5:33: Cannot rename column "a": no such column; did you mean "id"?',
  ],
  [transform("{ explode: {} }"), '5:29: Missing option "column": wanted string'],
  [
    transform("{ parse_request: { schema: a integre } }"),
    '5:45: Cannot use "a integre" for "schema": wanted columns and their types, ' +
    'such as "a int, b array<string>"; position 3: unknown type "integre"; did you mean "integer"?',
  ],
  [
    transform("{ parse_request: { schema: id int } }"),
    '5:45: Cannot make column "id" from the body: replies are routed by "id"; ' +
    "give the field another name",
  ],
  [
    transform("{ parse_request: { schema: a int, parsingCheck: half } }"),
    '5:66: Cannot use "half" for "parsingCheck": wanted "none" or "partial" or "full"',
  ],
  [
    transform("{ make_reply: { col: value, statusCode: 99 } }", "http"),
    '5:58: Cannot use 99 for "statusCode": wanted at least 200',
  ],
  [
    transform("{ make_reply: { col: value, headers: { 'a b': x } } }", "http"),
    '5:64: Cannot reply with header name "a b": wanted letters, digits and !#$%&\'*+-.^_`|~',
  ],
  [
    transform("{ make_reply: { col: value, headers: { Content-Length: '5' } } }", "http"),
    '5:73: Cannot reply with header "Content-Length": the server sets it; leave it out',
  ],
  // The sink.
  [
    service({ sink: "http" }),
    '4:11: Cannot reply with column "reply": no such column; ' +
    'there are "id", "value", "request", "timestamp"',
  ],
  [
    transform("{ parse_request: { schema: 'a int' } }"),
    '4:31: Cannot reply with column "value": no such column; there are "id", "a"',
  ],
  [
    service({ sink: "{ http: { replycol: value } }" }),
    '4:21: Unknown option "replycol": did you mean "replyCol"?',
  ],
  [
    service({ source: "rate" }),
    '4:19: Cannot reply with column "id": no such column; its source has no requests to answer',
  ],
  // Plugins from outside.
  [
    plugins("[./nothing.ts]"),
    `5:11: Cannot load module "./nothing.ts": there is no file ${
      new URL("nothing.ts", import.meta.url).href
    }`,
  ],
  [
    plugins("[./gate.ts]"),
    '5:11: Cannot use plugin "./gate.ts": it has no default export; export the plugin as default',
  ],
  [
    plugins("[nothing-here]"),
    '5:11: Cannot load module "nothing-here": no package "nothing-here" in node_modules beside ' +
    "the config; install it there (npm install nothing-here), or write ./nothing-here for a file",
  ],
  [plugins("[5]"), '5:11: Cannot use 5 for "plugins[0]": wanted a path, a URL or a package'],
  [
    plugins("./a.ts"),
    '5:10: Cannot use "./a.ts" for "plugins": wanted a list of paths, URLs or packages',
  ],
  [
    plugins("[./plugins/gate.ts, ./plugins/gate.ts]"),
    '5:30: Cannot use plugin "./plugins/gate.ts": there is a transform named "gate" already; ' +
    "give it another name",
  ],
];

Deno.test("every bad config is told with its place, what was given and what is wanted", async () => {
  for (const [text, ...problems] of configs) {
    const wanted = problems.map((problem) => `c.yaml:${problem}`).join("\n");
    assert.equal(await problemsOf(text), wanted, text);
  }
});

const starts: readonly (readonly [title: string, setup: ServiceSetup, error: string])[] = [
  [
    "a trigger that needs an end",
    { trigger: "once" },
    'Cannot run source "http" with trigger "once": its rows come when they come; ' +
    "continuous and processingTime are allowed",
  ],
  [
    "a function's module that is not there",
    { transforms: [{ udf: { module: "./nothing.ts", as: "n", returns: "int" } }] },
    `Cannot load module "./nothing.ts": there is no file ${
      new URL("nothing.ts", import.meta.url).href
    }`,
  ],
  [
    "a function that its module has not",
    { transforms: [{ udf: { module: "./gate.ts", export: "gait", as: "n", returns: "int" } }] },
    'Cannot use "gait" of "./gate.ts": it exports no such function; did you mean "Gate"? ' +
    'Known: "Gate"',
  ],
  [
    "an address of another machine",
    { source: { host: "203.0.113.1" } },
    'Cannot bind "203.0.113.1:0": this machine has no such address; change http.host',
  ],
];

Deno.test("what only the start can tell ends the query with a clear error", async () => {
  for (const [title, setup, error] of starts) {
    await assert.rejects(startService(setup), {
      name: "StreamingQueryException",
      message: `Query "api" failed: ${error}`,
    }, title);
  }
});

const SCHEMA = "a int, b string, c array<int>, d boolean, e struct<f: double>, g timestamp";
const notJson = "Cannot read the body: wanted a JSON object, given text that is not JSON";

/** Bodies that do not fit the schema, each with the error of its 400. */
const bodies: readonly (readonly [body: string | Uint8Array<ArrayBuffer>, error: string])[] = [
  ["", "Cannot read the body: wanted a JSON object, given nothing"],
  ["  ", "Cannot read the body: wanted a JSON object, given nothing"],
  ["hello", notJson],
  ['{"a": NaN}', notJson],
  [Uint8Array.of(0x7b, 0x22, 0x61, 0x22, 0x3a, 0xff, 0x7d), notJson],
  ["5", "Cannot read the body: wanted a JSON object, given a number"],
  ["[1]", "Cannot read the body: wanted a JSON object, given a list"],
  ["null", "Cannot read the body: wanted a JSON object, given null"],
  ['{"b": "x"}', 'Cannot read field "a": wanted int32, given nothing'],
  ['{"__proto__": {"a": 1}}', 'Cannot read field "a": wanted int32, given nothing'],
  ['{"a": "1"}', 'Cannot read field "a": wanted int32, given "1"'],
  ['{"a": 1.5}', 'Cannot read field "a": wanted int32, given 1.5'],
  ['{"a": 3000000000}', 'Cannot read field "a": wanted int32, given 3000000000'],
  ['{"a": null}', 'Cannot read field "a": wanted int32, given null'],
  ['{"a": true}', 'Cannot read field "a": wanted int32, given true'],
  ['{"a": [1]}', 'Cannot read field "a": wanted int32, given a list of 1'],
  [
    `{"a": ${"[".repeat(5000)}${"]".repeat(5000)}}`,
    'Cannot read field "a": wanted int32, given a list of 1',
  ],
  [
    `{"a": "${"x".repeat(500)}"}`,
    `Cannot read field "a": wanted int32, given "${"x".repeat(32)}"... (500 characters)`,
  ],
  ['{"a": 1, "b": 2}', 'Cannot read field "b": wanted string, given 2'],
  ['{"a": 1, "b": {"c": 1}}', 'Cannot read field "b": wanted string, given an object'],
  ['{"a": 1, "b": "x", "c": "1,2"}', 'Cannot read field "c": wanted a list, given "1,2"'],
  ['{"a": 1, "b": "x", "c": [1, "2"]}', 'Cannot read field "c[1]": wanted int32, given "2"'],
  ['{"a": 1, "b": "x", "c": [1, null]}', 'Cannot read field "c[1]": wanted int32, given null'],
  [
    '{"a": 1, "b": "x", "c": [], "d": "true"}',
    'Cannot read field "d": wanted boolean, given "true"',
  ],
  [
    '{"a": 1, "b": "x", "c": [], "d": true, "e": "1.5"}',
    'Cannot read field "e": wanted an object, given "1.5"',
  ],
  [
    '{"a": 1, "b": "x", "c": [], "d": true, "e": {}}',
    'Cannot read field "e.f": wanted float64, given nothing',
  ],
  [
    '{"a": 1, "b": "x", "c": [], "d": true, "e": {"f": 1e400}}',
    'Cannot read field "e.f": wanted float64, given Infinity',
  ],
  [
    '{"a": 1, "b": "x", "c": [], "d": true, "e": {"f": 1}, "g": "yesterday"}',
    'Cannot read field "g": wanted timestamp (ISO 8601 text, or seconds since 1970), ' +
    'given "yesterday"',
  ],
];

Deno.test("every body that does not fit the schema gets 400 with what is wrong with it", async () => {
  const setup = {
    transforms: [
      { parse_request: { schema: SCHEMA } },
      { with_column: { out: "a + 1" } },
    ],
    sink: { replyCol: "out" },
  };
  await withService(setup, async ({ url, query }) => {
    for (const [body, error] of bodies) {
      const { status, type, text } = await post(url, body);
      assert.deepEqual([status, type, JSON.parse(text)], [400, "application/json", { error }]);
    }
    const good = '{"a": 1, "b": "", "c": [], "d": false, "e": {"f": 0}, "g": 0, "more": null}';
    assert.equal((await post(url, good)).text, "2");
    assert.equal(query.status.workerRestarts, 0);
  });
});
