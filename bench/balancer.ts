/**
 * `deno run -A bench/balancer.ts [--seconds 3] [--rounds 5]`
 *
 * What a balancer in front of two peers costs: the built-in one, nginx by the config that
 * `millrace balancer nginx` prints, and the least that a proxy over `fetch` or `node:http` does, which is
 * why the built-in one has a client of its own. They take turns in one run, with the same two peers
 * behind them. CPU time is what the balancer's processes have used for a request, and does not depend on
 * who else uses the machine.
 *
 * @module
 */
import { Command } from "commander";
import { balancerConfig } from "../cluster/balancer_config.ts";
import { freePort } from "../tests/free_port.ts";
import { Contender } from "./contender.ts";
import { generator, type Load, load } from "./load.ts";

const command = new Command("balancer")
  .option("--seconds <n>", "length of one measurement", Number, 3)
  .option("--rounds <n>", "measurements of each contender", Number, 5)
  .parse(Deno.args, { from: "user" });
const { seconds, rounds } = command.opts<{ seconds: number; rounds: number }>();

/** A measurement, and the CPU time in µs that the contender has used for a request. */
interface Measured extends Load {
  readonly cpu: number;
}

const CONNECTIONS = 64;
const here = (path: string) => new URL(path, import.meta.url).pathname;
const directory = await Deno.makeTempDir();
const peers = await Contender.start({
  name: "one peer, no balancer",
  args: ["run", "-A", here("../main.ts"), "run", here("contenders/hello_peers.yaml")],
  env: { PORT: "PORT" },
  path: "/my_api",
});
const first = Number(new URL(peers.url).port);
const backends = [first, first + 1].map((port) => `http://127.0.0.1:${port}/my_api`);
const proxy = (name: string, kind: string) =>
  Contender.start({
    name,
    args: ["run", "-A", here("contenders/proxy.ts"), kind, "PORT", ...backends],
    path: "/my_api",
  });
const contenders = [peers, await proxy("the built-in balancer", "balancer"), await nginx()];
contenders.push(
  await proxy("a proxy by fetch", "fetch"),
  await proxy("a proxy by node:http", "node"),
);

try {
  report(await measure());
} finally {
  for (const contender of contenders.toReversed()) await contender.stop();
  await Deno.remove(directory, { recursive: true });
}

async function nginx(): Promise<Contender> {
  const port = freePort();
  const service = {
    name: "my_api",
    path: "/my_api",
    maxBodyBytes: 16_777_216,
    replyTimeoutMs: 60_000,
    backends: [0, 1].map((peer) => ({ host: "127.0.0.1", port: first + peer, key: `${peer}/0` })),
  };
  const file = `${directory}/nginx.conf`;
  await Deno.writeTextFile(file, balancerConfig("nginx", [service], { host: "127.0.0.1", port }));
  return await Contender.start({
    name: "nginx",
    program: "nginx",
    args: ["-c", file, "-g", `daemon off; pid ${directory}/pid;`],
    port,
    path: "/my_api",
  });
}

async function measure(): Promise<Map<string, Measured[]>> {
  const results = new Map<string, Measured[]>();
  for (let round = -1; round < rounds; round++) {
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      for (const connections of [1, CONNECTIONS]) {
        const before = cpuTime(contender.pid);
        const result = await load({
          url: contender.url,
          connections,
          seconds: round < 0 ? 1 : seconds,
          body: "hello world",
        });
        // The first round warms up.
        if (round < 0) continue;
        const used = cpuTime(contender.pid) - before;
        const key = `${contender.name}/${connections}`;
        const cpu = used / (result.requestsPerSecond * seconds);
        results.set(key, [...results.get(key) ?? [], { ...result, cpu }]);
        await Deno.stderr.write(new TextEncoder().encode("."));
      }
    }
  }
  console.error();
  return results;
}

function report(results: Map<string, Measured[]>): void {
  const value = (name: string, connections: number, measure: keyof Measured) =>
    median(results.get(`${name}/${connections}`)!.map((result) => result[measure]));
  const own = contenders[1]!.name;
  console.log(`${rounds} rounds of ${seconds} s by ${generator}, Deno ${Deno.version.deno}`);
  console.table(contenders.map(({ name }) => {
    const rate = value(name, CONNECTIONS, "requestsPerSecond");
    const cpu = value(name, CONNECTIONS, "cpu");
    const latency = value(name, 1, "p50");
    const errors = [1, CONNECTIONS].flatMap((each) => results.get(`${name}/${each}`)!)
      .reduce((sum, each) => sum + each.errors, 0);
    return {
      what: name,
      "requests/s": Math.round(rate),
      "built-in is": ratio(value(own, CONNECTIONS, "requestsPerSecond") / rate),
      "p99 ms": Number(value(name, CONNECTIONS, "p99").toFixed(1)),
      "p50 ms, 1 connection": Number(latency.toFixed(3)),
      // The peers' own time is no price of a balancer.
      "CPU µs/request": name === peers.name ? "" : Math.round(cpu),
      errors,
    };
  }));
}

/** CPU time of a process and its children, in µs; 0 where there is no `/proc`. */
function cpuTime(pid: number): number {
  try {
    const children = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim();
    const pids = [pid, ...children === "" ? [] : children.split(" ").map(Number)];
    return pids.reduce((sum, each) => {
      const fields = Deno.readTextFileSync(`/proc/${each}/stat`).replace(/^.*\) /, "").split(" ");
      // Ticks of 10 ms.
      return sum + (Number(fields[11]) + Number(fields[12])) * 10_000;
    }, 0);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

function ratio(value: number): string {
  return `${value.toFixed(2)} ×`;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}
