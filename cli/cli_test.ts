import assert from "node:assert/strict";
import { knownPlugins } from "../tests/known_plugins.ts";
import metadata from "../deno.json" with { type: "json" };
import { call, withFiles } from "./test_io.ts";

const VERBS = ["run", "lint", "list", "describe", "create", "schema"];

Deno.test("--version prints the version, --help the verbs, both with exit code 0", async () => {
  assert.deepEqual(await call(["--version"]), {
    code: 0,
    stdout: `${metadata.version}\n`,
    stderr: "",
  });
  const { code, stdout, stderr } = await call(["--help"]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  for (const verb of VERBS) assert.match(stdout, new RegExp(`^  ${verb} `, "m"));
});

for (const verb of VERBS) {
  Deno.test(`${verb} --help tells how it is used`, async () => {
    for (const args of [[verb, "--help"], ["help", verb]]) {
      const { code, stdout, stderr } = await call(args);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
      assert.match(stdout, new RegExp(`^Usage: millrace ${verb} `));
      assert.ok(stdout.split("\n").every((line) => line.length <= 100), stdout);
    }
  });
}

Deno.test("bad use is told on stderr with exit code 2", async () => {
  const cases: [args: string[], stderr: string][] = [
    [["rnu", "x.yaml"], "error: unknown command 'rnu'\n(Did you mean run?)\n"],
    [["run"], "error: missing required argument 'file'\n"],
    [["lint"], "error: missing required argument 'file'\n"],
    [["run", "--wach", "x.yaml"], "error: unknown option '--wach'\n(Did you mean --watch?)\n"],
    [
      ["run", "--log-level", "loud", "x.yaml"],
      "error: option '--log-level <level>' argument 'loud' is invalid. " +
      "Allowed choices are debug, info, warn, error.\n",
    ],
    [
      ["list", "--kind", "sauce"],
      "error: option '-k, --kind <kind>' argument 'sauce' is invalid. " +
      "Allowed choices are source, transform, sink.\n",
    ],
    [
      ["list", "more"],
      "error: too many arguments for 'list'. Expected 0 arguments but got 1: more.\n",
    ],
    [
      ["describe", "htp"],
      `error: Unknown plugin "htp": did you mean "http"? ${knownPlugins()}\n`,
    ],
    [
      ["create", "http"],
      'error: Cannot create "http": wanted SOURCE/TRANSFORM,.../SINK, ' +
      "such as http/with_column/http\n",
    ],
    [
      ["create", "http/http/htp"],
      `error: Unknown transform "http": it is a source; did you mean "drop"? ${
        knownPlugins("transform")
      }\n`,
    ],
    [["lint", "gone.yaml"], "gone.yaml: Cannot read the config: there is no such file\n"],
    [["run", "gone.yaml"], "gone.yaml: Cannot read the config: there is no such file\n"],
    [
      ["list", "--plugin", "./gone.ts"],
      `error: Cannot load module "./gone.ts": there is no file file://${Deno.cwd()}/gone.ts\n`,
    ],
  ];
  for (const [args, stderr] of cases) {
    assert.deepEqual(await call(args), { code: 2, stdout: "", stderr }, args.join(" "));
  }
});

Deno.test("without a verb the help goes to stderr with exit code 2", async () => {
  const { code, stdout, stderr } = await call([]);
  assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
  assert.match(stderr, /^Usage: millrace /);
});

Deno.test("lint says which files are good, or all that is wrong", async () => {
  const hello = new URL("../examples/hello.yaml", import.meta.url).pathname;
  const head = new URL("../bench/contenders/hello_head.yaml", import.meta.url).pathname;
  assert.deepEqual(await call(["lint", hello, head], { PORT: "8888" }), {
    code: 0,
    stdout: `${hello}: 1 service, no problems\n${head}: 1 service, no problems\n`,
    stderr: "",
  });
  const bad =
    "services:\n  - name: a\n    source: { rate: { rowsPerSecnd: 1 } }\n    sink: consle\n";
  await withFiles({ "bad.yaml": bad }, async (path) => {
    const file = path("bad.yaml");
    assert.deepEqual(await call(["lint", hello, file]), {
      code: 2,
      stdout: "",
      stderr: [
        `${file}:3:23: Unknown option "rowsPerSecnd": did you mean "rowsPerSecond"? ` +
        'Known: "rowsPerSecond", "numRows"',
        `${file}:4:11: Unknown sink "consle": did you mean "console"? ` +
        knownPlugins("sink"),
        "",
      ].join("\n"),
    });
  });
});

Deno.test("the program itself ends with the command's exit code", async () => {
  const main = new URL("../main.ts", import.meta.url).pathname;
  for (const [args, expected] of [[["--version"], 0], [["lint", "gone.yaml"], 2]] as const) {
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", main, ...args],
    }).output();
    assert.equal(code, expected);
  }
});
