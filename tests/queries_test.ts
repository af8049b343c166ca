import assert from "node:assert/strict";
import { Session } from "../engine/session.ts";
import { StreamingQuery, StreamingQueryException } from "../engine/query.ts";
import type { StreamingQueryProgress } from "../engine/progress.ts";
import { PlanError } from "../plugins/errors.ts";
import { dropMemoryTable, memoryTable } from "../sinks/memory.ts";
import { dropMemoryStream, memoryStream } from "../sources/memory.ts";

let names = 0;

/** A name that no other test uses. */
const fresh = (what: string) => `${what}${names++}`;

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, at) => ({ n: from + at }));

const moduleOf = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;

/** A frame over rows that a test adds. */
function streamOf(session: Session, name: string, partitions = 1) {
  return session.readStream.format("memory").option("schema", "n int").option("name", name)
    .option("partitions", partitions).load();
}

/** Runs a test with a session and a stream of its own, and cleans up after it. */
async function withStream(
  test: (given: {
    session: Session;
    /** Name of the stream and of the table. */
    name: string;
    add: (...numbers: number[]) => void;
    /** The numbers in the table. */
    table: () => number[];
  }) => Promise<void>,
): Promise<void> {
  const session = new Session();
  const name = fresh("stream");
  try {
    await test({
      session,
      name,
      add: (...numbers) => memoryStream(name).addData(...numbers.map((n) => ({ n }))),
      table: () => memoryTable(name).rows().map(({ n }) => n as number),
    });
  } finally {
    await session.stop({ now: true });
    dropMemoryStream(name);
    dropMemoryTable(name);
  }
}

/** The next progress of a query that fulfils a condition. */
function progressOf(
  session: Session,
  condition: (progress: StreamingQueryProgress) => boolean,
): Promise<StreamingQueryProgress> {
  return new Promise((resolve) => {
    const listener = {
      onQueryProgress: ({ progress }: { progress: StreamingQueryProgress }) => {
        if (!condition(progress)) return;
        session.streams.removeListener(listener);
        resolve(progress);
      },
    };
    session.streams.addListener(listener);
  });
}

async function failure(promise: Promise<unknown>): Promise<StreamingQueryException> {
  const error = await promise.then(() => undefined, (error) => error);
  assert(error instanceof StreamingQueryException, `${error}`);
  return error;
}

Deno.test("a bounded frame runs once: collect, count, save, show", async () => {
  const session = new Session();
  const frame = session.read.format("memory").option("schema", "n int, s string")
    .option("rows", [{ n: 1, s: "a" }, { n: 2 }]).load();
  assert.equal(frame.isStreaming, false);
  assert.deepEqual(await frame.collect(), [{ n: 1, s: "a" }, { n: 2, s: null }]);
  assert.equal(await frame.count(), 2);

  const name = fresh("table");
  await frame.write.format("memory").option("name", name).save();
  assert.equal(memoryTable(name).numRows, 2);
  dropMemoryTable(name);

  const log = console.log;
  const lines: string[] = [];
  console.log = (line: string) => void lines.push(line);
  try {
    await frame.show(1);
  } finally {
    console.log = log;
  }
  assert.deepEqual(lines.join("\n").split("\n"), [
    "+---+---+",
    "| n | s |",
    "+---+---+",
    "| 1 | a |",
    "+---+---+",
    "and 1 more",
  ]);
  assert.deepEqual(session.streams.active, []);
});

Deno.test("a frame without rows gives none", async () => {
  const frame = new Session().read.format("memory").option("schema", "n int").load();
  assert.deepEqual(await frame.collect(), []);
});

Deno.test("rows keep their order over partitions and batch sizes", async () => {
  for (const [partitions, maxBatchSize] of [[1, 1000], [3, 1000], [2, 7], [4, 1]] as const) {
    const rows = await new Session().read.format("memory").option("schema", "n int")
      .option("rows", numbers(50)).options({ partitions, maxBatchSize }).load().collect();
    assert.deepEqual(rows, numbers(50), `${partitions} ${maxBatchSize}`);
  }
});

Deno.test("a bounded frame and a stream are not taken for each other", async () => {
  const session = new Session();
  const reader = () => session.read.format("memory").option("schema", "n int");
  assert.throws(
    () => reader().load().writeStream.format("memory").start(),
    /^TypeError: Cannot start a bounded frame: use write\.\.\.save\(\), or session\.readStream$/,
  );
  await assert.rejects(
    () => session.readStream.format("rate").load().write.format("memory").save(),
    /^TypeError: Cannot save a stream: use writeStream\.\.\.start\(\), or session\.read$/,
  );
  assert.throws(() => session.read.load(), /^TypeError: Cannot load: no format is set; call/);
  assert.throws(
    () => session.readStream.format("rate").load().writeStream.start(),
    /^TypeError: Cannot start: no format is set; call/,
  );
  assert.throws(
    () => session.readStream.format("rate").load().writeStream.outputMode("complete" as "append"),
    /^TypeError: Cannot use output mode "complete": append is allowed$/,
  );
  assert.deepEqual(session.streams.active, []);
});

Deno.test("processAllAvailable() waits for all that was added before, again and again", () =>
  withStream(async ({ session, name, add, table }) => {
    const query = streamOf(session, name, 2).writeStream.format("memory").queryName(name).start();
    await query.processAllAvailable();
    assert.deepEqual(table(), []);
    for (let round = 0; round < 20; round++) {
      add(round * 2, round * 2 + 1);
      await query.processAllAvailable();
      assert.deepEqual(table(), numbers(round * 2 + 2).map(({ n }) => n));
    }
    // While a batch is under way.
    add(40);
    const first = query.processAllAvailable();
    add(41);
    await Promise.all([first, query.processAllAvailable()]);
    assert.deepEqual(table(), numbers(42).map(({ n }) => n));
    await query.stop();
    await query.processAllAvailable();
  }));

Deno.test("rate to memory: every number once, and as many as the progress says", async () => {
  const session = new Session();
  const name = fresh("rate");
  const query = session.readStream.format("rate").option("rowsPerSecond", 1000).load()
    .writeStream.format("memory").queryName(name).start();
  await progressOf(session, ({ batchId, numInputRows }) => batchId >= 2 && numInputRows > 0);
  // Rows keep coming, and still it ends.
  await query.processAllAvailable();
  await query.stop();
  const values = memoryTable(name).rows().map(({ value }) => Number(value));
  assert.deepEqual(values, numbers(values.length).map(({ n }) => n));
  const told = query.recentProgress.reduce((sum, { numInputRows }) => sum + numInputRows, 0);
  assert.equal(told, values.length);
  dropMemoryTable(name);
});

Deno.test("availableNow and once take what there is, and end", () =>
  withStream(async ({ session, name, add, table }) => {
    add(0, 1, 2);
    const wanted: number[] = [];
    for (const trigger of [{ availableNow: true }, { once: true }] as const) {
      const query = streamOf(session, name).writeStream.format("memory").queryName(name)
        .trigger(trigger).start();
      assert.equal(await query.awaitTermination(), true);
      assert.equal(query.exception, undefined);
      assert.deepEqual(table(), [...wanted, 0, 1, 2]);
      memoryTable(name).clear();
      assert.equal(session.streams.get(name), undefined);
    }
  }));

Deno.test("processingTime starts a batch at its pace, and at once when somebody waits for it", () =>
  withStream(async ({ session, name, add, table }) => {
    add(0);
    const slow = streamOf(session, name).writeStream.format("memory").queryName(name)
      .trigger({ processingTime: "1 hour" }).start();
    await progressOf(session, () => true);
    assert.deepEqual(table(), [0]);
    add(1);
    await slow.processAllAvailable();
    assert.deepEqual(table(), [0, 1]);
    await slow.stop();
    memoryTable(name).clear();

    const quick = streamOf(session, name).writeStream.format("memory").queryName(name)
      .trigger({ processingTime: 100 }).start();
    const started: number[] = [];
    for (let round = 2; round < 5; round++) {
      const next = progressOf(session, ({ runId }) => runId === quick.runId);
      add(round);
      started.push(Date.parse((await next).timestamp));
    }
    await quick.stop();
    assert.deepEqual(table(), [0, 1, 2, 3, 4]);
    for (const [at, time] of started.entries()) {
      if (at > 0) assert.ok(time - started[at - 1]! >= 50, `${started}`);
    }
  }));

Deno.test("a query ends by itself when its source does", () =>
  withStream(async ({ session, name, add, table }) => {
    const query = streamOf(session, name).writeStream.format("memory").queryName(name).start();
    await query.ready;
    add(1, 2);
    memoryStream(name).end();
    assert.equal(await query.awaitTermination(), true);
    assert.deepEqual(table(), [1, 2]);
    assert.deepEqual([query.isActive, query.status.message], [false, "Stopped"]);
  }));

Deno.test("the surface of a query: id, runId, name, isActive, status, progress, exception", () =>
  withStream(async ({ session, name, add }) => {
    const uuid = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;
    const query = streamOf(session, name).writeStream.format("memory").queryName(name).start();
    assert(query instanceof StreamingQuery);
    assert.equal(query.name, name);
    assert.match(query.id, uuid);
    assert.match(query.runId, uuid);
    assert.notEqual(query.id, query.runId);
    assert.equal(query.isActive, true);
    assert.equal(query.status.message, "Initializing");
    assert.equal(query.exception, undefined);
    assert.equal(query.lastProgress, undefined);
    assert.deepEqual(query.recentProgress, []);
    assert.deepEqual(query.services(), []);

    await query.ready;
    assert.deepEqual(query.status, {
      message: "Waiting for data to arrive",
      isDataAvailable: false,
      isTriggerActive: true,
      workerRestarts: 0,
    });
    assert.equal(await query.awaitTermination(1), false);

    add(1, 2, 3);
    await query.processAllAvailable();
    add(4);
    await query.processAllAvailable();
    assert.deepEqual(query.recentProgress.map(({ batchId }) => batchId), [0, 1]);
    assert.deepEqual(query.lastProgress, query.recentProgress[1]);

    await query.stop();
    await query.stop();
    assert.equal(await query.awaitTermination(), true);
    assert.equal(await query.awaitTermination(1), true);
    assert.deepEqual([query.isActive, query.status.message, query.exception], [
      false,
      "Stopped",
      undefined,
    ]);
    assert.equal(query.lastProgress!.batchId, 1);
  }));

Deno.test("progress has Spark's fields", () =>
  withStream(async ({ session, name, add }) => {
    const query = streamOf(session, name, 2).writeStream.format("memory").queryName(name).start();
    add(1, 2, 3);
    await query.processAllAvailable();
    const { batchDuration, inputRowsPerSecond, processedRowsPerSecond, durationMs, ...rest } = query
      .lastProgress!;
    assert.deepEqual(rest, {
      id: query.id,
      runId: query.runId,
      name,
      timestamp: new Date(rest.timestamp).toISOString(),
      batchId: 0,
      numInputRows: 3,
      queueLength: 0,
      partitions: [{ partition: 0, numBatches: 1 }, { partition: 1, numBatches: 1 }],
      observedMetrics: {},
      sources: [{ description: "memory", startOffset: null, endOffset: 3, numInputRows: 3 }],
      sink: { description: "memory", numOutputRows: 3 },
    });
    assert.ok(batchDuration > 0 && processedRowsPerSecond > 0);
    assert.equal(inputRowsPerSecond, 0);
    assert.deepEqual(Object.keys(durationMs).sort(), [
      "addBatch",
      "commitOffsets",
      "getBatch",
      "latestOffset",
      "sink",
      "transforms",
      "triggerExecution",
      "walCommit",
    ]);
    for (const [key, ms] of Object.entries(durationMs)) {
      assert.ok(ms >= 0 && (key === "transforms" || ms <= durationMs.triggerExecution!), key);
    }
    assert.ok(Math.abs(Date.now() - Date.parse(rest.timestamp)) < 60_000);
    JSON.stringify(query.lastProgress);
  }));

Deno.test("several queries run at once, and are stopped on their own", async () => {
  const session = new Session();
  const queries = [0, 1, 2].map(() => {
    const name = fresh("several");
    return streamOf(session, name).writeStream.format("memory").queryName(name).start();
  });
  assert.deepEqual(session.streams.active, queries);
  await Promise.all(queries.map(({ ready }) => ready));
  const feed = async (n: number, running: readonly StreamingQuery[]) => {
    for (const { name } of queries) memoryStream(name).addData({ n });
    await Promise.all(running.map((query) => query.processAllAvailable()));
  };
  await feed(0, queries);
  await queries[1]!.stop();
  assert.deepEqual(session.streams.active, [queries[0], queries[2]]);
  await feed(1, [queries[0]!, queries[2]!]);
  await session.stop();
  assert.deepEqual(session.streams.active, []);
  const tables = queries.map(({ name }) => memoryTable(name).rows().map(({ n }) => n));
  assert.deepEqual(tables, [[0, 1], [0], [0, 1]]);
  for (const { name } of queries) {
    dropMemoryStream(name);
    dropMemoryTable(name);
  }
});

Deno.test("streams: active, get, awaitAnyTermination, resetTerminated", () =>
  withStream(async ({ session, name }) => {
    const { streams } = session;
    assert.equal(await streams.awaitAnyTermination(1), false);
    const [one, other] = ["a", "b"].map((suffix) =>
      streamOf(session, name).writeStream.format("memory").queryName(name + suffix).start()
    ) as [StreamingQuery, StreamingQuery];
    await one.ready;
    assert.equal(streams.get(one.id), one);
    assert.equal(streams.get(`${name}b`), other);
    assert.equal(streams.get("nobody"), undefined);
    assert.throws(
      () => streamOf(session, name).writeStream.format("memory").queryName(`${name}a`).start(),
      new RegExp(
        `^Error: Cannot start query "${name}a": one of this name is active; stop it or use another name$`,
      ),
    );

    const any = streams.awaitAnyTermination();
    await one.stop();
    assert.equal(await any, true);
    assert.equal(await streams.awaitAnyTermination(), true);
    assert.equal(streams.get(`${name}a`), undefined);
    streams.resetTerminated();
    assert.equal(await streams.awaitAnyTermination(1), false);
    await other.stop();
    assert.equal(await streams.awaitAnyTermination(1), true);
    // The name is free again.
    await streamOf(session, name).writeStream.format("memory").queryName(`${name}a`).start().ready;
  }));

Deno.test("listeners hear of start, progress and end, until they are removed", () =>
  withStream(async ({ session, name, add }) => {
    const heard: string[] = [];
    const listener = {
      onQueryStarted: ({ id, runId, name, timestamp }: Record<string, string>) =>
        heard.push(`started ${id} ${runId} ${name} ${Number.isFinite(Date.parse(timestamp!))}`),
      onQueryProgress: ({ progress }: { progress: StreamingQueryProgress }) =>
        heard.push(`progress ${progress.id} ${progress.batchId}`),
      onQueryTerminated: (
        { id, runId, exception }: { id: string; runId: string; exception?: Error },
      ) => heard.push(`terminated ${id} ${runId} ${exception?.message}`),
    };
    // One that throws, and one that listens to nothing.
    session.streams.addListener({
      onQueryStarted: () => assert.fail("started"),
      onQueryProgress: () => assert.fail("progress"),
      onQueryTerminated: () => assert.fail("terminated"),
    });
    session.streams.addListener({});
    session.streams.addListener(listener);
    const query = streamOf(session, name).writeStream.format("memory").queryName(name).start();
    add(1);
    await query.processAllAvailable();
    await query.stop();
    const { id, runId } = query;
    assert.equal(query.exception, undefined);
    assert.deepEqual(heard, [
      `started ${id} ${runId} ${name} true`,
      `progress ${id} 0`,
      `terminated ${id} ${runId} undefined`,
    ]);

    session.streams.removeListener(listener);
    const again = streamOf(session, name).writeStream.format("memory").queryName(name).start();
    await again.ready;
    await again.stop();
    assert.equal(heard.length, 3);
  }));

Deno.test("a sink that throws ends its query with an error, and no other", () =>
  withStream(async ({ session, name, add, table }) => {
    const terminated: (Error | undefined)[] = [];
    session.streams.addListener({
      onQueryTerminated: ({ exception }) => void terminated.push(exception),
    });
    const healthy = streamOf(session, name).writeStream.format("memory").queryName(name).start();
    const sick = streamOf(session, name).writeStream.foreachBatch(
      moduleOf(`export default (batch) => {
        if (batch.column("n").includes(3)) throw new RangeError("three is too many");
      }`),
    ).queryName(`${name}sick`).start();
    await Promise.all([healthy.ready, sick.ready]);
    add(1, 2);
    await Promise.all([healthy.processAllAvailable(), sick.processAllAvailable()]);
    const end = failure(sick.awaitTermination());
    const any = failure(session.streams.awaitAnyTermination());
    add(3);
    const error = await end;
    assert.equal(
      error.message,
      `Query "${name}sick" failed: foreach_batch: three is too many`,
    );
    assert.equal(error.queryName, `${name}sick`);
    assert.equal((error.cause as Error).name, "RangeError");
    assert.equal(await any, error);
    assert.equal(sick.exception, error);
    assert.equal(sick.isActive, false);
    assert.equal(sick.status.message, `Terminated: ${error.message}`);
    assert.equal(await failure(sick.processAllAvailable()), error);
    await sick.stop();
    assert.deepEqual(terminated, [error]);

    await healthy.processAllAvailable();
    assert.equal(healthy.isActive, true);
    assert.deepEqual(table(), [1, 2, 3]);
  }));

const SOURCE = (body: string) =>
  moduleOf(`export default {
    kind: "source", name: "mine", summary: "For tests.", options: (v) => v.unknown(),
    outputSchema: (_, { Schema }) => new Schema([{ name: "id", type: "string" }]),
    create: (_, context) => ({
      getBatch: (start, end) => context.Batch.fromRows(
        new context.Schema([{ name: "id", type: "string" }]),
        Array.from({ length: end - (start ?? 0) }, (_, at) => ({ id: "r" + ((start ?? 0) + at) })),
      ),
      commit() {}, close() {}, latestOffset: () => 3, ended: () => true, ${body}
    }),
  }`);

Deno.test("a source that fails ends its query, naming it; one that asks for patience does not", async () => {
  const session = new Session();
  const cases: [body: string, message: string | undefined][] = [
    ['latestOffset: () => { throw new Error("no disk"); }', "mine: no disk"],
    ['getBatch: () => { throw new Error("no rows"); }', "mine: no rows"],
    ['commit: async () => { throw "text"; }', "mine: text"],
    [
      'ended: () => false, waitForMore: async () => { throw new Error("gone"); }',
      "mine: gone",
    ],
    [
      `latestOffset: function() {
        if (this.asked) return 3;
        this.asked = true;
        throw Object.assign(new Error("wait"), { name: "RetryAfter", milliseconds: 1 });
      }`,
      undefined,
    ],
    [
      `latestOffset: (start) => {
        if (start === null) return 3;
        throw Object.assign(new Error("over"), { name: "EndOfInput" });
      }, ended: undefined`,
      undefined,
    ],
    [
      `ended: () => false, waitForMore: async () => {
        throw Object.assign(new Error("over"), { name: "EndOfInput" });
      }`,
      undefined,
    ],
  ];
  for (const [body, message] of cases) {
    const name = fresh("source");
    const query = session.readStream.format("mine").plugin(SOURCE(body)).load()
      .writeStream.format("memory").queryName(name).start();
    if (message === undefined) {
      assert.equal(await query.awaitTermination(), true, body);
      assert.equal(memoryTable(name).numRows, 3, body);
    } else {
      const error = await failure(query.awaitTermination());
      assert.equal(error.message, `Query "${name}" failed: ${message}`);
    }
    dropMemoryTable(name);
  }
});

Deno.test("counts of a source on the head are in the progress of the batch", async () => {
  const session = new Session();
  const name = fresh("metrics");
  const query = session.readStream.format("mine").plugin(
    SOURCE(
      'commit: () => { context.metrics.add("commits", 2); context.metrics.add("commits", 1); }',
    ),
  ).load().writeStream.format("memory").queryName(name).start();
  await query.awaitTermination();
  assert.deepEqual(query.lastProgress!.observedMetrics, { commits: 3 });
  dropMemoryTable(name);
});

Deno.test("a row that a transform fails on is not lost in silence, with ids or without", async () => {
  const session = new Session();
  const transform = moduleOf(`export default {
    kind: "transform", name: "picky", summary: "For tests.", options: (v) => v.unknown(),
    outputSchema: (_, input) => input,
    create: () => ({ transform: (batch) => {
      if (batch.rows().some((row) => row.id === "b" || row.n === 2)) throw new Error("no such row");
      return batch;
    } }),
  }`);
  for (
    const [schema, rows] of [
      ["id string", [{ id: "a" }, { id: "b" }]],
      ["n int", [{ n: 1 }, { n: 2 }]],
    ] as const
  ) {
    const error = await failure(
      session.read.format("memory").option("schema", schema).option("rows", [...rows])
        .plugin(transform).load().use("picky").collect(),
    );
    assert.match(error.message, /^Query "batch-.*" failed: picky: no such row$/);
  }
});

Deno.test("what is wrong with a plan comes out at ready and at the end, with its path", async () => {
  const session = new Session();
  const name = fresh("wrong");
  const start = () =>
    session.readStream.format("rate").option("rowsPerSecond", 0).load()
      .writeStream.format("memory").queryName(name).start();
  const query = start();
  const [ready, end] = await Promise.all([
    failure(query.ready),
    failure(query.awaitTermination()),
  ]);
  assert.equal(ready, end);
  assert.equal(query.exception, end);
  assert.equal(
    end.message,
    `Query "${name}" failed: Cannot use 0 for "rowsPerSecond": wanted at least 0.001`,
  );
  assert(end.cause instanceof PlanError);
  assert.deepEqual(end.cause.path, ["source", "rate", "rowsPerSecond"]);
  assert.equal(await failure(query.processAllAvailable()), end);
  await query.stop();
  assert.equal(session.streams.get(name), undefined);

  session.streams.resetTerminated();
  start();
  assert.equal((await failure(session.streams.awaitAnyTermination())).queryName, name);
});

Deno.test("a plugin that cannot be created ends the query, and what was created is closed", async () => {
  const session = new Session();
  const closed: string[] = [];
  (globalThis as { closedSinks?: string[] }).closedSinks = closed;
  const sink = moduleOf(`export default {
    kind: "sink", name: "closing", summary: "For tests.", options: (v) => v.unknown(),
    create: () => ({ addBatch() {}, close() { globalThis.closedSinks.push("closed"); } }),
  }`);
  const source = moduleOf(`export default {
    kind: "source", name: "broken", summary: "For tests.", options: (v) => v.unknown(),
    outputSchema: (_, { Schema }) => new Schema([]),
    create: () => { throw new Error("no such device"); },
  }`);
  const query = session.readStream.format("broken").plugin(source).plugin(sink).load()
    .writeStream.format("closing").start();
  const error = await failure(query.awaitTermination());
  assert.match(error.message, /failed: no such device$/);
  assert.deepEqual(closed, ["closed"]);

  const absent = streamOf(session, fresh("absent")).writeStream.foreachBatch(
    moduleOf("export const saveAll = () => {};"),
    "saveAl",
  ).start();
  const { cause } = await failure(absent.awaitTermination());
  assert(cause instanceof PlanError);
  assert.match(cause.message, /it exports no such function; did you mean "saveAll"\?/);
  assert.deepEqual(cause.path, ["sink", "foreach_batch"]);
});

Deno.test("stop() while the query starts waits until all is freed", () =>
  withStream(async ({ session, name, table, add }) => {
    add(1);
    const query = streamOf(session, name).writeStream.format("memory").queryName(name).start();
    await query.stop();
    assert.equal(query.isActive, false);
    await query.ready;
    assert.ok(table().length <= 1);

    const cut = streamOf(session, name).writeStream.format("memory").queryName(name).start();
    await cut.stop({ now: true });
    assert.deepEqual([cut.isActive, cut.exception], [false, undefined]);
    assert.equal(await cut.awaitTermination(), true);
    await cut.processAllAvailable();
  }));

Deno.test("stop() lets the batch at hand end; with now, it is cut off", () =>
  withStream(async ({ session, name, add }) => {
    const gates: { entered: () => void; open: Promise<void> }[] = [];
    const events: string[] = [];
    Object.assign(globalThis, { gates, gateEvents: events });
    const module = moduleOf(`export default async (batch, batchId, { signal }) => {
      const { entered, open } = globalThis.gates.shift();
      entered();
      await Promise.race([open, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
      globalThis.gateEvents.push(signal.aborted ? "cut off" : "done");
    }`);
    for (const now of [false, true]) {
      const entered = Promise.withResolvers<void>(), open = Promise.withResolvers<void>();
      gates.push({ entered: entered.resolve, open: open.promise });
      const query = streamOf(session, name).writeStream.foreachBatch(module).queryName(name)
        .start();
      add(1);
      await entered.promise;
      const stopped = query.stop({ now });
      assert.equal(query.status.message, "Stopping");
      if (!now) open.resolve();
      await stopped;
      assert.equal(query.exception, undefined);
    }
    assert.deepEqual(events, ["done", "cut off"]);
  }));

Deno.test("a failure of the batch at hand is told, also while the query stops", () =>
  withStream(async ({ session, name, add }) => {
    const entered = Promise.withResolvers<void>(), open = Promise.withResolvers<void>();
    Object.assign(globalThis, { lastGate: { entered: entered.resolve, open: open.promise } });
    const query = streamOf(session, name).writeStream.foreachBatch(
      moduleOf(`export default async () => {
      globalThis.lastGate.entered();
      await globalThis.lastGate.open;
      throw new Error("disk full");
    }`),
    ).queryName(name).start();
    add(1);
    await entered.promise;
    const stopped = query.stop();
    open.resolve();
    await stopped;
    assert.equal(query.exception?.message, `Query "${name}" failed: foreach_batch: disk full`);
  }));
