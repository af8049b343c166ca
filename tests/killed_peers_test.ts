/**
 * Three peers behind the balancer, one of them killed every two seconds. `MILLRACE_KILL_SECONDS` says for
 * how long (default 8).
 *
 * @module
 */
import assert from "node:assert/strict";
import { makePlan } from "../engine/make_plan.ts";
import { StreamingQuery } from "../engine/query.ts";
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";
import { freePort } from "./free_port.ts";
import { HttpConnection, textOf } from "./http_client.ts";
import { newHost } from "./with_service.ts";

const SECONDS = Number(Deno.env.get("MILLRACE_KILL_SECONDS") ?? 8);
const CONNECTIONS = 64;
const PEERS = 3;

Deno.test("peers are killed under load: all requests are answered, idempotent ones rightly", async () => {
  const plan = await makePlan({
    name: "echo",
    source: {
      name: "distributed_http",
      options: { host: "127.0.0.1", port: freePort(), shared: false, maxAttempts: 100 },
    },
    transforms: [{ name: "with_column", options: { reply: "concat('<', value, '>')" } }],
    sink: { name: "http", options: {} },
    engine: { peers: PEERS, balancer: { host: "127.0.0.1", port: 0, queueTimeoutMs: 30_000 } },
    plugins: [],
    baseUrl: import.meta.url,
  }, new Registry(builtins));
  const query = new StreamingQuery("echo", plan, newHost());
  await query.ready;
  try {
    const [balancer] = query.services();
    const killed: number[] = [];
    const killer = setInterval(() => {
      const alive = peerProcesses();
      const victim = alive[killed.length % alive.length];
      if (victim === undefined) return;
      killed.push(victim);
      Deno.kill(victim, "SIGKILL");
    }, 2_000);
    const deadline = performance.now() + SECONDS * 1_000;
    const counts = new Map<number, number>();
    const wrong: string[] = [];
    /** PUT is idempotent, and so must come back right; POST may be answered by 502, and then was lost. */
    const run = async (client: number, url: string): Promise<void> => {
      const connection = await HttpConnection.open(url);
      for (let n = 0; performance.now() < deadline; n++) {
        const method = n % 2 === 0 ? "PUT" : "POST";
        const body = `${client}/${n}`;
        await connection.send(connection.request(method, body));
        const answer = await connection.answer();
        const { status } = answer;
        counts.set(status, (counts.get(status) ?? 0) + 1);
        if (status === 200 && textOf(answer) === `<${body}>`) continue;
        if (method === "POST" && status === 502) continue;
        wrong.push(`${method} ${body}: ${status} ${textOf(answer)}`);
      }
      connection.close();
    };
    await Promise.all(
      Array.from({ length: CONNECTIONS }, (_, client) => run(client, balancer!.url)),
    );
    clearInterval(killer);
    const summary = [...counts].map(([status, count]) => `${count} x ${status}`).join(", ");
    console.log(`${killed.length} peers killed; replies: ${summary}`);
    assert.deepEqual(wrong, []);
    assert.ok(killed.length >= SECONDS / 4, "peers were killed");
    // The killed ones are back.
    const patience = performance.now() + 15_000;
    while (ready(query) < PEERS) {
      assert.ok(performance.now() < patience, "all peers are ready again");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(peerProcesses().filter((pid) => killed.includes(pid)).length, 0);
  } finally {
    await query.stop({ now: true });
  }
});

/** Peers that the balancer can reach. */
function ready(query: StreamingQuery): number {
  return new Set(
    query.services().filter(({ peer, state }) => peer >= 0 && state === "ready")
      .map(({ peer }) => peer),
  ).size;
}

/** The processes that this one has started and that live: the peers. */
function peerProcesses(): number[] {
  return Array.from(Deno.readDirSync("/proc"), ({ name }) => Number(name))
    .filter((pid) => {
      try {
        const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return Number(parent) === Deno.pid && state !== "Z";
      } catch {
        return false;
      }
    });
}
