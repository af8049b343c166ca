/**
 * `deno task bench:startup [--rounds 10] [--json FILE]`
 *
 * Measures what the compiled binary costs before any load: the time from its start to its first reply,
 * resident memory once it is idle, and its size; against a `Deno.serve` compiled with the same Deno, which
 * takes turns with it. Medians are printed, with their ratio to the reference.
 *
 * It wants the binary of `deno task compile`, made by the Deno that runs this, and Linux, for `/proc`.
 *
 * @module
 */
import { Command } from "commander";
import { freePort } from "../tests/free_port.ts";
import { HttpConnection } from "../tests/http_client.ts";

/** A program under test. `PORT` in its arguments and environment is replaced by a free port. */
interface Program {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** One start of a program. */
interface Start {
  readonly firstReplyMs: number;
  readonly residentMb: number;
}

/** How long after its first reply a program counts as idle, in ms. */
const IDLE_AFTER_MS = 1000;
/** How long to wait between two attempts to reach a program, in ms. */
const RETRY_MS = 1;
const MB = 1_000_000;
/** What is compared, and the most that it may be of the reference. */
const MEASURES = [
  ["firstReplyMs", "start to first reply", "ms", 2],
  ["residentMb", "resident memory, idle", "MB", 1.5],
] as const;
/** The most that the binary may be larger than the reference. */
const MAX_EXTRA_MB = 35;

const BARE = `Deno.serve(
  { hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen: () => {} },
  async (request) => new Response(String((await request.text()).length)),
);
`;

if (import.meta.main) {
  const command = new Command("bench:startup")
    .option("--rounds <n>", "starts of each program", Number, 10)
    .option("--json <file>", "write the results there as well")
    .parse(Deno.args, { from: "user" });
  const { rounds, json } = command.opts<{ rounds: number; json?: string }>();
  const folder = await Deno.makeTempDir();
  try {
    const programs = await makePrograms(folder);
    const starts = await measure(programs, rounds);
    const table = report(programs, starts);
    console.log(`Medians of ${rounds} starts each, Deno ${Deno.version.deno}`);
    console.table(table);
    if (json !== undefined) {
      const raw = Object.fromEntries(starts);
      await Deno.writeTextFile(json, JSON.stringify({ date: new Date(), table, raw }, null, 2));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The reference first. */
async function makePrograms(folder: string): Promise<Program[]> {
  const millrace = new URL("../dist/millrace", import.meta.url).pathname;
  try {
    await Deno.stat(millrace);
  } catch (cause) {
    throw new Error(`No binary at ${millrace}: make it with "deno task compile" first`, { cause });
  }
  await Deno.writeTextFile(`${folder}/bare.ts`, BARE);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["compile", "-q", "-A", "--no-check", "--no-config", "-o", "bare", "bare.ts"],
    cwd: folder,
  }).output();
  if (!success) throw new Error("The reference cannot be compiled");
  const service = (source: string): Program => {
    const file = `${folder}/${source}.yaml`;
    Deno.writeTextFileSync(
      file,
      `services:
  - name: my_api
    source: { ${source}: { host: 127.0.0.1, port: "\${PORT}" } }
    transforms: [ with_column: { newCol: length(value) } ]
    sink: { http: { replyCol: newCol } }
`,
    );
    return { name: source, file: millrace, args: ["run", file], env: { PORT: "PORT" } };
  };
  return [
    { name: "bare", file: `${folder}/bare`, args: ["PORT"], env: {} },
    service("http"),
    service("distributed_http"),
  ];
}

async function measure(
  programs: readonly Program[],
  rounds: number,
): Promise<Map<string, Start[]>> {
  const starts = new Map<string, Start[]>(programs.map(({ name }) => [name, []]));
  // The first round is to fill caches, the runtime's own of compiled code among them.
  for (let round = -1; round < rounds; round++) {
    for (const program of round % 2 === 0 ? programs : programs.toReversed()) {
      const start = await startOnce(program);
      if (round >= 0) starts.get(program.name)!.push(start);
    }
  }
  return starts;
}

async function startOnce({ name, file, args, env }: Program): Promise<Start> {
  const port = String(freePort());
  const fill = (text: string) => text.replaceAll("PORT", port);
  const started = performance.now();
  const process = new Deno.Command(file, {
    args: args.map(fill),
    env: Object.fromEntries(Object.entries(env).map(([key, value]) => [key, fill(value)])),
    stdout: "null",
    stderr: "null",
  }).spawn();
  let ended = false;
  const end = process.status.then(() => ended = true);
  try {
    for (;;) {
      if (ended) throw new Error(`"${name}" ended before it replied`);
      const reply = await ask(`http://127.0.0.1:${port}/my_api`);
      if (reply === "5") break;
      if (reply !== undefined) throw new Error(`"${name}" replied ${reply}`);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    const firstReplyMs = performance.now() - started;
    await new Promise((resolve) => setTimeout(resolve, IDLE_AFTER_MS));
    const status = await Deno.readTextFile(`/proc/${process.pid}/status`);
    const residentMb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024 / MB;
    return { firstReplyMs, residentMb };
  } finally {
    if (!ended) process.kill("SIGKILL");
    await end;
  }
}

/** The reply to `hello`, or undefined while nobody is there. */
async function ask(url: string): Promise<string | undefined> {
  let connection: HttpConnection | undefined;
  try {
    connection = await HttpConnection.open(url);
    const { body } = await connection.post("hello");
    return new TextDecoder().decode(body);
  } catch {
    // Refused, or broken off by a look whether the port is free.
    return undefined;
  } finally {
    connection?.close();
  }
}

function report(
  programs: readonly Program[],
  starts: ReadonlyMap<string, readonly Start[]>,
): Record<string, unknown>[] {
  const [bare, ...ours] = programs as [Program, ...Program[]];
  const value = (program: Program, key: keyof Start) =>
    median(starts.get(program.name)!.map((start) => start[key]));
  const rows = ours.flatMap((program) =>
    MEASURES
      .map(([key, what, unit, promise]) => {
        const mine = value(program, key), theirs = value(bare, key);
        return {
          what: `${what}, ${program.name}`,
          ours: `${mine.toFixed(0)} ${unit}`,
          reference: `${theirs.toFixed(0)} ${unit}`,
          ratio: Number((mine / theirs).toFixed(2)),
          promise: `≤ ${promise}`,
          kept: mine / theirs <= promise,
        };
      })
  );
  const size = Deno.statSync(ours[0]!.file).size / MB, base = Deno.statSync(bare.file).size / MB;
  return [...rows, {
    what: "size",
    ours: `${size.toFixed(1)} MB`,
    reference: `${base.toFixed(1)} MB`,
    ratio: Number((size / base).toFixed(2)),
    promise: `≤ + ${MAX_EXTRA_MB} MB`,
    kept: size - base <= MAX_EXTRA_MB,
  }];
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
