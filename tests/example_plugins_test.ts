/**
 * The plugins in `examples/plugins/`: the promises of their kinds, and their use from outside the tree, as
 * somebody else's files are used.
 *
 * @module
 */
import assert from "node:assert/strict";
import { call } from "../cli/test_io.ts";
import { Batch, Schema } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import appendLines from "../examples/plugins/append_lines.ts";
import maskText from "../examples/plugins/mask_text.ts";
import ticker from "../examples/plugins/ticker.ts";
import type { SinkPlugin, SourcePlugin, TransformPlugin } from "../plugins/contract.ts";
import { conformSink } from "./conformance_sink.ts";
import { conformSource, type SourceCase } from "./conformance_source.ts";
import { conformTransform } from "./conformance_transform.ts";
import { pluginContext } from "./contexts.ts";
import { refusal, tryTransform } from "./try_transform.ts";

const EXAMPLES = new URL("../examples/", import.meta.url);

/** A case of `ticker`, under a clock that goes when it is told to. */
function tickerCase(title: string, options: { everyMs: number; count?: number }): SourceCase {
  const now = Date.now;
  let time = 1_700_000_000_050;
  return {
    title,
    options,
    before: () => void (Date.now = () => time),
    advance: () => void (time += 250),
    after: () => void (Date.now = now),
  };
}

Deno.test("the example source keeps the promises of its kind", async (t) => {
  await conformSource(t, ticker as SourcePlugin, [
    tickerCase("a slow one", { everyMs: 300 }),
    tickerCase("a fast one with an end", { everyMs: 10, count: 40 }),
  ]);
});

Deno.test("ticker ticks at full multiples, and takes no tick back when the clock is set back", async () => {
  const now = Date.now;
  let time = 10_500;
  Date.now = () => time;
  try {
    const source = await ticker.create({ everyMs: 1000, count: 3 }, pluginContext());
    assert.ok("getBatch" in source);
    assert.equal(await source.latestOffset(null), null);
    time = 12_000;
    const two = await source.latestOffset(null);
    assert.deepEqual((await source.getBatch(null, two)).rows(), [
      { n: 0, due: 11_000 },
      { n: 1, due: 12_000 },
    ]);
    time = 9_000;
    assert.equal(await source.latestOffset(two), two);
    assert.equal(source.ended!(), false);
    time = 60_000;
    assert.equal(source.ended!(), true);
    const all = await source.latestOffset(two);
    assert.deepEqual((await source.getBatch(two, all)).rows(), [{ n: 2, due: 13_000 }]);
  } finally {
    Date.now = now;
  }
});

const TEXTS = Batch.fromRows(parseSchema("id string, card string, name string, n int"), [
  { id: "a", card: "4000-1234", name: "Zoë 🌊", n: 1 },
  { id: "b", card: null, name: "", n: 2 },
]);

Deno.test("the example transform keeps the promises of its kind", async (t) => {
  await conformTransform(t, maskText as TransformPlugin, [
    { title: "one column", options: { columns: ["card"], keep: 4 }, input: TEXTS },
    { title: "two columns", options: { columns: ["name", "card"], mask: "xx" }, input: TEXTS },
  ]);
});

Deno.test("mask_text hides characters, not bytes, and leaves nulls alone", async () => {
  const { rows, metrics } = await tryTransform(
    maskText,
    { columns: ["card", "name"], keep: 1 },
    TEXTS,
  );
  assert.deepEqual(rows, [
    { id: "a", card: "********4", name: "****🌊", n: 1 },
    { id: "b", card: null, name: "", n: 2 },
  ]);
  assert.deepEqual(metrics, { maskedValues: 4 });
});

Deno.test("mask_text refuses columns that are no text", async () => {
  const plugin = maskText as TransformPlugin;
  const message = async (columns: string[]) => {
    try {
      return await refusal(plugin, { columns }, TEXTS.schema);
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(
    await message(["n"]),
    'Cannot mask column "n": it is not text; wanted a column of type string',
  );
  assert.equal(
    await message(["cart"]),
    'Cannot mask column "cart": there is no such column; wanted a column of type string',
  );
});

const ROWS = new Schema([
  { name: "n", type: "int64" },
  { name: "at", type: "timestamp" },
  { name: "bytes", type: "binary" },
]);

const BATCHES = [0, 1, 2].map((at) =>
  Batch.fromRows(ROWS, [
    { n: BigInt(at), at: 1000 * at, bytes: Uint8Array.of(at, 255) },
    { n: 2n ** 60n, at: null, bytes: null },
  ])
);

Deno.test("the example sink keeps the promises of its kind", async (t) => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/lines.jsonl`;
  const remove = () => Deno.remove(path).catch(() => {});
  try {
    await conformSink(t, appendLines as SinkPlugin, [{
      title: "a file",
      options: { path: "./lines.jsonl" },
      baseUrl: `file://${directory}/`,
      batches: BATCHES,
      before: remove,
      result: () => Deno.readTextFile(path).catch(() => "none"),
      after: remove,
    }]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("append_lines cuts off a line that was cut short, and refuses a file of something else", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/lines.jsonl`;
  const context = pluginContext({ baseUrl: `file://${directory}/` });
  const add = async (batchId: number) => {
    const sink = await appendLines.create({ path: "lines.jsonl" }, context);
    try {
      await sink.open!();
      await sink.addBatch(batchId, BATCHES[batchId]!);
    } finally {
      await sink.close!();
    }
  };
  try {
    await add(0);
    await add(1);
    const whole = await Deno.readTextFile(path);
    assert.equal(
      whole,
      '{"batch":0,"row":{"n":0,"at":"1970-01-01T00:00:00.000Z","bytes":"AP8="}}\n' +
        '{"batch":0,"row":{"n":"1152921504606846976","at":null,"bytes":null}}\n' +
        '{"batch":1,"row":{"n":1,"at":"1970-01-01T00:00:01.000Z","bytes":"Af8="}}\n' +
        '{"batch":1,"row":{"n":"1152921504606846976","at":null,"bytes":null}}\n',
    );
    for (const cut of [1, 40, whole.length - whole.indexOf('{"batch":1') - 1]) {
      await Deno.truncate(path, whole.length - cut);
      await add(1);
      assert.equal(await Deno.readTextFile(path), whole, `cut by ${cut}`);
    }
    await Deno.writeTextFile(path, "# Notes\n");
    await assert.rejects(add(2), {
      message: 'Cannot append to the file: it has a line "# Notes", ' +
        'wanted lines that begin with {"batch":',
    });
    assert.equal(await Deno.readTextFile(path), "# Notes\n");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("plugins outside the tree run in a query that is killed half-way, each row once", async () => {
  const directory = await copyOfExamples();
  const config = `${directory}/custom_plugins.yaml`;
  const lines = `${directory}/ticks.log`;
  const env = { LINES: "./ticks.log", CHECKPOINT: "./checkpoint" };
  try {
    const watcher = Deno.watchFs(directory);
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", new URL("../main.ts", import.meta.url).pathname, "run", config],
      env,
      stdout: "null",
      stderr: "null",
    }).spawn();
    for await (const { paths } of watcher) {
      if (!paths.some((path) => path.endsWith("ticks.log"))) continue;
      if ((await Deno.readTextFile(lines)).split("\n").length > 3) break;
    }
    process.kill("SIGKILL");
    assert.equal((await process.status).success, false);
    const before = await Deno.readTextFile(lines);

    assert.deepEqual(await call(["run", "--log-level", "warn", config], env), {
      code: 0,
      stdout: "",
      stderr: "",
    });
    const after = await Deno.readTextFile(lines);
    assert.ok(after.startsWith(before) && after.length > before.length, `${before}\n${after}`);
    const rows = after.trimEnd().split("\n").map((line) => JSON.parse(line).row);
    assert.deepEqual(
      rows.map(({ n, card }) => ({ n, card })),
      Array.from({ length: 10 }, (_, n) => ({
        n,
        card: `*****${String(n * 37).padStart(4, "0")}`,
      })),
    );
    const times = rows.map(({ due }) => Date.parse(due));
    assert.deepEqual(times, times.map((_, at) => times[0]! + 200 * at));
    assert.equal(times[0]! % 200, 0);

    // All is done, so there is nothing to do again.
    await call(["run", config], env);
    assert.equal(await Deno.readTextFile(lines), after);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("lint tells what is wrong with the use of a plugin outside the tree, and where", async () => {
  const directory = await copyOfExamples();
  const config = `${directory}/custom_plugins.yaml`;
  const lint = async (from: string, to: string) => {
    const text = await Deno.readTextFile(new URL("custom_plugins.yaml", EXAMPLES));
    assert.ok(text.includes(from), from);
    await Deno.writeTextFile(config, text.replace(from, to));
    const { code, stderr } = await call(["lint", config]);
    assert.equal(code, 2);
    return stderr.replaceAll(config, "c.yaml");
  };
  try {
    assert.match(
      await lint("everyMs: 200", "everyMs: soon"),
      /^c\.yaml:\d+:\d+: Cannot use "soon" for "everyMs": wanted number\n$/,
    );
    assert.match(
      await lint("columns: [card]", "columns: [n]"),
      /^c\.yaml:\d+:\d+: Cannot mask column "n": it is not text; wanted a column of type string\n$/,
    );
    assert.match(
      await lint("append_lines: {", "append_line: {"),
      /^c\.yaml:\d+:\d+: Unknown sink "append_line": did you mean "append_lines"\?/,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** A new directory with the plugins and the config that names them. */
async function copyOfExamples(): Promise<string> {
  const directory = await Deno.makeTempDir();
  await Deno.mkdir(`${directory}/plugins`);
  for (const { name } of Deno.readDirSync(new URL("plugins/", EXAMPLES))) {
    await Deno.copyFile(
      new URL(`plugins/${name}`, EXAMPLES),
      `${directory}/plugins/${name}`,
    );
  }
  await Deno.copyFile(
    new URL("custom_plugins.yaml", EXAMPLES),
    `${directory}/custom_plugins.yaml`,
  );
  return directory;
}
