/**
 * Every file in `examples/`, run as its comment says: the `curl` lines in it are sent, and their answers
 * compared.
 *
 * @module
 */
import assert from "node:assert/strict";
import { runCli } from "../cli/cli.ts";
import { TestIo } from "../cli/test_io.ts";
import { parseConfig } from "../engine/config.ts";
import { freePort } from "./free_port.ts";

const EXAMPLES = new URL("../examples/", import.meta.url);

/** An answer: its status where that is not 200, and its body. */
type Answer = string | readonly [status: number, body: string];

/** The answers to the `curl` lines of configs, in order. */
const ANSWERS: Readonly<Record<string, readonly Answer[]>> = {
  "hello.yaml": ["11"],
  "json_api.yaml": [
    '{"item":"mill","total":119.8,"shipping":0}',
    [400, '{"error":"Cannot read field \\"price\\": wanted float64, given \\"cheap\\""}'],
  ],
  "early_reply.yaml": ["7 IS A PRIME", [400, "Say something"]],
  "two_services.yaml": ["11", "HELLO WORLD", "ready"],
  "distributed.yaml": ["11"],
};

/** What is not answered over HTTP has a test of its own below, or elsewhere. */
const OTHERS = ["custom_plugins.yaml", "hello.ts", "plugins", "rate_console.yaml"];

Deno.test("every file in examples/ has an expectation", () => {
  const files = Array.from(Deno.readDirSync(EXAMPLES), ({ name }) => name);
  assert.deepEqual(files.sort(), [...Object.keys(ANSWERS), ...OTHERS].sort());
});

for (const [name, answers] of Object.entries(ANSWERS)) {
  Deno.test(`examples/${name} answers as it says`, async () => {
    const lines = curlLines(await Deno.readTextFile(new URL(name, EXAMPLES)));
    assert.equal(lines.length, answers.length);
    const port = String(freePort());
    await withExample(name, { PORT: port }, async (io, until) => {
      await until(() => /is ready at .*\n {2}curl /.test(io.stdout) && allReady(name, io));
      for (const [at, line] of lines.entries()) {
        assert.deepEqual(await curl(line.replace("8888", port)), answers[at], line);
      }
    });
  });
}

Deno.test("examples/early_reply.yaml answers what it filters and what is too long", async () => {
  const port = String(freePort());
  await withExample("early_reply.yaml", { PORT: port }, async (io, until) => {
    await until(() => allReady("early_reply.yaml", io));
    const ask = (body: string) => curl(`curl -d '${body}' http://localhost:${port}/shout`);
    assert.deepEqual(await ask("no digits"), [404, '{"error":"No number in this text"}']);
    assert.deepEqual(await ask("9".repeat(1001)), [422, '{"error":"too long","length":1001}']);
  });
});

Deno.test("examples/rate_console.yaml prints even numbers until it is stopped", async () => {
  const { log } = console;
  const printed = new TestIo();
  console.log = (text: string) => printed.out(`${text}\n`);
  try {
    await withExample("rate_console.yaml", {}, async (_io, until) => {
      await until(() => /Batch: 1\n[^]*\|\n/.test(printed.stdout), printed);
    });
  } finally {
    console.log = log;
  }
  const values = Array.from(printed.stdout.matchAll(/\| +(\d+) \| [\d:]{8} \|/g), ([, n]) => +n!);
  assert.ok(values.length >= 2, printed.stdout);
  assert.deepEqual(values, values.map((_, at) => at * 2));
});

Deno.test("examples/hello.ts answers as it says", async () => {
  const text = await Deno.readTextFile(new URL("hello.ts", EXAMPLES));
  const [line] = text.match(/curl -d '[^']*' [^`\s]+/)!;
  const port = String(freePort());
  const cwd = await Deno.makeTempDir();
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL("hello.ts", EXAMPLES).pathname],
    env: { PORT: port },
    cwd,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  try {
    let printed = "";
    for await (const part of process.stdout.pipeThrough(new TextDecoderStream())) {
      printed += part;
      if (printed.endsWith("\n")) break;
    }
    assert.equal(printed, `Ready at http://localhost:${port}/my_api\n`);
    assert.equal(await curl(line.replace("8888", port)), "11");
  } finally {
    process.kill("SIGKILL");
    await process.status;
    await Deno.remove(cwd, { recursive: true });
  }
});

Deno.test("examples/custom_plugins.yaml uses every plugin in examples/plugins/", async () => {
  const text = await Deno.readTextFile(new URL("custom_plugins.yaml", EXAMPLES));
  const { plugins } = parseConfig(text, "custom_plugins.yaml", { env: () => "x" });
  const files = Array.from(
    Deno.readDirSync(new URL("plugins/", EXAMPLES)),
    ({ name }) => `./plugins/${name}`,
  );
  assert.deepEqual(plugins.toSorted(), files.sort());
});

/** Waits for what a command has written, and fails when the command ends before. */
type Until = (condition: () => boolean, io?: TestIo) => Promise<void>;

/** Runs a config, stops it by a signal, and expects a good end. */
async function withExample(
  name: string,
  env: Readonly<Record<string, string>>,
  test: (io: TestIo, until: Until) => Promise<void>,
): Promise<void> {
  const io = new TestIo(env);
  const ended = runCli(["run", "--log-level", "warn", new URL(name, EXAMPLES).pathname], io);
  const early = ended.then((code) => {
    throw new Error(`${name} ended with ${code}: ${io.stderr}`);
  });
  early.catch(() => {});
  try {
    await test(io, async (condition, from = io) => {
      await Promise.race([from.until(condition), early]);
    });
  } finally {
    io.signal();
  }
  assert.equal(await ended, 0);
  assert.equal(io.stderr, "");
}

/** Whether all services of a config have been announced. */
function allReady(name: string, { stdout }: TestIo): boolean {
  const text = Deno.readTextFileSync(new URL(name, EXAMPLES));
  const { services } = parseConfig(text, name, { env: () => undefined });
  return services.every(({ draft }) => stdout.includes(`${draft.name} is ready at `));
}

function curlLines(text: string): string[] {
  return Array.from(text.matchAll(/^# +(curl .*)$/gm), ([, line]) => line!);
}

/** `curl [-d 'BODY'] URL`, by fetch, so that the test needs no curl. */
async function curl(line: string): Promise<Answer> {
  const [, body, url] = /^curl (?:-d '([^']*)' )?(\S+)$/.exec(line)!;
  const response = await fetch(url!, body === undefined ? {} : { method: "POST", body });
  const text = await response.text();
  return response.status === 200 ? text : [response.status, text];
}
