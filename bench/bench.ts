/**
 * `deno task bench [--seconds 4] [--rounds 5] [--json FILE]`
 *
 * Measures the promises of the design against references in the same run: every contender is a process
 * of its own, load comes from another, and the contenders take turns, so that a noisy machine is noisy
 * for all. Medians of the rounds are printed, with their ratio to the reference.
 *
 * @module
 */
import { Command } from "commander";
import { Contender } from "./contender.ts";
import { generator, type Load, load } from "./load.ts";

/** A row of the table. */
interface Row {
  readonly what: string;
  readonly connections: number;
  readonly measure: "requestsPerSecond" | "p50" | "p99";
  readonly contender: string;
  readonly reference: string;
  /** Wanted ratio of contender to reference: at least for rates, at most for latencies. */
  readonly promise: number;
}

const ROWS: readonly Row[] = [
  {
    what: "hello world, head-node mode, 64 connections",
    connections: 64,
    measure: "requestsPerSecond",
    contender: "head",
    reference: "bare",
    promise: 0.45,
  },
  {
    what: "p50 latency, head-node mode, 1 connection",
    connections: 1,
    measure: "p50",
    contender: "head",
    reference: "bare",
    promise: 2.5,
  },
];

const command = new Command("bench")
  .option("--seconds <n>", "length of one measurement", Number, 4)
  .option("--rounds <n>", "measurements of each contender", Number, 5)
  .option("--json <file>", "write the results there as well")
  .parse(Deno.args, { from: "user" });
const { seconds, rounds, json } = command.opts<
  { seconds: number; rounds: number; json?: string }
>();

const here = (path: string) => new URL(path, import.meta.url).pathname;
const contenders = [
  await Contender.start({
    name: "bare",
    args: ["run", "-A", here("contenders/bare_serve.ts"), "PORT"],
    path: "/my_api",
  }),
  await Contender.start({
    name: "head",
    args: ["run", "-A", here("../main.ts"), "run", here("contenders/hello_head.yaml")],
    env: { PORT: "PORT" },
    path: "/my_api",
  }),
];

try {
  const results = await measure();
  report(results);
} finally {
  for (const contender of contenders) await contender.stop();
}

async function measure(): Promise<Map<string, Load[]>> {
  const results = new Map<string, Load[]>();
  const connections = [...new Set(ROWS.map((row) => row.connections))];
  for (let round = -1; round < rounds; round++) {
    for (const count of connections) {
      // The order is turned round each time, so that no contender always follows the same one.
      for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
        const result = await load({
          url: contender.url,
          connections: count,
          seconds: round < 0 ? 1 : seconds,
          body: "hello world",
        });
        // The first round warms up.
        if (round < 0) continue;
        const key = `${contender.name}/${count}`;
        results.set(key, [...results.get(key) ?? [], result]);
        await Deno.stderr.write(new TextEncoder().encode("."));
      }
    }
  }
  console.error();
  return results;
}

function report(results: Map<string, Load[]>): void {
  const table = ROWS.map((row) => {
    const values = (name: string) =>
      results.get(`${name}/${row.connections}`)!.map((result) => result[row.measure]);
    const ours = median(values(row.contender)), theirs = median(values(row.reference));
    const ratio = ours / theirs;
    const atLeast = row.measure === "requestsPerSecond";
    return {
      what: row.what,
      ours: show(row, ours),
      reference: show(row, theirs),
      ratio: Number(ratio.toFixed(2)),
      promise: `${atLeast ? "≥" : "≤"} ${row.promise}`,
      kept: atLeast ? ratio >= row.promise : ratio <= row.promise,
    };
  });
  console.log(`${rounds} rounds of ${seconds} s by ${generator}, Deno ${Deno.version.deno}`);
  console.table(table);
  const errors = [...results].flatMap(([key, loads]) =>
    loads.some((each) => each.errors > 0)
      ? [`${key}: ${loads.reduce((sum, each) => sum + each.errors, 0)} errors`]
      : []
  );
  if (errors.length > 0) console.log(errors.join("\n"));
  if (json !== undefined) {
    Deno.writeTextFileSync(
      json,
      JSON.stringify(
        { date: new Date(), generator, table, raw: Object.fromEntries(results) },
        null,
        2,
      ),
    );
  }
}

function show(row: Row, value: number): string {
  return row.measure === "requestsPerSecond" ? `${Math.round(value)}/s` : `${value.toFixed(3)} ms`;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
