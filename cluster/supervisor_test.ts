import assert from "node:assert/strict";
import type { Plan } from "../engine/plan.ts";
import { DEFAULT_BATCHING } from "../engine/plan.ts";
import type { BatchRecord } from "../engine/progress.ts";
import type { PluginLogger, ServiceInfo } from "../plugins/contract.ts";
import type { Clock } from "./clock.ts";
import type { PeerProcess, PeerProcessEvents } from "./peer_process.ts";
import type { PeerInit, ToPeer } from "./peer_protocol.ts";
import { PEER_TIMINGS, PeersExecution } from "./supervisor.ts";

/** Time that passes when it is told to. */
class FakeClock implements Clock {
  #now = 0;
  #calls: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const call = { at: this.#now + ms, callback };
    this.#calls.push(call);
    return () => this.#calls = this.#calls.filter((each) => each !== call);
  }

  /** Makes time pass, and lets everybody react to what happens on the way. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const next = this.#calls.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#calls = this.#calls.filter((each) => each !== next);
      this.#now = next.at;
      next.callback();
    }
    this.#now = end;
  }

  /** The process sleeps, and all that is due comes late. */
  skip(ms: number): void {
    this.#now += ms;
  }
}

/** Resolves when all that follows without time has happened. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A process in the hands of the test. */
class FakePeer implements PeerProcess {
  readonly received: ToPeer[] = [];
  isAlive = true;
  answersPings = true;
  /** What it does when it is told to drain and to close. */
  isObedient = true;

  constructor(readonly pid: number, readonly events: PeerProcessEvents) {}

  get init(): PeerInit {
    return this.received[0] as PeerInit;
  }

  send(message: ToPeer): void {
    this.received.push(message);
    if (!this.isAlive) return;
    if (message.type === "ping" && this.answersPings) {
      this.events.message({ type: "pong", restarts: 0, queueLength: 0 });
    }
    if (!this.isObedient) return;
    if (message.type === "drain") this.events.message({ type: "drained" });
    if (message.type === "close") queueMicrotask(() => this.exit("it exited with code 0"));
  }

  kill(): void {
    queueMicrotask(() => this.exit("it was ended by SIGKILL"));
  }

  exit(why: string): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.events.exited(why);
  }

  /** `port`: its own, or that of all. */
  ready(port = 8888): void {
    const { peer } = this.init;
    const path = "/api";
    this.events.message({
      type: "ready",
      services: [{
        name: "api",
        url: `http://h:${port}${path}`,
        host: "h",
        port,
        path,
        peer,
        partition: 0,
        state: "ready",
      }],
    });
  }

  has(type: ToPeer["type"]): boolean {
    return this.received.some((message) => message.type === type);
  }
}

function supervise(peers: number, partitions = 1) {
  const clock = new FakeClock();
  const launched: FakePeer[] = [];
  const lines: string[] = [];
  const fatal: string[] = [];
  const records: BatchRecord[] = [];
  let changes = 0;
  const at = (level: string) => (message: string) => void lines.push(`${level}: ${message}`);
  const logger: PluginLogger = {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
  };
  const plan: Plan = {
    version: 1,
    name: "api",
    source: { name: "distributed_http", options: {} },
    transforms: [],
    sink: { name: "http", options: {} },
    partitions,
    peers,
    trigger: { continuous: true },
    batching: DEFAULT_BATCHING,
    plugins: [],
    baseUrl: "file:///",
  };
  const execution = new PeersExecution({
    plan,
    logger,
    progress: (record) => records.push(record),
    fatal: (error) => fatal.push(error.message),
    servicesChanged: () => changes++,
  }, {
    clock,
    logger: () => logger,
    launch: (events) => {
      const peer = new FakePeer(launched.length + 100, events);
      launched.push(peer);
      return peer;
    },
  });
  return { clock, launched, lines, fatal, records, execution, changes: () => changes };
}

type Supervised = ReturnType<typeof supervise>;

/** Starts all peers. */
async function serve(peers: number, ports: (peer: number) => number = () => 8888) {
  const supervised = supervise(peers);
  const { execution, launched } = supervised;
  const started = execution.start();
  launched[0]!.ready(ports(0));
  await settle();
  for (const [peer, each] of launched.entries()) if (peer > 0) each.ready(ports(peer));
  await started;
  return supervised;
}

const stop = ({ execution }: Supervised) => execution.close(0);
const listed = ({ execution }: Supervised) =>
  execution.services().map(({ peer, port, state }) => `${peer}:${port} ${state}`);

Deno.test("the first peer starts alone, the others are told where it listens", async () => {
  const supervised = supervise(3);
  const { execution, launched } = supervised;
  let isReady = false;
  const started = execution.start().then(() => isReady = true);
  await settle();
  assert.deepEqual(launched.map(({ init }) => [init.peer, init.siblings]), [[0, []]]);
  launched[0]!.ready(9001);
  await settle();
  assert.deepEqual(
    launched.slice(1).map(({ init }) => [init.peer, init.siblings.map(({ port }) => port)]),
    [[1, [9001]], [2, [9001]]],
  );
  launched[2]!.ready(9001);
  await settle();
  assert.equal(isReady, false);
  launched[1]!.ready(9001);
  await started;
  assert.deepEqual(listed(supervised), ["0:9001 ready", "1:9001 ready", "2:9001 ready"]);
  await stop(supervised);
  assert.deepEqual(launched.map(({ isAlive }) => isAlive), [false, false, false]);
});

Deno.test("a start fails at once with what the peer says is wrong", async () => {
  const supervised = supervise(2);
  const { execution, launched } = supervised;
  const started = execution.start();
  launched[0]!.ready();
  await settle();
  launched[1]!.events.message({
    type: "init_failed",
    error: { name: "PlanError", message: "no such file", path: ["transforms", 0] },
  });
  launched[1]!.exit("it exited with code 1");
  await assert.rejects(started, {
    name: "PlanError",
    message: "no such file",
    path: ["transforms", 0],
  });
  await stop(supervised);
  assert.equal(launched[0]!.isAlive, false);
});

Deno.test("a peer that dies is started again with growing pauses, and the query gives up after 5 times", async () => {
  const supervised = await serve(2);
  const { clock, launched, fatal, lines } = supervised;
  await clock.pass(PEER_TIMINGS.steady);
  launched[1]!.exit("it was ended by SIGKILL");
  // It ran well, so there is no pause.
  assert.equal(launched.length, 3);
  assert.deepEqual(listed(supervised), ["0:8888 ready"]);
  for (const [position, pause] of [100, 200, 400, 800].entries()) {
    launched.at(-1)!.exit("it exited with code 7");
    await clock.pass(pause - 1);
    assert.equal(launched.length, 3 + position);
    await clock.pass(1);
    assert.equal(launched.length, 4 + position);
    assert.equal(launched.at(-1)!.init.peer, 1);
  }
  assert.deepEqual(fatal, []);
  launched.at(-1)!.exit("it exited with code 7");
  assert.deepEqual(fatal, [
    "Cannot start peer 1: 5 tries failed, the last with: it exited with code 7",
  ]);
  assert.ok(
    lines.includes("warn: Peer 1 was lost: it was ended by SIGKILL; it is started again now"),
  );
  assert.ok(
    lines.includes(
      "warn: Peer 1 did not get ready: it exited with code 7; it is started again in 800 ms",
    ),
  );
  await stop(supervised);
});

Deno.test("being ready resets the count of failures, running well the pause", async () => {
  const supervised = await serve(1);
  const { clock, launched, fatal, execution } = supervised;
  for (let round = 0; round < 20; round++) {
    launched.at(-1)!.exit("it was ended by SIGSEGV");
    await clock.pass(PEER_TIMINGS.maxBackOff);
    launched.at(-1)!.ready();
    await settle();
  }
  assert.equal(launched.length, 21);
  assert.equal(execution.restarts(), 20);
  // It comes back to the port that it had, though nobody else holds it.
  assert.deepEqual(launched.at(-1)!.init.siblings.map(({ port }) => port), [8888]);
  launched.at(-1)!.exit("early");
  await clock.pass(PEER_TIMINGS.maxBackOff - 1);
  assert.equal(launched.length, 21);
  await clock.pass(1);
  launched.at(-1)!.ready();
  await clock.pass(PEER_TIMINGS.steady);
  launched.at(-1)!.exit("late");
  assert.equal(launched.length, 23);
  assert.deepEqual(fatal, []);
  await stop(supervised);
});

Deno.test("a peer that hangs is killed and replaced; one that answers is not", async () => {
  const supervised = await serve(2);
  const { clock, launched, lines } = supervised;
  launched[0]!.answersPings = false;
  await clock.pass(PEER_TIMINGS.silence + 2 * PEER_TIMINGS.ping);
  assert.deepEqual(launched.map(({ isAlive }) => isAlive), [false, true, true]);
  assert.equal(launched[2]!.init.peer, 0);
  assert.ok(
    lines.some((line) => line.includes("Peer 0 was lost: it did not answer for 5000 ms")),
    lines.join("\n"),
  );
  await stop(supervised);
});

Deno.test("a machine that has slept does not blame its peers", async () => {
  const supervised = await serve(2);
  const { clock, launched } = supervised;
  await clock.pass(PEER_TIMINGS.ping);
  clock.skip(3_600_000);
  await clock.pass(10 * PEER_TIMINGS.ping);
  assert.equal(launched.length, 2);
  await stop(supervised);
});

Deno.test("a replacement that never gets ready is ended, and counts as a failure", async () => {
  const supervised = await serve(1);
  const { clock, launched, lines } = supervised;
  launched[0]!.exit("gone");
  await clock.pass(PEER_TIMINGS.backOff);
  assert.equal(launched.length, 2);
  await clock.pass(PEER_TIMINGS.start + 2 * PEER_TIMINGS.ping);
  assert.equal(launched[1]!.isAlive, false);
  assert.ok(
    lines.some((line) => line.includes("it was not ready within 60000 ms")),
    lines.join("\n"),
  );
  await stop(supervised);
});

Deno.test("a permanent error of a peer ends the query", async () => {
  const supervised = await serve(2);
  const { launched, fatal } = supervised;
  launched[1]!.events.message({
    type: "fatal",
    error: { name: "Permanent", message: "disk full" },
  });
  assert.deepEqual(fatal, ["disk full"]);
  await stop(supervised);
});

Deno.test("progress of all peers is counted by partition, across restarts", async () => {
  const supervised = supervise(2, 2);
  const { execution, launched, records } = supervised;
  const started = execution.start();
  launched[0]!.ready();
  await settle();
  launched[1]!.ready();
  await started;
  const record: BatchRecord = {
    batchId: 0,
    began: 0,
    batchDuration: 1,
    numInputRows: 3,
    numOutputRows: 3,
    queueLength: 0,
    durationMs: {},
  };
  const report = (peer: FakePeer, ...partitionBatches: number[]) =>
    peer.events.message({ type: "report", record, partitionBatches });
  report(launched[0]!, 1, 2);
  report(launched[1]!, 0, 4);
  report(launched[1]!, 5, 4);
  assert.deepEqual(execution.partitionBatches(), [1, 2, 5, 4]);
  launched[1]!.exit("gone");
  assert.deepEqual(execution.partitionBatches(), [1, 2, 5, 4]);
  await supervised.clock.pass(PEER_TIMINGS.backOff);
  report(launched[2]!, 1, 0);
  assert.deepEqual(execution.partitionBatches(), [1, 2, 6, 4]);
  assert.deepEqual(records.map(({ batchId }) => batchId), [0, 1, 2, 3]);
  assert.throws(() => execution.replacePartition(4), /there are 4, from 0/);
  execution.replacePartition(1);
  assert.deepEqual(launched[0]!.received.at(-1), { type: "replace_partition", partition: 1 });
  await stop(supervised);
});

Deno.test("on a shared port a restart starts the new peer before it ends the old one", async () => {
  const supervised = await serve(2);
  const { execution, launched } = supervised;
  const restarted = execution.restart();
  assert.equal(execution.restart(), restarted);
  await settle();
  assert.equal(launched.length, 3);
  assert.equal(launched[0]!.has("drain"), false);
  launched[0]!.isObedient = false;
  launched[2]!.ready();
  await settle();
  assert.deepEqual(launched[0]!.received.at(-1), { type: "drain", handOver: true });
  assert.deepEqual(listed(supervised), ["0:8888 stopping", "0:8888 ready", "1:8888 ready"]);
  launched[0]!.events.message({ type: "drained" });
  await settle();
  assert.equal(launched[0]!.has("close"), true);
  assert.equal(launched.length, 3);
  launched[0]!.exit("it exited with code 0");
  await settle();
  assert.equal(launched[3]!.init.peer, 1);
  launched[3]!.ready();
  await restarted;
  assert.deepEqual(launched.map(({ isAlive }) => isAlive), [false, false, true, true]);
  assert.equal(execution.restarts(), 0);
  await stop(supervised);
});

Deno.test("with ports of their own a restart ends the old peer first, so that its port is free", async () => {
  const supervised = await serve(2, (peer) => 9000 + peer);
  const { execution, launched } = supervised;
  const restarted = execution.restart();
  await settle();
  assert.equal(launched[0]!.isAlive, false);
  assert.deepEqual(listed(supervised), ["1:9001 ready"]);
  launched[2]!.ready(9000);
  await settle();
  launched[3]!.ready(9001);
  await restarted;
  assert.deepEqual(listed(supervised), ["0:9000 ready", "1:9001 ready"]);
  await stop(supervised);
});

Deno.test("a replacement that cannot start leaves the old peer as it was", async () => {
  const supervised = await serve(2);
  const { execution, launched, fatal } = supervised;
  const restarted = execution.restart();
  await settle();
  launched[2]!.events.message({
    type: "init_failed",
    error: { name: "Error", message: "broken plugin" },
  });
  launched[2]!.exit("it exited with code 1");
  await assert.rejects(restarted, {
    message: "Cannot restart peer 0: broken plugin; it goes on as it was",
  });
  assert.deepEqual(listed(supervised), ["0:8888 ready", "1:8888 ready"]);
  assert.equal(launched.length, 3);
  // The next restart begins anew.
  const again = execution.restart();
  await settle();
  launched[3]!.ready();
  await settle();
  launched[4]!.ready();
  await again;
  assert.deepEqual(fatal, []);
  await stop(supervised);
});

Deno.test("a peer that dies while its replacement starts is replaced by it, or by another", async () => {
  const supervised = await serve(2);
  const { execution, launched } = supervised;
  const restarted = execution.restart();
  await settle();
  launched[0]!.exit("it was ended by SIGKILL");
  await settle();
  assert.equal(launched.length, 3);
  launched[2]!.exit("it was ended by SIGKILL");
  await assert.rejects(restarted, /Cannot restart peer 0/);
  assert.equal(launched.length, 4);
  launched[3]!.ready();
  await settle();
  assert.deepEqual(listed(supervised).toSorted(), ["0:8888 ready", "1:8888 ready"]);
  await stop(supervised);
});

Deno.test("a stop drains all at once, and kills after a time those that do not end", async () => {
  const supervised = await serve(2);
  const { execution, launched, clock } = supervised;
  for (const peer of launched) peer.isObedient = false;
  let isDrained = false;
  const drained = execution.drain().then(() => isDrained = true);
  assert.deepEqual(launched.map((peer) => peer.received.at(-1)!.type), ["drain", "drain"]);
  assert.deepEqual(listed(supervised), ["0:8888 stopping", "1:8888 stopping"]);
  launched[0]!.events.message({ type: "drained" });
  await clock.pass(60_000);
  assert.equal(isDrained, false);
  await clock.pass(PEER_TIMINGS.drainGrace);
  await drained;
  assert.deepEqual(launched.map(({ isAlive }) => isAlive), [true, false]);
  const closed = execution.close(2_000);
  await clock.pass(2_000 + PEER_TIMINGS.exit);
  await closed;
  assert.deepEqual(launched.map(({ isAlive }) => isAlive), [false, false]);
  assert.equal(launched.length, 2);
});

Deno.test("a stop in the middle of a start and of a restart leaves nothing behind", async () => {
  const starting = supervise(2);
  const started = starting.execution.start();
  const failed = assert.rejects(started, /The query was stopped/);
  await stop(starting);
  await failed;
  assert.deepEqual(starting.launched.map(({ isAlive }) => isAlive), [false]);
  const serving = await serve(2);
  const restarted = serving.execution.restart();
  const broken = assert.rejects(restarted, /Cannot restart peer 0|Cannot go on/);
  await settle();
  await serving.execution.drain();
  await stop(serving);
  await broken;
  assert.deepEqual(serving.launched.map(({ isAlive }) => isAlive), [false, false, false]);
});

Deno.test("what peers log and print comes out under their names; changes of services are told", async () => {
  const supervised = await serve(2);
  const { launched, lines, changes } = supervised;
  const before = changes();
  launched[1]!.events.message({ type: "log", level: "warn", message: "slow", properties: {} });
  launched[1]!.events.text("stdout", "printed");
  launched[1]!.events.text("stderr", "complained");
  assert.deepEqual(lines.slice(-3), ["warn: slow", "info: printed", "warn: complained"]);
  const services: ServiceInfo[] = [];
  launched[1]!.events.message({ type: "services", services });
  assert.equal(changes(), before + 1);
  assert.deepEqual(listed(supervised), ["0:8888 ready"]);
  await stop(supervised);
});
