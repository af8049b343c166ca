import assert from "node:assert/strict";
import { Batch, type DataType, Schema } from "../engine/batch.ts";
import { pluginContext } from "../tests/contexts.ts";
import consoleSink, { type ConsoleSinkOptions, table } from "./console.ts";

const DEFAULTS: ConsoleSinkOptions = { numRows: 20, truncate: true };

const batchOf = (type: DataType, ...values: unknown[]) =>
  Batch.fromRows(new Schema([{ name: "c", type }]), values.map((c) => ({ c })));

/** The printed values of a column. */
const printed = (batch: Batch, options: Partial<ConsoleSinkOptions> = {}) =>
  table(batch, { ...DEFAULTS, ...options }).split("\n").filter((line) => line.startsWith("|"))
    .slice(1).map((line) => line.slice(1, -1).trim());

/** What a sink prints of batches. */
async function output(service: string, batches: [number, Batch][]): Promise<string> {
  const sink = await consoleSink.create(DEFAULTS, pluginContext({ service }));
  const log = console.log;
  const lines: string[] = [];
  console.log = (line: string) => void lines.push(line);
  try {
    for (const [batchId, batch] of batches) await sink.addBatch(batchId, batch);
  } finally {
    console.log = log;
  }
  return lines.join("\n");
}

Deno.test("a batch is a table, columns to the right", () => {
  const batch = Batch.fromRows(
    new Schema([{ name: "user", type: "string" }, { name: "n", type: "int32" }]),
    [{ user: "ann", n: 10 }, { user: null, n: -1 }],
  );
  assert.equal(
    table(batch, DEFAULTS),
    [
      "+------+----+",
      "| user |  n |",
      "+------+----+",
      "|  ann | 10 |",
      "| NULL | -1 |",
      "+------+----+",
    ].join("\n"),
  );
});

Deno.test("values of every type have a text", () => {
  const cases: [type: DataType, value: unknown, text: string][] = [
    ["string", "ä", "ä"],
    ["int32", -1, "-1"],
    ["int64", 9007199254740993n, "9007199254740993"],
    ["float32", Math.fround(0.1), "0.1"],
    ["float64", 1, "1.0"],
    ["boolean", true, "true"],
    ["timestamp", 0, "1970-01-01 00:00:00"],
    ["binary", Uint8Array.of(0, 255), "[00 FF]"],
    [{ list: "int32" }, [1, null], "[1, null]"],
    [{ struct: [{ name: "a", type: "string" }] }, { a: "x" }, "{x}"],
  ];
  for (const [type, value, text] of cases) {
    assert.deepEqual(printed(batchOf(type, value, null)), [text, "NULL"], text);
  }
  const tensor = { tensor: "float32", shape: [2] } as const;
  assert.deepEqual(printed(batchOf(tensor, Float32Array.of(1, 2))), ["1,2"]);
});

Deno.test("long values are cut, by characters, on one line", () => {
  const cases: [text: string, truncate: boolean | number, shown: string][] = [
    ["a".repeat(20), true, "a".repeat(20)],
    ["a".repeat(21), true, `${"a".repeat(17)}...`],
    ["a".repeat(21), false, "a".repeat(21)],
    ["abcdef", 5, "ab..."],
    ["abcdef", 3, "abc"],
    ["a\nb\r\nc", true, "a\\nb\\r\\nc"],
    ["😀".repeat(6), 5, "😀😀..."],
  ];
  for (const [text, truncate, shown] of cases) {
    assert.deepEqual(printed(batchOf("string", text), { truncate }), [shown], text);
  }
});

Deno.test("of rows that are too many, the number is told", () => {
  const batch = batchOf("int32", 1, 2, 3);
  assert.deepEqual(printed(batch, { numRows: 2 }), ["1", "2"]);
  assert.match(table(batch, { ...DEFAULTS, numRows: 2 }), /\nand 1 more$/);
  assert.doesNotMatch(table(batch, { ...DEFAULTS, numRows: 3 }), /more/);
  assert.match(table(batch, { ...DEFAULTS, numRows: 0 }), /\nand 3 more$/);
});

Deno.test("batches of a stream are told apart; what is shown once has no number", async () => {
  const batch = batchOf("int32", 1);
  const rule = "-".repeat(43);
  const drawn = table(batch, DEFAULTS);
  assert.equal(
    await output("query", [[0, batch], [7, batch]]),
    `${rule}\nBatch: 0\n${rule}\n${drawn}\n${rule}\nBatch: 7\n${rule}\n${drawn}`,
  );
  assert.equal(await output("batch-1", [[0, batch]]), drawn);
});
