import assert from "node:assert/strict";
import { freePort } from "../tests/free_port.ts";
import { runCli } from "./cli.ts";
import { announcement } from "./run.ts";
import { TestIo, withFiles } from "./test_io.ts";

const service = (name: string, { port = 0, newCol = "length(value)" } = {}) => `
  - name: ${name}
    source: { http: { host: 127.0.0.1, port: ${port}, name: ${name} } }
    transforms:
      - with_column: { newCol: "${newCol}" }
    sink: { http: { replyCol: newCol } }
`;
const services = (...texts: string[]) => `services:${texts.join("")}`;

/** The URLs of a service, as they have been announced so far. */
const urlsOf = ({ stdout }: TestIo, name: string) =>
  [...stdout.matchAll(new RegExp(`^${name} is ready at (.*)$`, "gm"))].map(([, url]) => url!);

async function ask(url: string): Promise<string> {
  const response = await fetch(url, {
    method: "POST",
    body: "hello world",
    headers: { connection: "close" },
  });
  return await response.text();
}

Deno.test("run starts all services, says where they are, and ends with 0 at a signal", async () => {
  const files = {
    "a.yaml": services(service("a"), service("b")),
    "c.yaml": services(service("c")),
  };
  await withFiles(files, async (path) => {
    const io = new TestIo();
    const ended = runCli(["run", path("a.yaml"), path("c.yaml")], io);
    await io.until(() => ["a", "b", "c"].every((name) => urlsOf(io, name).length === 1));
    for (const name of ["a", "b", "c"]) {
      const [url] = urlsOf(io, name);
      assert.ok(io.stdout.includes(`  curl -d 'hello world' ${url}\n`), io.stdout);
      assert.equal(await ask(url!), "11");
    }
    io.signal();
    assert.equal(await ended, 0);
    assert.equal(io.hasHandler, false);
    const levels = io.stderr.trimEnd().split("\n").map((line) => JSON.parse(line).level);
    assert.deepEqual([...new Set(levels)], ["INFO"]);
  });
});

Deno.test("run starts nothing when one file of many is bad", async () => {
  const port = freePort();
  const files = { "a.yaml": services(service("a", { port })), "b.yaml": "services: []\n" };
  await withFiles(files, async (path) => {
    const io = new TestIo();
    assert.equal(await runCli(["run", path("a.yaml"), path("b.yaml")], io), 2);
    assert.equal(io.stdout, "");
    assert.equal(
      io.stderr,
      `${
        path("b.yaml")
      }:1:11: Cannot use [] for "services": wanted a list of one service or more\n`,
    );
    assert.equal(io.hasHandler, false);
  });
});

Deno.test("run ends with 1 when a service cannot start, and stops the others", async () => {
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    const { port } = taken.addr;
    await withFiles({ "a.yaml": services(service("a"), service("b", { port })) }, async (path) => {
      const io = new TestIo();
      assert.equal(await runCli(["run", "--log-level", "error", path("a.yaml")], io), 1);
      assert.match(io.stderr, /Query \\"b\\" failed: .*\d/);
      assert.equal(urlsOf(io, "b").length, 0);
    });
  } finally {
    taken.close();
  }
});

Deno.test("run ends by itself when the sources have ended: 0, or 1 when a query failed", async () => {
  const bounded = (name: string, sink: string) => `
  - name: ${name}
    source: { memory: { schema: "n int", rows: [{ n: 1 }, { n: 2 }] } }
    sink: { foreach_batch: { module: ./sinks.js, export: ${sink} } }
    trigger: availableNow
`;
  const sinks = `
    export const good = () => {};
    export const bad = () => { const error = new Error("disk full"); error.name = "Permanent"; throw error; };
  `;
  const files = {
    "sinks.js": sinks,
    "good.yaml": services(bounded("a", "good"), bounded("b", "good")),
    "bad.yaml": services(bounded("a", "good"), bounded("b", "bad")),
  };
  await withFiles(files, async (path) => {
    const io = new TestIo();
    assert.equal(await runCli(["run", "--log-level", "warn", path("good.yaml")], io), 0);
    assert.deepEqual([io.stdout, io.stderr], ["", ""]);
    assert.equal(await runCli(["run", "--log-level", "error", path("bad.yaml")], io), 1);
    assert.match(io.stderr, /Query \\"b\\" failed: foreach_batch: disk full/);
  });
});

Deno.test("a first signal waits for what is being done, a second does not", async () => {
  // Nobody settles the module's promise: only the end of its worker ends it.
  const files = {
    "stuck.js": `export default (batch, { logger }) => {
      if (batch.numRows > 0) logger.info("The batch is here");
      return batch.numRows > 0 ? new Promise(() => {}) : batch;
    };
`,
    "a.yaml": `services:
  - name: a
    source: { http: { host: 127.0.0.1, port: 0, name: a } }
    transforms:
      - map_batches: { module: ./stuck.js, schema: "id string, reply string" }
    sink: http
`,
  };
  await withFiles(files, async (path) => {
    const io = new TestIo();
    const ended = runCli(["run", path("a.yaml")], io);
    await io.until(() => urlsOf(io, "a").length === 1);
    let isAnswered = false;
    const request = fetch(urlsOf(io, "a")[0]!).finally(() => isAnswered = true);
    await io.until(({ stderr }) => stderr.includes("The batch is here"));
    io.signal();
    await io.until(({ stderr }) => stderr.includes("a second signal stops at once"));
    assert.equal(isAnswered, false);
    io.signal();
    assert.equal(await ended, 0);
    const { status, body } = await request;
    assert.ok(status >= 500, String(status));
    await body?.cancel();
  });
});

Deno.test("run --watch restarts the services that have changed, and no others", async () => {
  const a = service("a");
  await withFiles({ "c.yaml": services(a, service("b")) }, async (path) => {
    const file = path("c.yaml");
    const io = new TestIo();
    const ended = runCli(["run", "--watch", file], io);
    await io.until(() => urlsOf(io, "a").length + urlsOf(io, "b").length === 2);
    await Deno.writeTextFile(
      file,
      services(a, service("b", { newCol: "upper(value)" }), service("c")),
    );
    await io.until(() => urlsOf(io, "b").length === 2 && urlsOf(io, "c").length === 1);
    assert.equal(urlsOf(io, "a").length, 1);
    assert.equal(await ask(urlsOf(io, "a")[0]!), "11");
    assert.equal(await ask(urlsOf(io, "b")[1]!), "HELLO WORLD");
    // An editor's way: another file takes the place.
    await Deno.writeTextFile(`${file}.new`, services(service("c")));
    await Deno.rename(`${file}.new`, file);
    await io.until(({ stderr }) => stderr.includes('Query \\"a\\" has stopped'));
    assert.equal(urlsOf(io, "c").length, 1);
    io.signal();
    assert.equal(await ended, 0);
  });
});

Deno.test("run --watch logs what is wrong with a changed file, and the old services go on", async () => {
  const good = services(service("a"));
  await withFiles({ "c.yaml": good }, async (path) => {
    const io = new TestIo();
    const ended = runCli(["run", "--watch", path("c.yaml")], io);
    await io.until(() => urlsOf(io, "a").length === 1);
    await Deno.writeTextFile(path("c.yaml"), good.replace("with_column", "with_colum"));
    await io.until(({ stderr }) => stderr.includes("Not reloaded, the services go on as they are"));
    assert.ok(io.stderr.includes('c.yaml:5:9: Unknown transform \\"with_colum\\"'), io.stderr);
    assert.equal(await ask(urlsOf(io, "a")[0]!), "11");
    // Right again, and changed: it comes into effect.
    await Deno.writeTextFile(path("c.yaml"), services(service("a", { newCol: "upper(value)" })));
    await io.until(() => urlsOf(io, "a").length === 2);
    assert.equal(await ask(urlsOf(io, "a")[1]!), "HELLO WORLD");
    io.signal();
    assert.equal(await ended, 0);
  });
});

Deno.test("run --watch loads a changed plugin anew", async () => {
  const plugin = (reply: string) =>
    `export default {
    kind: "transform",
    name: "answer",
    summary: "Answers always the same.",
    options: (v) => v.strictObject({}),
    outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
    create: () => ({
      transform: (batch) => batch.withColumn("reply", "string", Array(batch.numRows).fill("${reply}")),
    }),
  };\n`;
  const files = {
    "answer.js": plugin("one"),
    "c.yaml": `plugins: [./answer.js]
services:
  - name: a
    source: { http: { host: 127.0.0.1, port: 0, name: a } }
    transforms: [answer]
    sink: http
`,
  };
  await withFiles(files, async (path) => {
    const io = new TestIo();
    const ended = runCli(["run", "--watch", path("c.yaml")], io);
    await io.until(() => urlsOf(io, "a").length === 1);
    assert.equal(await ask(urlsOf(io, "a")[0]!), "one");
    await Deno.writeTextFile(path("answer.js"), plugin("another"));
    await io.until(() => urlsOf(io, "a").length === 2);
    assert.equal(await ask(urlsOf(io, "a")[1]!), "another");
    io.signal();
    assert.equal(await ended, 0);
  });
});

Deno.test("an announcement can be pasted into a shell, whatever the path", () => {
  assert.equal(
    announcement("a", { url: "http://localhost:8888/my_api" }),
    "a is ready at http://localhost:8888/my_api\n  curl -d 'hello world' http://localhost:8888/my_api\n",
  );
  assert.ok(
    announcement("a", { url: "http://localhost:1/a&b'c" })
      .endsWith("  curl -d 'hello world' 'http://localhost:1/a&b'\\''c'\n"),
  );
});

Deno.test("the program serves until SIGTERM and then ends with 0", async () => {
  await withFiles({ "a.yaml": services(service("a")) }, async (path) => {
    const main = new URL("../main.ts", import.meta.url).pathname;
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", main, "run", path("a.yaml")],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let stdout = "";
    while (!stdout.includes("curl")) {
      const { value, done } = await reader.read();
      if (done) break;
      stdout += value;
    }
    const url = /ready at (\S+)/.exec(stdout)?.[1];
    assert.ok(url !== undefined, stdout);
    assert.equal(await ask(url), "11");
    process.kill("SIGTERM");
    assert.equal((await process.status).code, 0);
    await reader.cancel();
  });
});
