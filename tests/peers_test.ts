import { resetSync } from "@logtape/logtape";
import assert from "node:assert/strict";
import { call, TestIo, withFiles } from "../cli/test_io.ts";
import { runCli } from "../cli/cli.ts";
import { PEER_TIMINGS, PeersExecution } from "../cluster/supervisor.ts";
import { configureLogging } from "../engine/logging.ts";
import { makePlan } from "../engine/make_plan.ts";
import type { Plan } from "../engine/plan.ts";
import { StreamingQuery } from "../engine/query.ts";
import { Session } from "../engine/session.ts";
import { builtins } from "../plugins/builtins.ts";
import type { Json, PluginLogger } from "../plugins/contract.ts";
import { Registry } from "../plugins/registry.ts";
import { freePort } from "./free_port.ts";
import { Gate } from "./gate.ts";
import { HttpConnection, textOf } from "./http_client.ts";
import { newHost } from "./with_service.ts";

interface Setup {
  readonly peers?: number;
  readonly transforms?: readonly [string, Json][];
  readonly source?: Record<string, Json>;
  readonly engine?: Record<string, Json>;
  readonly replyCol?: string;
}

async function planOf(setup: Setup): Promise<Plan> {
  const { peers = 3, transforms = [["peer", {}]], source, engine, replyCol = "reply" } = setup;
  return await makePlan({
    name: "api",
    source: { name: "distributed_http", options: { host: "127.0.0.1", port: 0, ...source } },
    transforms: transforms.map(([name, options]) => ({ name, options })),
    sink: { name: "http", options: { replyCol } },
    engine: { peers, ...engine },
    plugins: ["./plugins/peer.ts", "./plugins/gate.ts"],
    baseUrl: new URL(".", import.meta.url).href,
  }, new Registry(builtins));
}

/** Calls a function with a query that serves, and ends it. */
async function withPeers(
  setup: Setup,
  test: (query: StreamingQuery, url: string) => Promise<void>,
  progress: (query: StreamingQuery) => void = () => {},
): Promise<void> {
  const host = newHost();
  const query = new StreamingQuery("api", await planOf(setup), {
    ...host,
    events: { ...host.events, progress },
  });
  await query.ready;
  try {
    await test(query, query.services()[0]!.url);
  } finally {
    await query.stop({ now: true });
  }
}

/** One request over a connection of its own. */
async function ask(url: string, body = ""): Promise<string> {
  const connection = await HttpConnection.open(url);
  try {
    const answer = await connection.post(body, "connection: close\r\n");
    assert.equal(answer.status, 200, textOf(answer));
    return textOf(answer);
  } finally {
    connection.close();
  }
}

/** Process ids by peer, once each of them has answered. */
async function pidsOf(url: string, peers: number): Promise<number[]> {
  const pids: number[] = [];
  for (let tries = 0; pids.filter(Boolean).length < peers; tries++) {
    assert.ok(tries < 1_000, "the kernel spreads connections over all peers");
    const [peer, pid] = (await ask(url)).split(" ").map(Number) as [number, number];
    pids[peer] = pid;
  }
  return pids;
}

/** Resolves when a condition holds, which is looked at again and again for want of an event. */
async function until(
  what: string,
  isMet: () => boolean | Promise<boolean>,
  ms = 20_000,
): Promise<void> {
  const deadline = performance.now() + ms;
  while (!await isMet()) {
    assert.ok(performance.now() < deadline, `within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Whether a process runs; one that has ended and is not yet collected by its parent does not. */
function isAlive(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return false;
  }
}

/** Requests over keep-alive connections, one after another on each, until `stop` is called. */
function load(url: string, connections: number, body = "") {
  let isOver = false;
  let answered = 0;
  const failures: string[] = [];
  const clients = Promise.all(Array.from({ length: connections }, async () => {
    let connection: HttpConnection | undefined;
    while (!isOver) {
      try {
        connection ??= await HttpConnection.open(url);
        const answer = await connection.post(body);
        if (answer.status === 200) answered++;
        else failures.push(`${answer.status} ${textOf(answer)}`);
        if (!/\r\nconnection: close/i.test(answer.head)) continue;
      } catch (error) {
        failures.push(String(error));
      }
      connection?.close();
      connection = undefined;
    }
    connection?.close();
  }));
  return {
    get answered() {
      return answered;
    },
    async stop(): Promise<{ answered: number; failures: string[] }> {
      isOver = true;
      await clients;
      return { answered, failures };
    },
  };
}

Deno.test("three peers answer, what they do adds up, and what they say is logged by name", async () => {
  const lines: Record<string, unknown>[] = [];
  configureLogging({ format: "json", write: (line) => lines.push(JSON.parse(line)) });
  let rows = 0;
  const partitions = new Map<number, number>();
  try {
    await withPeers({ engine: { partitions: 2 } }, async (query, url) => {
      assert.deepEqual(
        query.services().map(({ url: each, peer, partition, state }) => [
          each === url,
          peer,
          partition,
          state,
        ]),
        [0, 1, 2].flatMap((peer) => [0, 1].map((partition) => [true, peer, partition, "ready"])),
      );
      const pids = await pidsOf(url, 3);
      assert.equal(new Set([...pids, Deno.pid]).size, 4);
      const before = 60;
      for (let n = 0; n < before; n++) await ask(url);
      const saying = await ask(url, "log");
      await ask(url, "print");
      await ask(url, "complain");
      const has = (part: Record<string, unknown>) =>
        lines.find((line) => Object.entries(part).every(([key, value]) => line[key] === value));
      await until(
        "all is logged",
        () =>
          has({ message: "A complaint", level: "WARN", stream: "stderr" }) !== undefined &&
          has({ message: "A printed line", level: "INFO", stream: "stdout" }) !== undefined,
      );
      const peer = Number(saying.split(" ")[0]);
      const line = has({ message: "A line {of} the log" });
      assert.deepEqual(
        [line?.["peer"], line?.["answer"], line?.["level"], line?.["logger"]],
        [peer, 42, "WARN", `millrace.api.peer ${peer}`],
      );
      // Reports come a few times a second.
      await until("all is reported", () => {
        const done = [...partitions.values()].reduce((sum, each) => sum + each, 0);
        return rows >= before + 3 && done === rows;
      });
      assert.equal(partitions.size, 6);
      assert.ok([...partitions.values()].filter((each) => each > 0).length >= 3);
      assert.deepEqual(
        query.recentProgress.map(({ batchId }) => batchId),
        query.recentProgress.map((_, index) => index),
      );
    }, (query) => {
      rows += query.lastProgress!.numInputRows;
      for (const { partition, numBatches } of query.lastProgress!.partitions) {
        partitions.set(partition, numBatches);
      }
    });
  } finally {
    resetSync();
  }
});

Deno.test("each peer that is killed comes back, and the others answer meanwhile", async () => {
  await withPeers({}, async (query, url) => {
    for (let peer = 0; peer < 3; peer++) {
      const pids = await pidsOf(url, 3);
      // A connection to each of the others.
      const connections = new Map<number, HttpConnection>();
      while (connections.size < 2) {
        const connection = await HttpConnection.open(url);
        const [other] = textOf(await connection.post("")).split(" ").map(Number);
        if (other === peer || connections.has(other!)) connection.close();
        else connections.set(other!, connection);
      }
      Deno.kill(pids[peer]!, "SIGKILL");
      const isBack = () =>
        query.services().length === 3 && query.status.workerRestarts === peer + 1;
      await until(`peer ${peer} is back`, async () => {
        for (const [other, connection] of connections) {
          assert.equal(textOf(await connection.post("")), `${other} ${pids[other]}`);
        }
        return isBack();
      });
      for (const connection of connections.values()) connection.close();
      const now = await pidsOf(url, 3);
      assert.deepEqual(
        now.map((pid, each) => pid === pids[each]),
        [0, 1, 2].map((p) => p !== peer),
      );
    }
  });
});

for (const peer of [0, 2]) {
  Deno.test(`the query fails when peer ${peer} cannot start, and says why`, async () => {
    const plan = await planOf({ transforms: [["peer", { failingPeer: peer }]] });
    const query = new StreamingQuery("api", plan, newHost());
    await assert.rejects(query.ready, {
      name: "StreamingQueryException",
      message: `Query "api" failed: peer ${peer} was told to fail`,
    });
    await assert.rejects(query.awaitTermination());
    assert.equal(query.isActive, false);
  });
}

Deno.test("a peer that hangs is replaced", async () => {
  const plan = await planOf({ peers: 2 });
  const warnings: string[] = [];
  const logger: PluginLogger = {
    debug: () => {},
    info: () => {},
    warn: (message) => void warnings.push(message),
    error: () => {},
  };
  const execution = new PeersExecution({
    plan,
    logger,
    progress: () => {},
    fatal: (error) => assert.fail(error),
  }, { timings: { ...PEER_TIMINGS, ping: 100, silence: 1_500 }, logger: () => logger });
  try {
    await execution.start();
    const [first, second] = execution.pids();
    Deno.kill(second!, "SIGSTOP");
    await until("it is replaced", () => {
      const pid = execution.pids()[1];
      return pid !== undefined && pid !== second;
    });
    assert.equal(execution.pids()[0], first);
    assert.equal(isAlive(second!), false);
    assert.match(warnings.join("\n"), /Peer 1 was lost: it did not answer for 1500 ms/);
  } finally {
    await execution.close(0);
  }
});

Deno.test("peers are restarted one after another under load, and no request fails", async () => {
  await withPeers({}, async (query, url) => {
    const before = await pidsOf(url, 3);
    const clients = load(url, 8);
    await until("the load runs", () => clients.answered > 200);
    const states = new Set<string>();
    const watch = setInterval(() => {
      for (const { state } of query.services()) states.add(state);
    }, 20);
    await query.restart();
    clearInterval(watch);
    const { answered, failures } = await clients.stop();
    assert.deepEqual(failures, [], `${answered} were answered`);
    const after = await pidsOf(url, 3);
    assert.deepEqual(before.filter((pid) => after.includes(pid)), []);
    assert.deepEqual(before.filter(isAlive), []);
    assert.deepEqual([...states].toSorted(), ["ready", "stopping"]);
    assert.equal(query.status.workerRestarts, 0);
  });
});

Deno.test("behind the balancer a restart loses no request, over new connections too", async () => {
  const setup = {
    peers: 2,
    source: { shared: false, port: freePort() },
    engine: { balancer: { host: "127.0.0.1", port: 0 } },
  };
  await withPeers(setup, async (query, url) => {
    assert.deepEqual(query.services().map(({ peer, partition }) => [peer, partition]), [
      [-1, -1],
      [0, 0],
      [1, 0],
    ]);
    assert.equal(new Set(query.services().map(({ port }) => port)).size, 3);
    const before = await pidsOf(url, 2);
    const clients = load(url, 8);
    const failures: string[] = [];
    let isOver = false;
    const fresh = (async () => {
      while (!isOver) await ask(url).catch((error) => failures.push(String(error)));
    })();
    await until("the load runs", () => clients.answered > 200);
    await query.restart();
    isOver = true;
    await fresh;
    const result = await clients.stop();
    assert.deepEqual([...result.failures, ...failures], [], `${result.answered} were answered`);
    const after = await pidsOf(url, 2);
    assert.deepEqual(before.filter((pid) => after.includes(pid)), []);
  });
});

Deno.test("a stop answers what has been accepted, by all peers", async () => {
  await using gate = new Gate();
  const { gate: options } = gate.transform;
  const setup = { transforms: [["gate", options], ["peer", {}]] as [string, Json][] };
  await withPeers(setup, async (query, url) => {
    const connections = await Promise.all(
      Array.from({ length: 12 }, () => HttpConnection.open(url)),
    );
    const answers = connections.map(async (connection, n) => {
      await connection.send(connection.request("POST", String(n)));
      return await connection.receive();
    });
    // Each partition is held up with its first batch.
    await gate.rows(3);
    const stopped = query.stop();
    await until(
      "all say that they stop",
      () => query.services().every(({ state }) => state === "stopping"),
    );
    assert.equal(query.services().length, 3);
    gate.open();
    for (const [n, answer] of (await Promise.all(answers)).entries()) {
      // What had not been read yet may be refused, or never be read.
      if (gate.arrived.includes(String(n))) assert.equal(answer?.status, 200);
      else assert.ok(answer === undefined || answer.status === 503);
    }
    assert.ok(gate.arrived.length >= 3);
    await stopped;
    for (const connection of connections) connection.close();
    await assert.rejects(HttpConnection.open(url), Deno.errors.ConnectionRefused);
  });
});

Deno.test("a plan with peers or balancer takes a source in the partitions", async () => {
  const draft = (engine: Record<string, Json>, source = "http") => ({
    name: "api",
    source: { name: source, options: {} },
    transforms: [],
    sink: { name: "http", options: { replyCol: "value" } },
    engine,
    plugins: [],
    baseUrl: "file:///",
  });
  const remedy = 'it lives on the head; use a source in the partitions, such as "distributed_http"';
  await assert.rejects(makePlan(draft({ peers: 2 }), new Registry(builtins)), {
    message: `Cannot run source "http" in 2 peers: ${remedy}`,
    path: ["peers"],
  });
  const balancer = { port: 0 };
  await assert.rejects(makePlan(draft({ balancer }), new Registry(builtins)), {
    message: `Cannot put a balancer in front of source "http": ${remedy}`,
    path: ["balancer"],
  });
  await assert.rejects(makePlan(draft({ balancer }, "distributed_http"), new Registry(builtins)), {
    message:
      "Cannot put a balancer in front of one port that all partitions share: set shared: false",
    path: ["source", "distributed_http", "shared"],
  });
});

Deno.test("the fluent API takes peers, and only a query with peers can be restarted", async () => {
  const session = new Session();
  const start = (name: string, format: string, peers: Record<string, Json>) =>
    session.readStream.format(format).option("host", "127.0.0.1").option("port", 0)
      .option("name", name).options(peers).load()
      .writeStream.format("http").option("replyCol", "value").queryName(name).start();
  const query = start("a", "distributed_http", { peers: 1 });
  const without = start("b", "http", {});
  try {
    await Promise.all([query.ready, without.ready]);
    assert.equal(await ask(query.services()[0]!.url, "hello"), "hello");
    await assert.rejects(without.restart(), {
      message: 'Cannot restart query "b": it has no peers; set "peers"',
    });
  } finally {
    await session.stop({ now: true });
  }
  await assert.rejects(query.restart(), {
    message: 'Cannot restart query "a": it is ended, wanted running',
  });
});

const CONFIG = `services:
  - name: api
    source: { distributed_http: { host: 127.0.0.1, port: 0, name: api } }
    sink: { http: { replyCol: value } }
`;

Deno.test("run --peers serves, tells on the admin port what runs, and restarts at SIGHUP", async () => {
  await withFiles({ "a.yaml": CONFIG }, async (path) => {
    const io = new TestIo();
    const ended = runCli(["run", "--peers", "2", "--admin-port", "0", path("a.yaml")], io);
    await io.until(({ stdout }) => stdout.includes("curl"));
    const url = /ready at (\S+)/.exec(io.stdout)![1]!;
    const admin = /admin listener is at (http:[\d./:]+\d)/.exec(io.stderr)![1]!;
    const { code, stdout } = await call(["services", "--admin", admin]);
    const { port } = new URL(url);
    assert.equal(code, 0);
    assert.deepEqual(stdout.trimEnd().split("\n").map((line) => line.split(/\s+/)), [
      ["QUERY", "SERVICE", "PEER", "PARTITION", "STATE", "HOST", "PORT", "PATH"],
      ["api", "api", "0", "0", "ready", "127.0.0.1", port, "/api"],
      ["api", "api", "1", "0", "ready", "127.0.0.1", port, "/api"],
    ]);
    const json = JSON.parse((await call(["services", "--admin", admin, "--json"])).stdout);
    assert.deepEqual(json[1], {
      query: "api",
      name: "api",
      url,
      host: "127.0.0.1",
      port: Number(port),
      path: "/api",
      peer: 1,
      partition: 0,
      state: "ready",
    });
    const get = async (door: string) => {
      const response = await fetch(`${admin}/${door}`);
      return [response.status, await response.text()] as const;
    };
    assert.deepEqual(await get("healthz"), [200, "ok"]);
    assert.deepEqual(await get("readyz"), [200, "ready"]);
    const [query] = JSON.parse((await get("queries"))[1]).queries;
    assert.deepEqual([query.name, query.isActive, query.status.isTriggerActive], [
      "api",
      true,
      true,
    ]);
    assert.equal((await get("nowhere"))[0], 404);
    io.hangUp();
    await io.until(({ stderr }) => stderr.includes("All peers are restarted"));
    assert.equal(await ask(url, "hello"), "hello");
    io.signal();
    assert.equal(await ended, 0);
    const gone = await call(["services", "--admin", admin]);
    assert.equal(gone.code, 1);
    assert.match(gone.stderr, /^error: Cannot ask "http:.*start `millrace run --admin-port`/);
  });
});

const main = new URL("../main.ts", import.meta.url).pathname;
const binary = new URL("../dist/millrace", import.meta.url).pathname;
const programs: { name: string; command: readonly string[] }[] = [
  { name: "the program", command: [Deno.execPath(), "run", "-A", "--no-check", main] },
  { name: "the compiled binary", command: [binary] },
];

/** Why a program cannot be tested; undefined when it can. */
async function missing([program, ...args]: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout } = await new Deno.Command(program!, { args: [...args, "run", "--help"] })
      .output();
    const help = new TextDecoder().decode(stdout);
    return help.includes("--peers") ? undefined : `${program} is older than peers`;
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? `there is no ${program}` : String(error);
  }
}

for (const { name, command } of programs) {
  const why = await missing(command);
  const title = `${name}: SIGKILL of the supervisor leaves no orphans, SIGTERM ends all well`;
  if (why !== undefined) console.log(`Skipped: "${title}": ${why}`);
  Deno.test({ name: title, ignore: why !== undefined }, async () => {
    await withFiles({ "a.yaml": CONFIG }, async (path) => {
      for (const signal of ["SIGKILL", "SIGTERM"] as const) {
        const [program, ...args] = command;
        const supervisor = new Deno.Command(program!, {
          args: [...args, "run", "--peers", "3", path("a.yaml")],
          stdout: "piped",
          stderr: "piped",
        }).spawn();
        let log = "";
        const logged = (async () => {
          for await (const text of supervisor.stderr.pipeThrough(new TextDecoderStream())) {
            log += text;
          }
        })();
        const reader = supervisor.stdout.pipeThrough(new TextDecoderStream()).getReader();
        let out = "";
        while (!out.includes("curl")) {
          const { value, done } = await reader.read();
          if (done) break;
          out += value;
        }
        const url = /ready at (\S+)/.exec(out)?.[1];
        assert.ok(url !== undefined, out + log);
        assert.equal(await ask(url, "hello"), "hello");
        const pids = [...log.matchAll(/"pid":(\d+)/g)].map(([, pid]) => Number(pid));
        assert.equal(pids.length, 3);
        assert.deepEqual(pids.map(isAlive), [true, true, true]);
        supervisor.kill(signal);
        const { code } = await supervisor.status;
        await until("all peers are gone", () => !pids.some(isAlive), 2_000);
        if (signal === "SIGTERM") assert.equal(code, 0);
        await reader.cancel();
        await logged;
      }
    });
  });
}
