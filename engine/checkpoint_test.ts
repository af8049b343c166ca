import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { PlanError } from "../plugins/errors.ts";
import { Checkpoint, fingerprint } from "./checkpoint.ts";
import { DEFAULT_BATCHING, type Plan } from "./plan.ts";

const OWNER = { fingerprint: "f1", name: "counts" };

const PLAN: Plan = {
  version: 1,
  name: "counts",
  source: { name: "http", options: { host: "localhost", port: 8888, name: "api" } },
  transforms: [{ name: "with_column", options: { n: "length(value)" } }],
  sink: { name: "http", options: { replyCol: "n" } },
  partitions: 2,
  trigger: { continuous: true },
  batching: DEFAULT_BATCHING,
  plugins: [],
  baseUrl: "file:///a/",
};

async function inDirectory(work: (directory: string) => void | Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    await work(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Leaves a checkpoint of three batches, the last not committed. */
function fill(directory: string): string {
  const checkpoint = Checkpoint.open(directory, OWNER);
  for (const batchId of [0, 1, 2]) {
    checkpoint.logOffsets(batchId, batchId === 0 ? null : batchId * 10, (batchId + 1) * 10);
    if (batchId < 2) checkpoint.commit(batchId);
  }
  checkpoint.close();
  return checkpoint.queryId;
}

function refuses(directory: string, message: RegExp): void {
  assert.throws(() => Checkpoint.open(directory, OWNER), (error) => {
    assert(error instanceof PlanError);
    assert.match(error.message, message);
    assert(error.message.startsWith(`Cannot open checkpoint "${directory}": `));
    assert.deepEqual(error.path, ["checkpoint"]);
    return true;
  });
}

function change(directory: string, sql: string): void {
  const db = new DatabaseSync(`${directory}/checkpoint.db`);
  db.exec(sql);
  db.close();
}

Deno.test("Checkpoint goes on where it stood", () =>
  inDirectory((directory) => {
    const id = fill(`${directory}/deeper/still`);
    const again = Checkpoint.open(pathToFileURL(`${directory}/deeper/still`), OWNER);
    assert.equal(again.queryId, id);
    assert.deepEqual(again.latest(), { batchId: 2, start: 20, end: 30, committed: false });
    again.commit(2);
    assert.equal(again.latest()?.committed, true);
    again.logOffsets(3, 30, { files: ["a"], "ü": null });
    again.close();
    again.close();
    const last = Checkpoint.open(`${directory}/deeper/still`, OWNER);
    assert.deepEqual(last.latest(), {
      batchId: 3,
      start: 30,
      end: { files: ["a"], "ü": null },
      committed: false,
    });
    last.close();
  }));

Deno.test("Checkpoint refuses batches out of order", () =>
  inDirectory((directory) => {
    const checkpoint = Checkpoint.open(directory, OWNER);
    assert.equal(checkpoint.latest(), undefined);
    assert.throws(() => checkpoint.commit(0), /Cannot commit batch 0: no batch is logged/);
    assert.throws(() => checkpoint.logOffsets(1, null, 1), /offsets of batch 1: wanted 0 next/);
    checkpoint.logOffsets(0, null, 1);
    assert.throws(() => checkpoint.logOffsets(1, 1, 2), /batch 1: wanted a commit of batch 0/);
    assert.throws(() => checkpoint.commit(1), /Cannot commit batch 1: the newest is 0/);
    checkpoint.commit(0);
    assert.throws(() => checkpoint.commit(0), /the newest is 0, committed already/);
    checkpoint.close();
  }));

Deno.test("Checkpoint never hands out a reserved batch id twice", () =>
  inDirectory((directory) => {
    const first = Checkpoint.open(directory, OWNER);
    assert.deepEqual([first.reserve(100), first.reserve(1)], [0, 100]);
    first.close();
    const second = Checkpoint.open(directory, OWNER);
    assert.equal(second.reserve(100), 101);
    second.close();
  }));

Deno.test("Checkpoint keeps the states of the newest two batches", () =>
  inDirectory((directory) => {
    const bytes = Uint8Array.of(0, 255, 1);
    const states = (n: number) => [
      { partition: 0, operator: 1, state: { n, text: "ü" } },
      { partition: 1, operator: 1, state: bytes },
      { partition: 0, operator: 2, state: "text" },
    ];
    const checkpoint = Checkpoint.open(directory, OWNER);
    for (const batchId of [0, 1, 2]) checkpoint.saveState(batchId, states(batchId));
    checkpoint.close();
    const again = Checkpoint.open(directory, OWNER);
    assert.deepEqual(again.loadState(0), []);
    assert.deepEqual(again.loadState(1), states(1));
    assert.deepEqual(again.loadState(2), states(2));
    again.saveState(2, [{ partition: 0, operator: 1, state: 7 }]);
    assert.equal(again.loadState(2)[0]!.state, 7);
    assert.throws(() =>
      again.saveState(3, [
        { partition: 0, operator: 1, state: 1 },
        { partition: null as unknown as number, operator: 1, state: 1 },
      ])
    );
    assert.deepEqual(again.loadState(3), [], "all or none");
    again.close();
  }));

Deno.test("Checkpoint.prune() keeps the newest batches", () =>
  inDirectory((directory) => {
    const checkpoint = Checkpoint.open(directory, OWNER);
    checkpoint.prune(1);
    for (let batchId = 0; batchId < 25; batchId++) {
      checkpoint.logOffsets(batchId, batchId, batchId + 1);
      checkpoint.commit(batchId);
      checkpoint.prune(5);
    }
    checkpoint.close();
    const db = new DatabaseSync(`${directory}/checkpoint.db`, { readOnly: true });
    for (const table of ["offsets", "commits"]) {
      const { rows, newest } = db.prepare(
        `SELECT count(*) AS rows, max(batch_id) AS newest FROM ${table}`,
      ).get() as { rows: number; newest: number };
      assert(rows >= 5 && rows <= 10, `${rows} rows in ${table}`);
      assert.equal(newest, 24);
    }
    db.close();
  }));

Deno.test("Checkpoint.open() refuses what is not its own, and leaves it as it was", async (t) => {
  const cases: Record<string, { spoil(file: string, directory: string): void; says: RegExp }> = {
    "another plan": {
      spoil: (_, directory) =>
        change(directory, "UPDATE meta SET value = 'f2' WHERE key = 'fingerprint'"),
      says: /it belongs to another plan, of query "counts"; use another directory/,
    },
    "a newer format": {
      spoil: (_, directory) => change(directory, "UPDATE meta SET value = 2 WHERE key = 'format'"),
      says: /it has format 2 and this version of Millrace reads formats up to 1/,
    },
    "a format that is no number": {
      spoil: (_, directory) =>
        change(directory, "UPDATE meta SET value = 'x' WHERE key = 'format'"),
      says: /it is broken \(it has no format version\)/,
    },
    "no id": {
      spoil: (_, directory) => change(directory, "DELETE FROM meta WHERE key = 'query_id'"),
      says: /it is broken \(it has no id\)/,
    },
    "an empty file": {
      spoil: (file) => Deno.truncateSync(file, 0),
      says: /it is broken \(the file is empty\)/,
    },
    "a file that is not SQLite": {
      spoil: (file) => Deno.writeTextFileSync(file, "offsets: [1, 2, 3]\n".repeat(500)),
      says: /it is broken \(file is not a database\)/,
    },
    "a file cut in its first page": {
      spoil: (file) => Deno.truncateSync(file, 700),
      says: /it is broken \(/,
    },
    "a file cut in the middle": {
      spoil: (file) => Deno.truncateSync(file, 8192),
      says: /it is broken \(/,
    },
    "a file with a page of noise": {
      spoil: (file) => {
        const bytes = Deno.readFileSync(file);
        bytes.fill(0xa5, 4096, 8192);
        Deno.writeFileSync(file, bytes);
      },
      says: /it is broken \(/,
    },
    "a missing table": {
      spoil: (_, directory) => change(directory, "DROP TABLE commits"),
      says: /it is broken \(tables are missing\)/,
    },
    "a table without its columns": {
      spoil: (_, directory) => change(directory, "DROP TABLE commits; CREATE TABLE commits (a)"),
      says: /it is broken \(/,
    },
    "offsets that are not JSON": {
      spoil: (_, directory) => change(directory, "UPDATE offsets SET end_offset = '{'"),
      says: /it is broken \(.*JSON/,
    },
    "another program's database": {
      spoil: (file, directory) => {
        Deno.removeSync(file);
        change(directory, "CREATE TABLE people (name TEXT)");
      },
      says: /it is broken \(tables are missing\)/,
    },
  };
  for (const [what, { spoil, says }] of Object.entries(cases)) {
    await t.step(what, () =>
      inDirectory((directory) => {
        fill(directory);
        const file = `${directory}/checkpoint.db`;
        spoil(file, directory);
        const before = Deno.readFileSync(file);
        refuses(directory, says);
        assert.deepEqual(Deno.readFileSync(file), before);
      }));
  }
  await t.step("a directory that cannot be made", () =>
    inDirectory((directory) => {
      Deno.writeTextFileSync(`${directory}/file`, "");
      refuses(`${directory}/file/below`, /; use a directory that can be written to$/);
    }));
});

Deno.test("Checkpoint.open() refuses a checkpoint that is in use", () =>
  inDirectory((directory) => {
    const first = Checkpoint.open(directory, OWNER);
    refuses(directory, /another query is using it/);
    first.logOffsets(0, null, 1);
    refuses(directory, /another query is using it/);
    first.close();
    Checkpoint.open(directory, OWNER).close();
  }));

Deno.test("Checkpoint.open() makes anew what was cut short while it was made", () =>
  inDirectory((directory) => {
    Deno.writeTextFileSync(`${directory}/checkpoint.creating`, "");
    Deno.writeTextFileSync(`${directory}/checkpoint.db`, "");
    const checkpoint = Checkpoint.open(directory, OWNER);
    checkpoint.logOffsets(0, null, 1);
    checkpoint.close();
    Deno.truncateSync(`${directory}/checkpoint.db`, 0);
    refuses(directory, /the file is empty/);
  }));

Deno.test("Checkpoint is whole after a kill at any moment", () =>
  inDirectory(async (directory) => {
    const script = `
      import { Checkpoint } from ${JSON.stringify(import.meta.resolve("./checkpoint.ts"))};
      const say = (line) => Deno.stdout.writeSync(new TextEncoder().encode(line + "\\n"));
      const checkpoint = Checkpoint.open(Deno.args[0], { fingerprint: "f1", name: "counts" });
      say("open " + checkpoint.queryId);
      const last = checkpoint.latest();
      if (last?.committed === false) checkpoint.commit(last.batchId);
      for (let id = (last?.batchId ?? -1) + 1;; id++) {
        checkpoint.logOffsets(id, id === 0 ? null : id, id + 1);
        say("logged " + id);
        checkpoint.saveState(id, [{ partition: 0, operator: 0, state: { id } }]);
        checkpoint.commit(id);
        say("committed " + id);
        checkpoint.prune(3);
      }`;
    Deno.writeTextFileSync(`${directory}/writer.ts`, script);
    const place = `${directory}/checkpoint`;
    let id: string | undefined;
    for (let round = 0; round < 8; round++) {
      const writer = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", `${directory}/writer.ts`, place],
        stdout: "piped",
      }).spawn();
      const lines: string[] = [];
      const enough = Math.floor(Math.random() * 60);
      let text = "", killed = false;
      for await (const chunk of writer.stdout.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        lines.push(...text.split("\n").slice(0, -1));
        text = text.slice(text.lastIndexOf("\n") + 1);
        if (!killed && lines.length > enough) {
          writer.kill("SIGKILL");
          killed = true;
        }
      }
      await writer.status;
      const said = (word: string) =>
        Number(lines.findLast((line) => line.startsWith(word))?.split(" ")[1] ?? -1);
      const checkpoint = Checkpoint.open(place, OWNER);
      try {
        assert.equal(checkpoint.queryId, id ??= lines[0]!.split(" ")[1]!);
        const last = checkpoint.latest();
        const at = last?.batchId ?? -1;
        assert(at >= said("logged"), `logged ${said("logged")}, found ${at}`);
        const committed = last?.committed ? at : at - 1;
        assert(committed >= said("committed"), `committed ${said("committed")}, at ${committed}`);
        if (last !== undefined) assert.equal(last.end, at + 1);
        if (committed >= 0) {
          assert.deepEqual(checkpoint.loadState(committed)[0]?.state, {
            id: committed,
          });
        }
      } finally {
        checkpoint.close();
      }
    }
  }));

Deno.test("Checkpoint holds what a model of it holds, across restarts", () => {
  const step = fc.constantFrom("log", "commit", "reopen", "reserve", "prune");
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const directory = Deno.makeTempDirSync();
      let checkpoint = Checkpoint.open(directory, OWNER);
      try {
        let batchId = -1, committed = true, reserved = 0;
        for (const step of steps) {
          if (step === "log") {
            const log = () => checkpoint.logOffsets(batchId + 1, batchId, [batchId + 1]);
            if (committed) {
              log();
              batchId++;
              committed = false;
            } else assert.throws(log, RangeError);
          } else if (step === "commit") {
            const commit = () => checkpoint.commit(batchId);
            if (committed) assert.throws(commit, RangeError);
            else {
              commit();
              committed = true;
            }
          } else if (step === "reserve") {
            assert.equal(checkpoint.reserve(10), reserved);
            reserved += 10;
          } else if (step === "prune") checkpoint.prune(1);
          else {
            checkpoint.close();
            checkpoint = Checkpoint.open(directory, OWNER);
          }
          assert.deepEqual(
            checkpoint.latest(),
            batchId < 0 ? undefined : { batchId, start: batchId - 1, end: [batchId], committed },
          );
        }
      } finally {
        checkpoint.close();
        Deno.removeSync(directory, { recursive: true });
      }
    }),
    { numRuns: 25 },
  );
});

Deno.test("fingerprint() changes with the meaning of a plan alone", () => {
  const same: Partial<Plan>[] = [
    { name: "other" },
    { partitions: 9 },
    { trigger: { once: true } },
    { batching: { ...DEFAULT_BATCHING, maxBatchSize: 1 } },
    { checkpoint: "/elsewhere" },
    { baseUrl: "file:///b/" },
    { plugins: ["file:///b/p.ts"] },
    { source: { name: "http", options: { name: "api", port: 1, host: "0.0.0.0" } } },
    { source: { name: "http", options: { name: "api", maxBodyBytes: 5, replyTimeoutMs: 5 } } },
  ];
  const different: Partial<Plan>[] = [
    { source: { name: "http", options: { name: "api2" } } },
    { source: { name: "rate", options: { name: "api" } } },
    { transforms: [] },
    { transforms: [...PLAN.transforms, ...PLAN.transforms] },
    { transforms: [{ name: "with_column", options: { n: "length(value) + 1" } }] },
    { sink: { name: "http", options: { replyCol: "m" } } },
  ];
  const wanted = fingerprint(PLAN);
  assert.match(wanted, /^[0-9a-f]{64}$/);
  for (const change of same) assert.equal(fingerprint({ ...PLAN, ...change }), wanted);
  for (const change of different) assert.notEqual(fingerprint({ ...PLAN, ...change }), wanted);
});
