import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { DataStreamWriter } from "../engine/dataframe.ts";
import { type StreamingQuery, StreamingQueryException } from "../engine/query.ts";
import { Session } from "../engine/session.ts";
import type { Json } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { dropMemoryTable, memoryTable } from "../sinks/memory.ts";
import { dropMemoryStream, memoryStream } from "../sources/memory.ts";

let names = 0;

interface Given {
  readonly session: Session;
  readonly directory: string;
  /** Name of the stream, the table and the query. */
  readonly name: string;
  add(...numbers: number[]): void;
  /** The numbers in the table. */
  table(): number[];
}

/** Runs a test with a session, a stream and a directory of its own. */
async function withCheckpoint(test: (given: Given) => Promise<void>): Promise<void> {
  const session = new Session();
  const name = `checkpointed${names++}`;
  const directory = await Deno.makeTempDir();
  try {
    await test({
      session,
      directory,
      name,
      add: (...numbers) => memoryStream(name).addData(...numbers.map((n) => ({ n }))),
      table: () => memoryTable(name).rows().map(({ n }) => n as number),
    });
  } finally {
    await session.stop({ now: true });
    dropMemoryStream(name);
    dropMemoryTable(name);
    await Deno.remove(directory, { recursive: true });
  }
}

/** Starts a query over the stream, with a checkpoint. */
function start(
  { session, name, directory }: Given,
  writer: (writer: DataStreamWriter) => DataStreamWriter = (writer) =>
    writer.format("memory").option("name", name),
  options: Record<string, Json> = {},
): StreamingQuery {
  const frame = session.readStream.format("memory").option("schema", "n int").option("name", name)
    .options(options).load();
  return writer(frame.writeStream).queryName(name).option("checkpointLocation", directory).start();
}

async function failure(promise: Promise<unknown>): Promise<StreamingQueryException> {
  const error = await promise.then(() => undefined, (error) => error);
  assert(error instanceof StreamingQueryException, `${error}`);
  return error;
}

/** The names of a directory's files, with their digests. */
function contents(directory: string): Record<string, string> {
  return Object.fromEntries(
    [...Deno.readDirSync(directory)].map(({ name }) => [
      name,
      createHash("sha256").update(Deno.readFileSync(`${directory}/${name}`)).digest("hex"),
    ]),
  );
}

Deno.test("a restarted query keeps its id and goes on with numbers and rows", () =>
  withCheckpoint(async (given) => {
    const { add, table } = given;
    const ids = new Set<string>(), runIds = new Set<string>();
    let batchId = 0;
    for (let run = 0; run < 3; run++) {
      const query = start(given);
      await query.ready;
      ids.add(query.id);
      runIds.add(query.runId);
      for (let round = 0; round < 2; round++) {
        add(batchId);
        await query.processAllAvailable();
        assert.equal(query.lastProgress!.batchId, batchId);
        assert.deepEqual(query.lastProgress!.sources[0], {
          description: "memory",
          startOffset: batchId === 0 ? null : batchId,
          endOffset: batchId + 1,
          numInputRows: 1,
        });
        batchId++;
      }
      assert.equal(query.recentProgress.length, 2);
      await query.stop();
      assert.equal(query.exception, undefined);
    }
    assert.deepEqual([ids.size, runIds.size], [1, 3]);
    assert.deepEqual(table(), [0, 1, 2, 3, 4, 5]);
  }));

Deno.test("rows that came while the query was down are taken at the next start", () =>
  withCheckpoint(async (given) => {
    const { add, table } = given;
    for (const round of [0, 1, 2]) {
      add(round * 2, round * 2 + 1);
      const query = start(
        given,
        (writer) =>
          writer.format("memory").option("name", given.name).trigger({ availableNow: true }),
      );
      await query.awaitTermination();
      assert.deepEqual(query.recentProgress.map(({ batchId }) => batchId), [round]);
      assert.equal(table().length, round * 2 + 2);
    }
    const nothing = start(
      given,
      (writer) => writer.format("memory").option("name", given.name).trigger({ once: true }),
    );
    await nothing.awaitTermination();
    assert.deepEqual(nothing.recentProgress, []);
    assert.deepEqual(table(), [0, 1, 2, 3, 4, 5]);
  }));

Deno.test("rate counts on where its last commit stood", () =>
  withCheckpoint(async ({ session, directory, name }) => {
    for (let run = 0; run < 3; run++) {
      const query = session.readStream.format("rate").option("rowsPerSecond", 500).load()
        .writeStream.format("memory").option("name", name)
        .option("checkpointLocation", directory).start();
      const twoBatches = Promise.withResolvers<void>();
      const listener = {
        onQueryProgress: () => query.recentProgress.length >= 2 && twoBatches.resolve(),
      };
      session.streams.addListener(listener);
      await twoBatches.promise;
      session.streams.removeListener(listener);
      await query.stop({ now: run === 1 });
      assert.equal(query.exception, undefined);
    }
    const rows = memoryTable(name).rows() as { value: bigint; timestamp: number }[];
    assert.ok(rows.length >= 6);
    const first = rows[0]!.timestamp;
    for (const [at, { value, timestamp }] of rows.entries()) {
      assert.equal(value, BigInt(at));
      assert.equal(timestamp, first + at * 2);
    }
  }));

Deno.test("a batch that was logged and not committed is done again, the same rows under the same id", () =>
  withCheckpoint(async (given) => {
    const { add } = given;
    const calls: [number, number[]][] = [];
    const state = { calls, fails: false };
    Object.assign(globalThis, { checkpointSink: state });
    const module = `data:text/javascript,${
      encodeURIComponent(`export default (batch, batchId) => {
        const state = globalThis.checkpointSink;
        state.calls.push([batchId, [...batch.column("n")]]);
        if (state.fails) throw new Error("disk full");
      }`)
    }`;
    const foreachBatch = (writer: DataStreamWriter) => writer.foreachBatch(module);

    const first = start(given, foreachBatch);
    add(0);
    await first.processAllAvailable();
    state.fails = true;
    add(1, 2);
    assert.match((await failure(first.awaitTermination())).message, /disk full$/);
    const { id } = first;

    // Meanwhile more rows come; they do not join the batch. It fails again, and is done again.
    add(3);
    assert.match(
      (await failure(start(given, foreachBatch).awaitTermination())).message,
      /disk full/,
    );
    state.fails = false;
    const last = start(given, foreachBatch);
    await last.processAllAvailable();
    assert.equal(last.id, id);
    assert.deepEqual(calls, [[0, [0]], [1, [1, 2]], [1, [1, 2]], [1, [1, 2]], [2, [3]]]);
    assert.deepEqual(
      last.recentProgress.map(({ batchId, numInputRows }) => [batchId, numInputRows]),
      [
        [1, 2],
        [2, 1],
      ],
    );
    await last.stop();
  }));

Deno.test("a batch that stop({ now: true }) cut off is done again", () =>
  withCheckpoint(async (given) => {
    const { add } = given;
    const calls: [number, number[]][] = [];
    const entered = Promise.withResolvers<void>();
    Object.assign(globalThis, { cutSink: { calls, entered: entered.resolve } });
    const module = `data:text/javascript,${
      encodeURIComponent(`export default async (batch, batchId, { signal }) => {
        const { calls, entered } = globalThis.cutSink;
        calls.push([batchId, [...batch.column("n")]]);
        entered();
        if (calls.length > 1) return;
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        throw signal.reason;
      }`)
    }`;
    const query = start(given, (writer) => writer.foreachBatch(module));
    add(7);
    await entered.promise;
    await query.stop({ now: true });
    assert.equal(query.exception, undefined);
    const again = start(given, (writer) => writer.foreachBatch(module));
    await again.processAllAvailable();
    assert.deepEqual(calls, [[0, [7]], [0, [7]]]);
    await again.stop();
  }));

Deno.test("another plan's checkpoint is refused, and left as it was", () =>
  withCheckpoint(async (given) => {
    const { name, directory, add, table, session } = given;
    add(0);
    const first = start(given);
    await first.processAllAvailable();
    await first.stop();
    const before = contents(directory);
    const others: [what: string, query: () => StreamingQuery][] = [
      [
        "a source",
        () =>
          session.readStream.format("rate").load().writeStream.format("memory").option("name", name)
            .option("checkpointLocation", directory).queryName("another").start(),
      ],
      ["an option of the source", () => start(given, undefined, { rows: [{ n: 1 }] })],
      ["the sink", () => start(given, (writer) => writer.format("console"))],
      [
        "an option of the sink",
        () => start(given, (writer) => writer.format("memory").option("name", `${name}b`)),
      ],
      [
        "a transform",
        () =>
          session.readStream.format("memory").option("schema", "n int").option("name", name).load()
            .filter("n > 0").writeStream.format("memory").option("name", name)
            .option("checkpointLocation", directory).queryName(name).start(),
      ],
    ];
    for (const [what, query] of others) {
      const { message, cause } = await failure(query().awaitTermination());
      assert(cause instanceof PlanError, what);
      assert.equal(
        cause.message,
        `Cannot open checkpoint "${directory}": it belongs to another plan, of query "${name}"; use ` +
          "another directory, or remove this one to start anew",
        what,
      );
      assert.ok(message.endsWith(cause.message));
      assert.deepEqual(cause.path, ["checkpoint"]);
      assert.deepEqual(contents(directory), before, what);
    }
    add(1);
    const again = start(given);
    await again.processAllAvailable();
    assert.equal(again.id, first.id);
    assert.deepEqual(table(), [0, 1]);
    await again.stop();
  }));

Deno.test("what moves or limits the work may change between two runs", () =>
  withCheckpoint(async (given) => {
    const { name, add, table } = given;
    add(0);
    const first = start(given);
    await first.processAllAvailable();
    await first.stop();
    add(1);
    const again = start(
      given,
      (writer) => writer.format("memory").option("name", name).trigger({ once: true }),
      { partitions: 3, maxBatchSize: 1, maxQueueSize: 7 },
    );
    await again.awaitTermination();
    assert.equal(again.id, first.id);
    assert.deepEqual(table(), [0, 1]);
  }));

Deno.test("a checkpoint belongs to one query at a time", () =>
  withCheckpoint(async (given) => {
    const { session, name, directory, add, table } = given;
    const first = start(given);
    await first.ready;
    const { cause } = await failure(
      session.readStream.format("memory").option("schema", "n int").option("name", name).load()
        .writeStream.format("memory").option("name", name).queryName(`${name}b`)
        .option("checkpointLocation", directory).start().awaitTermination(),
    );
    assert.match(
      (cause as Error).message,
      /another query is using it; stop that one, or use another directory$/,
    );
    add(0);
    await first.processAllAvailable();
    assert.deepEqual(table(), [0]);
    await first.stop();
  }));

const SCRIPT = fileURLToPath(new URL("killed_query.ts", import.meta.url));
const ROWS = 400;
/** What the script says in a batch that is not the first after a start. */
const LINES_PER_BATCH = 6;

/** Runs the script; kills it after so many lines of its output. */
async function runScript(
  directory: string,
  killAfter: number,
): Promise<{ lines: string[]; code: number; signal: string | null }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", SCRIPT, directory, String(ROWS)],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  if (killAfter === Infinity) await writer.close();
  // So many batches and no more, however late it is killed.
  else await writer.write(new Uint8Array(Math.ceil(killAfter / LINES_PER_BATCH)));
  const lines: string[] = [];
  let rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const found = (rest + text).split("\n");
    rest = found.pop()!;
    lines.push(...found);
    if (lines.length >= killAfter) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
    }
  }
  const { code, signal } = await child.status;
  if (killAfter !== Infinity) await writer.abort().catch(() => {});
  return { lines, code, signal };
}

/** Numbers below a limit, the same for the same seed. */
function random(seed: number): (limit: number) => number {
  return (limit) => {
    // mulberry32
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) % limit;
  };
}

Deno.test("a query that is killed again and again ends with the rows of an undisturbed one", async () => {
  const seed = Number(Deno.env.get("SEED") ?? Date.now() % 1_000_000);
  const next = random(seed);
  const [calm, wild] = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  try {
    const undisturbed = await runScript(calm, Infinity);
    assert.deepEqual([undisturbed.code, undisturbed.lines.at(-1)], [0, "end"]);
    const wanted = await Deno.readTextFile(`${calm}/rows.csv`);
    assert.deepEqual(
      wanted.trimEnd().split("\n").map((line) => line.split(",").slice(1).map(Number)),
      Array.from({ length: ROWS }, (_, n) => [n, n * 2]),
    );

    let kills = 0;
    const ids = new Set<string>();
    const run = async (killAfter: number) => {
      const { lines, code, signal } = await runScript(wild, killAfter);
      for (const line of lines) if (line.startsWith("ready ")) ids.add(line.slice(6));
      if (signal === "SIGKILL") kills++;
      else assert.equal(code, 0);
      return lines.at(-1) === "end";
    };
    while (kills < 15) {
      assert.equal(await run(1 + next(25)), false, "it has more to do than is killed");
    }
    assert.equal(await run(Infinity), true);
    assert.equal(await Deno.readTextFile(`${wild}/rows.csv`), wanted);
    assert.equal(ids.size, 1, "it keeps its id");
  } catch (error) {
    throw new Error(`With SEED=${seed}: ${(error as Error).message}`, { cause: error });
  } finally {
    await Deno.remove(calm, { recursive: true });
    await Deno.remove(wild, { recursive: true });
  }
});
