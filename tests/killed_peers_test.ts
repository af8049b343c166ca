/**
 * Three peers behind the balancer, one of them killed every two seconds. `MILLRACE_KILL_SECONDS` says for
 * how long (default 8).
 *
 * @module
 */
import assert from "node:assert/strict";
import type { ServiceInfo } from "../plugins/contract.ts";
import { freePort } from "./free_port.ts";
import { HttpConnection, textOf } from "./http_client.ts";

const SECONDS = Number(Deno.env.get("MILLRACE_KILL_SECONDS") ?? 8);
const CONNECTIONS = 64;
const PEERS = 3;

Deno.test("peers are killed under load: all requests are answered, idempotent ones rightly", async () => {
  const folder = await Deno.makeTempDir();
  const [port, adminPort] = [freePort(), freePort()];
  const config = {
    services: [{
      name: "echo",
      peers: PEERS,
      source: {
        distributed_http: { host: "127.0.0.1", port: freePort(), shared: false, maxAttempts: 100 },
      },
      transforms: [{ with_column: { reply: "concat('<', value, '>')" } }],
      sink: "http",
      balancer: { host: "127.0.0.1", port, queueTimeoutMs: 30_000 },
    }],
  };
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
  // A supervisor of its own: children of the process that runs the tests may be other tests'.
  const supervisor = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", new URL("../main.ts", import.meta.url).pathname],
      ...["run", "--log-level", "error", "--admin-port", `${adminPort}`, `${folder}/config.json`],
    ],
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  let ended = false;
  const status = supervisor.status.finally(() => ended = true);
  try {
    const admin = `http://127.0.0.1:${adminPort}`;
    await until("all peers are ready", async () => {
      assert.ok(!ended, "the supervisor runs");
      return await ready(admin) === PEERS;
    });
    const killed: number[] = [];
    const killer = setInterval(() => {
      const alive = childrenOf(supervisor.pid);
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
    const url = `http://127.0.0.1:${port}/echo`;
    try {
      await Promise.all(Array.from({ length: CONNECTIONS }, (_, client) => run(client, url)));
    } finally {
      clearInterval(killer);
    }
    const summary = [...counts].map(([status, count]) => `${count} x ${status}`).join(", ");
    console.log(`${killed.length} peers killed; replies: ${summary}`);
    assert.deepEqual(wrong, []);
    assert.ok(killed.length >= SECONDS / 4, "peers were killed");
    // The last one may have been killed just now.
    await until("the killed peers are gone, and others in their places", async () => {
      const alive = childrenOf(supervisor.pid);
      return !alive.some((pid) => killed.includes(pid)) && await ready(admin) === PEERS;
    });
  } finally {
    if (!ended) supervisor.kill("SIGTERM");
    await status;
    await Deno.remove(folder, { recursive: true });
  }
  assert.equal((await status).code, 0);
});

/** Peers that the balancer can reach; 0 while the supervisor does not tell yet. */
async function ready(admin: string): Promise<number> {
  let services: ServiceInfo[];
  try {
    ({ services } = await (await fetch(`${admin}/services`)).json());
  } catch {
    return 0;
  }
  const serving = services.filter(({ peer, state }) => peer >= 0 && state === "ready");
  return new Set(serving.map(({ peer }) => peer)).size;
}

/** Resolves when a condition holds, which is looked at again and again for want of an event. */
async function until(what: string, isMet: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!await isMet()) {
    assert.ok(performance.now() < deadline, `within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The processes that a process has started and that live. */
function childrenOf(pid: number): number[] {
  return Array.from(Deno.readDirSync("/proc"), ({ name }) => Number(name))
    .filter((each) => {
      try {
        const stat = Deno.readTextFileSync(`/proc/${each}/stat`);
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return Number(parent) === pid && state !== "Z";
      } catch {
        return false;
      }
    });
}
