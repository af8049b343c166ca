import assert from "node:assert/strict";
import { Batch, Schema } from "../engine/batch.ts";
import { builtins } from "../plugins/builtins.ts";
import type { Plugin, Reply, SinkPlugin } from "../plugins/contract.ts";
import { dropMemoryTable, memoryTable } from "../sinks/memory.ts";
import { checkEntry } from "./conformance_description.ts";
import { conformSink, type SinkCase } from "./conformance_sink.ts";

const SCHEMA = new Schema([
  { name: "id", type: "string" },
  { name: "n", type: "int32" },
  { name: "tags", type: { list: "string" } },
]);

const BATCHES = [0, 1, 2].map((batchId) =>
  Batch.fromRows(SCHEMA, [
    { id: `a${batchId}`, n: batchId, tags: ["x", null] },
    { id: `b${batchId}`, n: null, tags: [] },
  ])
);

/** A case of `http`, with callers who take the first answer only. */
function httpCase(title: string, replyCol: string): SinkCase {
  let replies: Map<string, Reply>;
  let withdraw: () => void;
  return {
    title,
    options: { name: "api", replyCol },
    batches: BATCHES,
    before: (context) => {
      replies = new Map();
      withdraw = context.replies.offer("api", (id, reply) => {
        if (replies.has(id)) return false;
        replies.set(id, reply);
        return true;
      });
    },
    result: () => replies,
    after: () => withdraw(),
  };
}

/** A case of `console`, with its lines kept. */
function consoleCase(): SinkCase {
  const { log } = console;
  let lines: string[];
  return {
    title: "tables",
    options: {},
    batches: BATCHES,
    before: () => {
      lines = [];
      console.log = (line: string) => void lines.push(line);
    },
    result: () => lines,
    after: () => void (console.log = log),
  };
}

const calls = ((globalThis as { conformanceCalls?: unknown[] }).conformanceCalls = []) as unknown[];

const cases: Readonly<Record<string, readonly SinkCase[]>> = {
  http: [httpCase("text", "id"), httpCase("numbers", "n"), httpCase("lists", "tags")],
  memory: [{
    title: "a table",
    options: { name: "conformance" },
    batches: BATCHES,
    before: () => memoryTable("conformance").clear(),
    result: () => memoryTable("conformance").rows(),
    after: () => dropMemoryTable("conformance"),
  }],
  console: [consoleCase()],
  foreach_batch: [{
    title: "a function",
    options: {
      module: `data:text/javascript,${
        encodeURIComponent(
          "export default (batch, id) => void globalThis.conformanceCalls.push([id, batch.rows()])",
        )
      }`,
    },
    batches: BATCHES,
    before: () => void calls.splice(0),
    result: () => calls,
  }],
};

for (const entry of builtins.filter(({ kind }) => kind === "sink")) {
  Deno.test(`the ${entry.name} sink keeps its promises`, async (t) => {
    const plugin = (await entry.load()).default as SinkPlugin;
    checkEntry(entry, plugin as Plugin);
    assert.ok(cases[entry.name], "every built-in sink has a case");
    await conformSink(t, plugin, cases[entry.name]!);
  });
}
