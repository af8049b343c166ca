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
  readonly measure: "requestsPerSecond" | "goodput" | "p50" | "p99";
  readonly contender: string;
  readonly reference: string;
  readonly connections: number;
  /** Times the rate that the contender reaches by itself at `referenceConnections`. */
  readonly overload?: number;
  /** Connections of the reference, where they differ. */
  readonly referenceConnections?: number;
  /**
   * Divides both sides by what they have at so many connections: the growth of one is compared with the
   * growth of the other.
   */
  readonly growthFrom?: number;
  /** Wanted ratio of contender to reference: at least for rates, at most for latencies. */
  readonly promise?: number;
}

const ROWS: readonly Row[] = [
  {
    what: "distributed, 64 connections",
    connections: 64,
    measure: "requestsPerSecond",
    contender: "distributed",
    reference: "bare",
    promise: 0.8,
  },
  {
    what: "head-node, 64 connections",
    connections: 64,
    measure: "requestsPerSecond",
    contender: "head",
    reference: "bare",
    promise: 0.45,
  },
  {
    what: "distributed, p50 of 1 connection",
    connections: 1,
    measure: "p50",
    contender: "distributed",
    reference: "bare",
    promise: 1.3,
  },
  {
    what: "head-node, p50 of 1 connection",
    connections: 1,
    measure: "p50",
    contender: "head",
    reference: "bare",
    promise: 2.5,
  },
  {
    what: "distributed, 2 partitions against 2 bare workers",
    connections: 64,
    measure: "requestsPerSecond",
    contender: "distributed 2",
    reference: "bare 2",
  },
  {
    what: "distributed, 2 partitions against 1",
    connections: 64,
    measure: "requestsPerSecond",
    contender: "distributed 2",
    reference: "distributed",
  },
  {
    what: "1 ms of work a row: goodput at 4 x its peak against its peak",
    connections: 256,
    overload: 4,
    referenceConnections: 64,
    measure: "goodput",
    contender: "busy",
    reference: "busy",
    promise: 0.95,
  },
  {
    what: "head-node, growth of p99 from 64 to 512 connections",
    connections: 512,
    growthFrom: 64,
    measure: "p99",
    contender: "head",
    reference: "bare",
    promise: 1.5,
  },
  {
    what: "distributed, growth of p99 from 64 to 512 connections",
    connections: 512,
    growthFrom: 64,
    measure: "p99",
    contender: "distributed",
    reference: "bare",
    promise: 1.5,
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
const bare = (name: string, workers: number) =>
  Contender.start({
    name,
    args: ["run", "-A", "--unstable-net", here("contenders/bare_serve.ts"), "PORT", `${workers}`],
    path: "/my_api",
  });
const millrace = (name: string, config: string, partitions: number) =>
  Contender.start({
    name,
    args: ["run", "-A", here("../main.ts"), "run", "--log-level", "warn", here(config)],
    env: { PORT: "PORT", PARTITIONS: `${partitions}` },
    path: "/my_api",
  });
const contenders = [
  await bare("bare", 1),
  await millrace("distributed", "contenders/hello_distributed.yaml", 1),
  await millrace("head", "contenders/hello_head.yaml", 1),
  await bare("bare 2", 2),
  await millrace("distributed 2", "contenders/hello_distributed.yaml", 2),
  await millrace("busy", "contenders/busy.yaml", 1),
];

try {
  const results = await measure();
  report(results);
} finally {
  for (const contender of contenders) await contender.stop();
}

async function measure(): Promise<Map<string, Load[]>> {
  const results = new Map<string, Load[]>();
  const wanted = new Set(
    ROWS.flatMap((row) =>
      [row.contender, row.reference].flatMap((name, side) => {
        const counts = [side === 0 ? row.connections : row.referenceConnections ?? row.connections];
        if (row.growthFrom !== undefined) counts.push(row.growthFrom);
        return counts.map((count) => key(name, count));
      })
    ),
  );
  // Fewer first: the rate of an overload is known by then.
  const counts = [...new Set([...wanted].map((each) => Number(each.split("/")[1])))]
    .sort((a, b) => a - b);
  for (let round = -1; round < rounds; round++) {
    for (const count of counts) {
      // The order is turned round each time, so that no contender always follows the same one.
      for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
        if (!wanted.has(key(contender.name, count))) continue;
        const row = ROWS.find((each) =>
          each.overload !== undefined && each.contender === contender.name &&
          each.connections === count
        );
        const peak = row && results.get(key(row.reference, row.referenceConnections!))?.at(-1);
        const result = await load({
          url: contender.url,
          connections: count,
          seconds: round < 0 ? 1 : seconds,
          body: "hello world",
          ...(peak === undefined ? {} : { rate: Math.round(peak.goodput * row!.overload!) }),
        });
        // The first round warms up.
        if (round < 0) continue;
        const name = key(contender.name, count);
        results.set(name, [...results.get(name) ?? [], result]);
        await Deno.stderr.write(new TextEncoder().encode("."));
      }
    }
  }
  console.error();
  return results;
}

function key(name: string, connections: number): string {
  return `${name}/${connections}`;
}

function report(results: Map<string, Load[]>): void {
  const table = ROWS.map((row) => {
    const value = (name: string, connections: number) =>
      median(results.get(key(name, connections))!.map((result) => result[row.measure]));
    const growth = (name: string) => row.growthFrom === undefined ? 1 : value(name, row.growthFrom);
    const ours = value(row.contender, row.connections) / growth(row.contender);
    const theirs = value(row.reference, row.referenceConnections ?? row.connections) /
      growth(row.reference);
    const ratio = ours / theirs;
    const atLeast = row.measure === "requestsPerSecond" || row.measure === "goodput";
    return {
      what: row.what,
      ours: show(row, ours),
      reference: show(row, theirs),
      ratio: Number(ratio.toFixed(2)),
      promise: row.promise === undefined ? "" : `${atLeast ? "≥" : "≤"} ${row.promise}`,
      kept: row.promise === undefined
        ? ""
        : (atLeast ? ratio >= row.promise : ratio <= row.promise)
        ? "yes"
        : "no",
    };
  });
  console.log(`${rounds} rounds of ${seconds} s by ${generator}, Deno ${Deno.version.deno}`);
  console.table(table);
  const errors = [...results].flatMap(([name, loads]) => {
    const sum = loads.reduce((sum, each) => sum + each.errors, 0);
    return sum > 0 ? [`${name}: ${sum} replies that were not 2xx, or broken connections`] : [];
  });
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
  if (row.growthFrom !== undefined) return `x ${value.toFixed(1)}`;
  return row.measure === "p50" || row.measure === "p99"
    ? `${value.toFixed(3)} ms`
    : `${Math.round(value)}/s`;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
