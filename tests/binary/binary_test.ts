/**
 * The compiled binary as a user runs it: `deno task compile`, then `deno task test:binary`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { VERSION } from "../../cli/version.ts";
import { freePort } from "../free_port.ts";
import { Gate } from "../gate.ts";
import { HttpConnection, textOf } from "../http_client.ts";
import { post } from "../with_service.ts";
import { Binary } from "./binary.ts";

/** A config of one service on a free port. */
function serviceOf(
  { transforms = [], source = "http", plugins = [], engine = "" }: {
    readonly transforms?: readonly string[];
    readonly source?: string;
    readonly plugins?: readonly string[];
    readonly engine?: string;
  },
): string {
  return `plugins: ${JSON.stringify(plugins)}
services:
  - name: api
    source: { ${source}: { host: 127.0.0.1, port: "\${PORT:0}" } }
    transforms: [ ${transforms.join(", ")} ]
    sink: { http: { replyCol: reply } }
    ${engine}
`;
}

const HELLO = serviceOf({ transforms: ["with_column: { reply: length(value) }"] });

/** A plugin out of `tests/plugins/`, as a user's own file. */
const testPlugin = (name: string) =>
  Deno.readTextFileSync(new URL(`../plugins/${name}.ts`, import.meta.url));

Deno.test("--version and --help", async () => {
  await using binary = await Binary.unpack();
  assert.deepEqual(await binary.run("--version"), {
    code: 0,
    stdout: `${VERSION}\n`,
    stderr: "",
  });
  const { code, stdout, stderr } = await binary.run("--help");
  assert.deepEqual([code, stderr], [0, ""]);
  for (const verb of ["run", "lint", "list", "describe", "create", "schema"]) {
    assert.match(stdout, new RegExp(`^  ${verb} `, "m"));
    assert.match((await binary.run(verb, "--help")).stdout, /^Usage: millrace /);
  }
});

Deno.test("every verb, with what it prints and its exit code", async () => {
  await using binary = await Binary.unpack({
    "good.yaml": HELLO,
    "bad.yaml": HELLO.replace("host:", "hots:"),
    "wrong.yaml": HELLO.replace("length(value)", "lenth(value)"),
  });
  const cases: [args: string[], code: number, stdout: RegExp, stderr: RegExp][] = [
    [["list"], 0, /^transform +with_column +\S/m, /^$/],
    [["list", "--json"], 0, /"name": "distributed_http"/, /^$/],
    [["describe", "parse_request"], 0, /^parse_request \(transform\)\n/, /^$/],
    [["describe", "htp"], 2, /^$/, /^error: Unknown plugin "htp": did you mean "http"\? /],
    [["lint", "good.yaml"], 0, /^good\.yaml: 1 service, no problems\n$/, /^$/],
    [
      ["lint", "good.yaml", "bad.yaml"],
      2,
      /^$/,
      /^bad\.yaml:4:23: Unknown option "hots": did you mean "host"\? .*$/m,
    ],
    [
      ["run", "wrong.yaml"],
      2,
      /^$/,
      /^wrong\.yaml:5:41: Cannot compile "lenth\(value\)": .* did you mean "length"\?\n$/,
    ],
    [["run", "absent.yaml"], 2, /^$/, /^absent\.yaml: Cannot read the config: /],
    [["create", "http/with_column/http"], 0, /^ {10}newCol: length\(value\)$/m, /^$/],
    [["create", "--example"], 0, /^hello +The hello-world service: /m, /^$/],
    [["create", "--example", "hello"], 0, /^services:\n {2}- name: my_query\n/m, /^$/],
    [["schema"], 0, /^ {2}"title": "Millrace config",$/m, /^$/],
    [["rnu"], 2, /^$/, /^error: unknown command 'rnu'\n/],
  ];
  for (const [args, code, stdout, stderr] of cases) {
    const output = await binary.run(...args);
    assert.match(output.stdout, stdout, args.join(" "));
    assert.match(output.stderr, stderr, args.join(" "));
    assert.equal(output.code, code, args.join(" "));
  }
});

/** A port that is taken until the object is disposed. */
function occupied(): { port: number } & Disposable {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  return { port, [Symbol.dispose]: () => listener.close() };
}

Deno.test("what create prints is a config that runs, and so is every example", async () => {
  await using binary = await Binary.unpack();
  const { stdout } = await binary.run("create", "--example");
  const names = Array.from(stdout.matchAll(/^[a-z]\S*/gm), ([name]) => name);
  assert.ok(names.includes("plugins/ticker.ts"));
  const configs: string[] = [];
  for (const name of names) {
    const file = name.endsWith(".ts") ? name : `${name}.yaml`;
    await binary.write(file, (await binary.run("create", "--example", name)).stdout);
    if (file.endsWith(".yaml")) configs.push(file);
  }
  await binary.write("created.yaml", (await binary.run("create", "http/make_reply/http")).stdout);
  for (const args of [configs, ["created.yaml"]]) {
    const { code, stderr } = await binary.run("lint", ...args);
    assert.deepEqual([code, stderr], [0, ""]);
  }
});

Deno.test("hello world; the log is JSON lines, and SIGTERM ends it well", async () => {
  await using binary = await Binary.unpack();
  const { stdout } = await binary.run("create", "--example", "hello");
  await binary.write("hello.yaml", stdout.replace("8888", "0"));
  const { service, urls: [url] } = await binary.serve("hello.yaml");
  const { status, text } = await post(url!, "hello world");
  assert.deepEqual([status, text], [200, "11"]);
  assert.equal((await post(url!.replace("my_api", "other"), "")).status, 404);
  const { code } = await service.kill("SIGTERM");
  assert.equal(code, 0);
  assert.deepEqual(service.log.map(({ level, message }) => [level, message]), [
    ["INFO", 'Query "my_query" is ready'],
    ["INFO", "Stopping; a second signal stops at once"],
    ["INFO", 'Query "my_query" has stopped'],
  ]);
});

const SHOUT = `import type { Batch, TransformPlugin } from "@millrace/millrace";
import { loud, type Loudness } from "./lib/loud.ts";

interface Options {
  readonly column: string;
}

const plugin: TransformPlugin<Options> = {
  kind: "transform",
  name: "shout",
  summary: "Makes text loud.",
  options: (v) => v.strictObject({ column: v.string() }),
  outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
  create: ({ column }: Options) => ({
    transform: (batch: Batch) => {
      const how: Loudness = "very";
      const texts = (batch.column(column) as readonly string[]).map((each) => loud(each, how));
      const place = import.meta.url.replace(/.*\\//, "");
      return batch.withColumn("reply", "string", texts.map((each: string): string => each + place));
    },
  }),
};
export default plugin satisfies TransformPlugin<Options>;
`;
const LOUD = `export type Loudness = "very" | "little";
export function loud(text: string, how: Loudness): string {
  return text.toUpperCase() + (how === "very" ? "! " : " ");
}
`;

/** A plugin without types, out of other modules. */
const plain = (imports: string, call: string) =>
  `${imports}
export default {
  kind: "transform",
  name: "shout",
  summary: "Makes text loud.",
  options: (v) => v.strictObject({ column: v.string() }),
  outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
  create: ({ column }) => ({
    transform: (batch) => batch.withColumn("reply", "string", batch.column(column).map(${call})),
  }),
};
`;

const PACKAGES = {
  "node_modules/dual/package.json":
    '{ "main": "./c.js", "exports": { "require": "./c.js", "import": "./m.mjs" } }',
  "node_modules/dual/c.js": 'throw new Error("the CommonJS one");',
  "node_modules/dual/m.mjs": "export const loud = (text) => text.toUpperCase();",
  "node_modules/uses/package.json": '{ "type": "module", "exports": "./main.js" }',
  "node_modules/uses/main.js": 'import { loud } from "dual"; import { twice } from "./twice.js"; ' +
    "export const louder = (text) => twice(loud(text));",
  "node_modules/uses/twice.js":
    'import { join } from "path"; export const twice = (text) => join(text, text);',
  "node_modules/common/package.json": '{ "main": "./common.js" }',
  "node_modules/common/common.js": "module.exports = { loud: (text) => text.toUpperCase() };",
  "node_modules/shout/package.json": '{ "type": "module", "exports": "./plugin.js" }',
  "node_modules/shout/plugin.js": plain('import { louder } from "uses";', "louder"),
};

/** Plugins named `shout`, as the config names them, and the reply to `hi`. */
const PLUGINS: readonly [
  specifier: string,
  files: Readonly<Record<string, string>>,
  reply: string,
][] = [
  ["./shout.ts", { "shout.ts": SHOUT, "lib/loud.ts": LOUD }, "HI! shout.ts"],
  ["./shout.js", { "shout.js": plain("", "(each) => each + '!'") }, "hi!"],
  [
    "./mixed.js",
    { "mixed.js": plain('import { loud } from "./lib/loud.ts";', "loud"), "lib/loud.ts": LOUD },
    "HI ",
  ],
  [
    "./uses.ts",
    { "uses.ts": plain('import { louder } from "uses";', "(each: string) => louder(each)") },
    "HI/HI",
  ],
  [
    "./prefixed.js",
    { "prefixed.js": plain('import { loud } from "npm:dual@^1";', "loud") },
    "HI",
  ],
  [
    "./late.js",
    { "late.js": plain('const { loud } = await import("dual");', "(each) => loud(each)") },
    "HI",
  ],
  ["shout", {}, "HI/HI"],
  ["npm:shout@1", {}, "HI/HI"],
];

for (const [specifier, files, reply] of PLUGINS) {
  Deno.test(`a plugin of the user's from "${specifier}" is used by name`, async () => {
    const config = serviceOf({
      plugins: [specifier],
      transforms: ["shout: { column: value }"],
      engine: "partitions: 2",
    });
    await using binary = await Binary.unpack({ ...PACKAGES, ...files, "api.yaml": config });
    const { service, urls: [url] } = await binary.serve("api.yaml");
    assert.equal((await post(url!, "hi")).text, reply);
    assert.equal((await service.kill("SIGTERM")).code, 0);
  });
}

Deno.test("a plugin that cannot be loaded is told with its reason and exit code 2", async () => {
  await using binary = await Binary.unpack({
    ...PACKAGES,
    "common.js": plain('import { loud } from "common";', "loud"),
    "missing.ts": plain('import { loud } from "absent";', "(each: string) => loud(each)"),
    "broken.ts": "const a: number = 1;\n  enum Color { Red }\n",
    "a.ts": 'import "./b.ts"; export const a: number = 1;',
    "b.ts": 'import "./a.ts"; export const b: number = 1;',
  });
  const here = `file://${binary.folder}`.replaceAll(" ", "%20");
  const cases: [specifier: string, why: string | RegExp][] = [
    ["./absent.ts", `there is no file ${here}/absent.ts`],
    ["./missing.ts", `no package "absent" in node_modules beside ${here}/missing.ts or above it`],
    ["./broken.ts", `${here}/broken.ts:2:3: TypeScript enum is not supported in strip-only mode`],
    [
      "./a.ts",
      `${here}/a.ts imports itself by way of ${here}/b.ts; take the circle apart, or bundle it ` +
      "into one file",
    ],
    ["common", /: file:.*\/common\.js is CommonJS, wanted ES modules alone$/],
    ["./common.js", /: file:.*\/common\.js is CommonJS, wanted ES modules alone$/],
    [
      "absent",
      'no package "absent" in node_modules beside the config; install it there (npm install ' +
      "absent), or write ./absent for a file",
    ],
  ];
  for (const [specifier, why] of cases) {
    await binary.write(
      "api.yaml",
      serviceOf({ plugins: [specifier], transforms: ["with_column: { reply: value }"] }),
    );
    const { code, stdout, stderr } = await binary.run("run", "api.yaml");
    assert.deepEqual([code, stdout], [2, ""], stderr);
    const [line] = stderr.split("\n");
    if (typeof why === "string") {
      const [, place] = /^(api\.yaml:1:\d+: )/.exec(line!) ?? [];
      assert.equal(line, `${place}Cannot load module "${specifier}": ${why}`);
    } else assert.match(line!, why);
  }
});

Deno.test("functions of the user's in TypeScript: udf, map_batches, foreach_batch", async () => {
  const text = `import type { Batch } from "@millrace/millrace";
export const countVowels = (text: string): number => text.match(/[aeiou]/g)?.length ?? 0;
`;
  const batches = `import type { Batch } from "@millrace/millrace";
import { countVowels } from "./text.ts";
export default (batch: Batch): Batch => {
  const values = batch.column("value") as readonly string[];
  const replies = values.map((each) => each + countVowels(each));
  return batch.select(["id"]).withColumn("reply", "string", replies);
};
`;
  const save = `import type { Batch } from "@millrace/millrace";
export async function save(batch: Batch, batchId: number, context: { options: { file: string } }) {
  const line: string = JSON.stringify([batchId, ...batch.column("n") as Iterable<number>]) + "\\n";
  await Deno.writeTextFile(new URL(context.options.file, import.meta.url), line, { append: true });
}
`;
  await using binary = await Binary.unpack({
    "text.ts": text,
    "batches.ts": batches,
    "save.ts": save,
    "udf.yaml": serviceOf({
      transforms: [
        "udf: { module: ./text.ts, export: countVowels, args: [value], as: n, returns: int }",
        "with_column: { reply: \"udf('./text.ts', 'countVowels', 'int', value) * 10 + n\" }",
      ],
    }),
    "batches.yaml": serviceOf({
      transforms: ['map_batches: { module: ./batches.ts, schema: "reply string" }'],
    }),
    "rows.yaml": `services:
  - name: rows
    source: { memory: { rows: [{ n: 1 }, { n: 2 }, { n: 3 }], schema: n int } }
    sink: { foreach_batch: { module: ./save.ts, export: save, options: { file: saved.log } } }
`,
  });
  const { urls: [url] } = await binary.serve("udf.yaml");
  assert.equal((await post(url!, "hello world")).text, "33");
  const { urls: [other] } = await binary.serve("batches.yaml");
  assert.equal((await post(other!, "hello world")).text, "hello world3");
  const { code, stderr } = await binary.run("run", "rows.yaml");
  assert.equal(code, 0, stderr);
  assert.equal(await Deno.readTextFile(binary.path("saved.log")), "[0,1,2,3]\n");
});

Deno.test("distributed_http with two partitions: each answers connections of its own", async () => {
  const config = serviceOf({
    source: "distributed_http",
    plugins: ["./where.ts"],
    transforms: ["where: {}"],
    engine: "partitions: 2",
  });
  const where = `import type { TransformPlugin } from "@millrace/millrace";
export default {
  kind: "transform",
  name: "where",
  summary: "Tells the partition.",
  options: (v) => v.strictObject({}),
  outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
  create: (_options, { partition }) => ({
    transform: (batch) => {
      const texts = (batch.column("value") as string[]).map((each) => each + partition);
      return batch.withColumn("reply", "string", texts);
    },
  }),
} satisfies TransformPlugin<object>;
`;
  await using binary = await Binary.unpack({ "api.yaml": config, "where.ts": where });
  const { service, urls: [url] } = await binary.serve("api.yaml");
  const seen = new Set<string>();
  for (let n = 0; n < 200 && seen.size < 2; n++) {
    const connection = await HttpConnection.open(url!);
    seen.add(textOf(await connection.post("from ")));
    connection.close();
  }
  assert.deepEqual([...seen].sort(), ["from 0", "from 1"]);
  assert.equal((await service.kill("SIGTERM")).code, 0);
});

Deno.test("a checkpoint goes on where a killed process stood: every row once", async () => {
  await using binary = await Binary.unpack();
  for (const name of ["ticker", "mask_text", "append_lines"]) {
    const file = `plugins/${name}.ts`;
    await binary.write(file, (await binary.run("create", "--example", file)).stdout);
  }
  const { stdout } = await binary.run("create", "--example", "custom_plugins");
  const config = stdout.replace("everyMs: 200, count: 10", "everyMs: 20, count: 60");
  assert.notEqual(config, stdout);
  await binary.write("custom_plugins.yaml", config);
  const lines = async () =>
    (await Deno.readTextFile(binary.path("ticks.log"))).split("\n").slice(0, -1);

  const first = binary.start("run", "custom_plugins.yaml");
  await first.until(({ stderr }) => stderr.includes("is ready"));
  while (!await exists(binary.path("ticks.log")) || (await lines()).length < 10) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await first.kill("SIGKILL");
  const half = await lines();
  assert.ok(half.length < 60, "it was killed half-way");

  const second = await binary.run("run", "custom_plugins.yaml");
  assert.equal(second.code, 0, second.stderr);
  const ticks = (await lines()).map((line) => JSON.parse(line).row.n);
  assert.deepEqual(ticks, Array.from({ length: 60 }, (_, n) => n));
});

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}

/** A service whose requests wait at a gate. */
async function gated(gate: Gate): Promise<Binary> {
  const { gate: { url } } = gate.transform;
  return await Binary.unpack({
    "gate.ts": testPlugin("gate"),
    "api.yaml": serviceOf({
      plugins: ["./gate.ts"],
      transforms: [`gate: { url: "${url}" }`, "with_column: { reply: upper(value) }"],
    }),
  });
}

Deno.test("SIGTERM: the request in flight is answered, new ones are refused, then it exits 0", async () => {
  await using gate = new Gate();
  await using binary = await gated(gate);
  const { service, urls: [url] } = await binary.serve("api.yaml");
  const slow = post(url!, "slow");
  await gate.rows(1);
  service.signal("SIGTERM");
  await service.until(({ stderr }) => stderr.includes("Stopping"));
  const late = await post(url!, "late").catch((error) => error);
  assert.ok(late instanceof TypeError || late.status === 503, String(late.status ?? late));
  gate.open();
  const { status, text } = await slow;
  assert.deepEqual([status, text], [200, "SLOW"]);
  assert.equal((await service.ended).code, 0);
});

Deno.test("SIGINT twice stops at once, whatever still runs", async () => {
  await using gate = new Gate();
  await using binary = await gated(gate);
  const { service, urls: [url] } = await binary.serve("api.yaml");
  const slow = post(url!, "slow").then(({ status }) => status, () => "broken off");
  await gate.rows(1);
  service.signal("SIGINT");
  await service.until(({ stderr }) => stderr.includes("a second signal stops at once"));
  service.signal("SIGINT");
  assert.equal((await service.ended).code, 0);
  assert.ok(([503, "broken off"] as unknown[]).includes(await slow), String(await slow));
});

Deno.test("a port that is in use ends it with exit code 1, told as it is", async () => {
  using other = occupied();
  await using binary = await Binary.unpack({
    "api.yaml": HELLO.replace('"${PORT:0}"', String(other.port)),
  });
  const running = binary.start("run", "api.yaml");
  const { code, stdout } = await running.ended;
  assert.deepEqual([code, stdout], [1, ""]);
  assert.deepEqual(running.log.map(({ level, message }) => [level, message]), [[
    "ERROR",
    `Query "api" failed: Cannot bind "127.0.0.1:${other.port}": address in use; ` +
    "stop the other service or change http.port",
  ]]);
});

Deno.test("a partition that a plugin ends is replaced; that request alone gets 500", async () => {
  await using binary = await Binary.unpack({
    "obey.ts": testPlugin("obey"),
    "api.yaml": serviceOf({ plugins: ["./obey.ts"], transforms: ["obey: {}"] }),
  });
  const { service, urls: [url] } = await binary.serve("api.yaml");
  for (const body of ["Deno.exit", "process.exit", "throw in a timer"]) {
    const [guilty, ...others] = await Promise.all(
      [body, "a", "b", "c"].map((each) => post(url!, each)),
    );
    assert.equal(guilty!.status, 500, body);
    assert.match(guilty!.text, /The worker did not survive this request/);
    assert.deepEqual(others.map(({ text }) => text), ["ok a", "ok b", "ok c"]);
    assert.equal((await post(url!, "afterwards")).text, "ok afterwards");
  }
  assert.equal((await service.kill("SIGTERM")).code, 0);
});

Deno.test("after a SIGKILL it starts again on the same port, with clients still connected", async () => {
  for (const source of ["http", "distributed_http"]) {
    const port = freePort();
    await using binary = await Binary.unpack({
      "api.yaml": serviceOf({ source, transforms: ["with_column: { reply: length(value) }"] })
        .replace('"${PORT:0}"', String(port)),
    });
    const { service, urls: [url] } = await binary.serve("api.yaml");
    const connections = await Promise.all(
      Array.from({ length: 20 }, () => HttpConnection.open(url!)),
    );
    for (const each of connections) assert.equal(textOf(await each.post("four")), "4");
    await service.kill("SIGKILL");
    const { service: again, urls: [same] } = await binary.serve("api.yaml");
    assert.equal(same, url);
    assert.equal((await post(same!, "hello world")).text, "11");
    for (const each of connections) each.close();
    assert.equal((await again.kill("SIGTERM")).code, 0);
  }
});

Deno.test("a body of 10 MB is taken where the limit allows it, and refused where not", async () => {
  const config = serviceOf({ transforms: ["with_column: { reply: length(value) }"] });
  await using binary = await Binary.unpack({
    "large.yaml": config.replace("host:", "maxBodyBytes: 20000000, host:"),
    "small.yaml": config.replace("host:", "maxBodyBytes: 9999999, host:"),
  });
  const body = "ä".repeat(5_000_000);
  const { urls: [large] } = await binary.serve("large.yaml");
  assert.equal((await post(large!, body)).text, "5000000");
  const { urls: [small] } = await binary.serve("small.yaml");
  assert.equal((await post(small!, body)).status, 413);
  assert.equal((await post(small!, "ä")).text, "1");
});

Deno.test("500 connections at once are each answered, in both modes", async () => {
  for (const source of ["http", "distributed_http"]) {
    const config = serviceOf({
      source,
      transforms: ["with_column: { reply: upper(value) }"],
      engine: "partitions: 2",
    });
    await using binary = await Binary.unpack({ "api.yaml": config });
    const { service, urls: [url] } = await binary.serve("api.yaml");
    const connections = await Promise.all(
      Array.from({ length: 500 }, () => HttpConnection.open(url!)),
    );
    for (let round = 0; round < 3; round++) {
      const answers = await Promise.all(
        connections.map((each, n) => each.post(`body ${n} of ${round}`)),
      );
      for (const [n, answer] of answers.entries()) {
        assert.deepEqual([answer.status, textOf(answer)], [200, `BODY ${n} OF ${round}`]);
      }
    }
    for (const each of connections) each.close();
    assert.equal((await service.kill("SIGTERM")).code, 0);
  }
});

/**
 * How much more memory, in MiB, 50,000 requests may leave behind once 25,000 have been served. The heaps
 * of head and worker grow by leaps of some 50 MiB now and then, and over millions of requests by no more;
 * the bodies alone would come to 390.
 */
const MAX_GROWTH_MB = 128;

Deno.test(`50,000 requests leave less than ${MAX_GROWTH_MB} MiB behind, in both modes`, async () => {
  const body = "x".repeat(8192);
  for (const source of ["http", "distributed_http"]) {
    const config = serviceOf({ source, transforms: ["with_column: { reply: length(value) }"] });
    await using binary = await Binary.unpack({ "api.yaml": config });
    const { service, urls: [url] } = await binary.serve("api.yaml");
    const serve = async (count: number) => {
      const connections = await Promise.all(
        Array.from({ length: 50 }, () => HttpConnection.open(url!)),
      );
      await Promise.all(connections.map(async (each) => {
        for (let n = 0; n < count / connections.length; n++) {
          assert.equal(textOf(await each.post(body)), "8192");
        }
        each.close();
      }));
    };
    await serve(25_000);
    const before = service.residentMb;
    await serve(50_000);
    const growth = service.residentMb - before;
    assert.ok(
      growth < MAX_GROWTH_MB,
      `${source}: ${growth.toFixed(1)} MiB over ${before.toFixed(1)}`,
    );
  }
});
