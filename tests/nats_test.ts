/**
 * Clusters over real NATS servers: who is there, who leads, whose plan counts, and what becomes of it all
 * when servers, processes and networks fail.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as v from "valibot";
import { CLUSTER_SCHEMA } from "../cluster/cluster_options.ts";
import { Membership } from "../cluster/membership.ts";
import type { Json } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { makePlan } from "../engine/make_plan.ts";
import type { Plan } from "../engine/plan.ts";
import { Session } from "../engine/session.ts";
import { freePort } from "./free_port.ts";
import { NatsServer, NO_NATS, skipped, until, whyNot } from "./nats_server.ts";

const HEARTBEAT_MS = 100, EXPIRY_MS = 1_000;
const ignore = () => {};
const silent = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** Memberships of one cluster, left at the end of the test. */
class Members implements AsyncDisposable {
  readonly #servers: readonly string[];
  readonly #joined: Membership[] = [];

  constructor(...servers: readonly NatsServer[]) {
    this.#servers = servers.map(({ address }) => address);
  }

  options(peerName: string, nats: Record<string, unknown> = {}) {
    return v.parse(CLUSTER_SCHEMA, {
      nats: { name: "tests", servers: this.#servers, ...nats },
      peerName,
      heartbeatMs: HEARTBEAT_MS,
      expiryMs: EXPIRY_MS,
    });
  }

  async join(peerName: string): Promise<Membership> {
    const membership = await Membership.join(this.options(peerName), silent);
    this.#joined.push(membership);
    return membership;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#joined.map((membership) => membership.leave()));
  }
}

/** A plan of the service `api`, which answers with a column. */
async function planOf(session: Session, replyCol: string, cluster?: object): Promise<Plan> {
  return await makePlan({
    name: "api",
    source: { name: "distributed_http", options: { host: "127.0.0.1", port: 0 } },
    transforms: [{ name: "with_column", options: { [replyCol]: "upper(value)" } }],
    sink: { name: "http", options: { replyCol } },
    engine: {},
    plugins: [],
    baseUrl: import.meta.url,
    ...(cluster === undefined ? {} : { cluster: JSON.parse(JSON.stringify(cluster)) }),
  }, session.newRegistry());
}

function namesOf(membership: Membership): string[] {
  return membership.members().map(({ peer }) => peer);
}

async function sees(membership: Membership, ...names: string[]): Promise<void> {
  await until(
    `"${membership.peer}" to see ${names}, sees ${namesOf(membership)}`,
    () => namesOf(membership).join() === names.join(),
  );
}

function test(name: string, run: (server: NatsServer) => Promise<void>): void {
  Deno.test(`cluster over NATS: ${name}`, skipped(NO_NATS), async () => {
    await using server = await NatsServer.start();
    await run(server);
  });
}

/** A process that runs a config. */
class Process implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #directory: string;
  #output = "";
  #isKilled = false;

  constructor(config: object, prefix: readonly string[] = []) {
    this.#directory = Deno.makeTempDirSync({ prefix: "millrace-nats-test-" });
    const file = `${this.#directory}/config.json`;
    Deno.writeTextFileSync(file, JSON.stringify(config));
    const main = new URL("../main.ts", import.meta.url).pathname;
    const [program, ...args] = [
      ...prefix,
      ...[Deno.execPath(), "run", "-A", "--no-check", "--unstable-net", main, "run", file],
    ];
    this.#child = new Deno.Command(program!, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.pipeThrough(new TextDecoderStream()).pipeTo(
        new WritableStream({
          write: (text) => {
            this.#output += text;
          },
        }),
      ).catch(ignore);
    }
  }

  async ready(): Promise<void> {
    await until(
      "a service",
      () => {
        if (this.#output.includes("is ready at")) return true;
        if (this.#isKilled || /failed/.test(this.#output)) throw new Error(this.#output);
        return false;
      },
      60_000,
    );
  }

  /** Lets the process do nothing until {@linkcode Process.go}. */
  stop(): void {
    this.#child.kill("SIGSTOP");
  }

  go(): void {
    this.#child.kill("SIGCONT");
  }

  /** Resolves with what the process has said, when that is that its query failed. */
  async failure(): Promise<string> {
    await until("a failure", () => /failed: .*\n/.test(this.#output));
    return this.#output;
  }

  async kill(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    if (this.#isKilled) return;
    this.#isKilled = true;
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#directory, { recursive: true });
  }
}

function configOf(cluster: object, port: number, host = "127.0.0.1"): object {
  return {
    services: [{
      name: "api",
      source: { distributed_http: { host, port } },
      transforms: [{ with_column: { up: "upper(value)" } }],
      sink: { http: { replyCol: "up" } },
    }],
    cluster: JSON.parse(JSON.stringify(cluster)),
  };
}

async function ask(url: string, body: string = "hello"): Promise<string> {
  const signal = AbortSignal.timeout(5_000);
  return await (await fetch(url, { method: "POST", body, signal })).text();
}

async function statusOf(url: string, body: string): Promise<number> {
  const response = await fetch(url, { method: "POST", body, signal: AbortSignal.timeout(5_000) });
  await response.body?.cancel();
  return response.status;
}

test("members see each other come and go", async (server) => {
  await using members = new Members(server);
  const a = await members.join("a");
  const seen: string[] = [];
  a.listen({
    joined: ({ peer, pid }) => seen.push(`joined ${peer} ${pid === Deno.pid}`),
    left: ({ peer }, why) => seen.push(`left ${peer} ${why}`),
  });
  const b = await members.join("b");
  assert.deepEqual(namesOf(b), ["a", "b"]);
  await sees(a, "a", "b");
  await b.leave();
  await sees(a, "a");
  assert.deepEqual(seen, ["joined b true", "left b deleted"]);
});

test("a name is one process's", async (server) => {
  await using members = new Members(server);
  await members.join("a");
  await assert.rejects(members.join("a"), (error: PlanError) => {
    assert.match(
      error.message,
      /as "a": process \d+ on ".+" has that name; change cluster.peerName/,
    );
    assert.deepEqual(error.path, ["cluster", "peerName"]);
    return true;
  });
});

test("a process that was killed is missed, and its name is free again", async (server) => {
  await using members = new Members(server);
  const a = await members.join("a");
  let why: string | undefined;
  a.listen({ left: (_, reason) => why = reason });
  const port = freePort();
  {
    await using process = new Process(configOf(members.options("b"), port));
    await process.ready();
    await sees(a, "a", "b");
    assert.deepEqual(a.services("api").map(({ member, port }) => ({ member, port })), [{
      member: "b",
      port,
    }]);
    assert.equal(await ask(`http://127.0.0.1:${port}/api`), "HELLO");
  }
  await sees(a, "a");
  assert.equal(why, "silent");
  await members.join("b");
});

test("a process that is told to stop leaves at once", async (server) => {
  await using members = new Members(server);
  const a = await members.join("a");
  let why: string | undefined;
  a.listen({ left: (_, reason) => why = reason });
  await using process = new Process(configOf(members.options("b"), freePort()));
  await process.ready();
  await sees(a, "a", "b");
  await process.kill("SIGTERM");
  await sees(a, "a");
  assert.equal(why, "deleted");
});

test("all run one plan; another is refused, and takes over when nobody runs the first", async (server) => {
  await using members = new Members(server);
  const [one, two, three] = [new Session(), new Session(), new Session()];
  const first = one.start(await planOf(one, "up", members.options("a")));
  await first.ready;
  const same = two.start(await planOf(two, "up", members.options("b")));
  await same.ready;
  await until("both to be ready", () => {
    const services = first.clusterServices();
    return services.length === 2 && services.every(({ memberState }) => memberState === "ready");
  });
  assert.deepEqual(
    first.clusterServices().map(({ member, memberState }) => [member, memberState]),
    [["a", "ready"], ["b", "ready"]],
  );
  const other = three.start(await planOf(three, "other", members.options("c")));
  await assert.rejects(
    other.ready,
    /Cannot run service "api" in cluster "tests" with plan [\da-f]{12}: "a" runs plan [\da-f]{12}; stop/,
  );
  await one.stop();
  await assert.rejects(
    three.start(await planOf(three, "other", members.options("c"))).ready,
    /"b" runs plan/,
  );
  await two.stop();
  const later = three.start(await planOf(three, "other", members.options("c")));
  await later.ready;
  await three.stop();
});

test("a plan that nobody alive runs is replaced, also after a kill", async (server) => {
  await using members = new Members(server);
  {
    await using process = new Process(configOf(members.options("a"), freePort()));
    await process.ready();
  }
  // At once: those who may still be alive are waited for.
  const session = new Session();
  const query = session.start(await planOf(session, "other", members.options("b")));
  await query.ready;
  await session.stop();
});

test("one leads; another takes over, at once after a good-bye", async (server) => {
  await using members = new Members(server);
  const three = [await members.join("a"), await members.join("b"), await members.join("c")];
  const leading = () => three.filter(({ leadership }) => leadership.isHeld);
  const terms: { token: number; peer: string }[] = [];
  for (let term = 0; term < 3; term++) {
    await until("a leader", () => leading().length === 1);
    const [leader] = leading();
    terms.push({ token: leader!.leadership.token!, peer: leader!.peer });
    await until("all to know", () => three.every((each) => each.leader?.peer === leader!.peer));
    await leader!.leave();
    three.splice(three.indexOf(leader!), 1);
  }
  assert.equal(new Set(terms.map(({ peer }) => peer)).size, 3);
  assert.deepEqual(terms, terms.toSorted((x, y) => x.token - y.token));
});

test("slots are the process's that renews them; they are few, whoever comes and goes", async (server) => {
  await using members = new Members(server);
  const [a, b] = [await members.join("a"), await members.join("b")];
  const ofA = await a.slots("api"), ofB = await b.slots("api");
  assert.deepEqual([ofA.slot, ofB.slot], [0, 1]);
  ofA.isReady = ofB.isReady = true;
  await until("the ring", () => [ofA, ofB].every((each) => each.current().ready.length === 2));
  await until("both", () => ofA.taken.every(({ isReady }) => isReady));
  assert.deepEqual(ofA.taken, [
    { slot: 0, peer: "a", isReady: true },
    { slot: 1, peer: "b", isReady: true },
  ]);
  // Before it goes, a process lets go of new rows.
  ofA.isReady = false;
  await until("the ring", () => ofB.current().ready.length === 1);
  assert.deepEqual(ofB.current().taken, [0, 1]);
  await a.leave();
  await until("the ring", () => ofB.current().taken.length === 1);
  const c = await members.join("c");
  assert.equal((await c.slots("api")).slot, 0);
});

test("a server that dies and comes back: members stay, lead again, serve all the while", async (server) => {
  await using members = new Members(server);
  const [a, b] = [await members.join("a"), await members.join("b")];
  await sees(a, "a", "b");
  const left: string[] = [];
  for (const each of [a, b]) each.listen({ left: ({ peer }) => left.push(peer) });
  const session = new Session();
  const query = session.start(await planOf(session, "up", members.options("q")));
  await query.ready;
  const url = query.services()[0]!.url;
  await until("a leader", () => a.leader !== undefined);
  await server.kill();
  await until("to notice", () => !a.isConnected && !b.isConnected);
  await until("leases to end", () => ![a, b].some(({ leadership }) => leadership.isHeld));
  assert.deepEqual(namesOf(a), ["a", "b", "q"]);
  assert.equal(await ask(url), "HELLO");
  await server.start();
  await until("to be back", () => a.isConnected && b.isConnected);
  await until("a leader", () => a.leader !== undefined && b.leader !== undefined);
  assert.equal(await ask(url), "HELLO");
  assert.deepEqual(namesOf(a), ["a", "b", "q"]);
  assert.deepEqual(left, []);
  await session.stop();
});

test("a server that has lost its disk is filled again", async (server) => {
  await using members = new Members(server);
  const a = await members.join("a");
  const session = new Session();
  const query = session.start(await planOf(session, "up", members.options("q")));
  await query.ready;
  await server.kill();
  await server.forget();
  await server.start();
  await until("to be back", () => a.isConnected);
  await until("all", () => a.services("api").length === 1);
  assert.deepEqual(namesOf(a), ["a", "q"]);
  const other = new Session();
  await assert.rejects(
    other.start(await planOf(other, "other", members.options("b"))).ready,
    /"q" runs plan/,
  );
  await session.stop();
});

test("a process that was cut off while its plan was replaced ends its service", async (server) => {
  await using members = new Members(server);
  await using process = new Process(configOf(members.options("a"), freePort()));
  await process.ready();
  process.stop();
  const session = new Session();
  const query = session.start(await planOf(session, "other", members.options("b")));
  await query.ready;
  process.go();
  // Told by the watch, or by those who run the new plan when the process registers again.
  assert.match(await process.failure(), /has replaced it by plan|runs plan/);
  await session.stop();
});

/** `key/rest` in, `key/rest=count so far of the key in place` out. */
async function countingPlan(session: Session, cluster: object, engine: Record<string, Json> = {}) {
  return await makePlan({
    name: "api",
    source: { name: "distributed_http", options: { host: "127.0.0.1", port: 0, shared: false } },
    transforms: [
      { name: "with_column", options: { key: "split(value, '/')[0]" } },
      { name: "repartition", options: { keys: ["key"] } },
      { name: "map_batches", options: { module: "./modules/running_count.ts" } },
      { name: "with_column", options: { reply: "concat(value, '=', count)" } },
    ],
    sink: { name: "http", options: { replyCol: "reply" } },
    engine: { partitions: 2, ...engine },
    plugins: [],
    baseUrl: new URL(".", import.meta.url).href,
    cluster: JSON.parse(JSON.stringify(cluster)),
  }, session.newRegistry());
}

test("a count by key over three processes is that of one; when one goes, its keys go on elsewhere", async (server) => {
  await using members = new Members(server);
  const sessions = [new Session(), new Session(), new Session()];
  try {
    const queries = await Promise.all(sessions.map(async (session, index) => {
      const query = session.start(await countingPlan(session, members.options("abc"[index]!)));
      await query.ready;
      return query;
    }));
    const watcher = await members.join("watcher");
    const slots = () => watcher.members().length === 4 && watcher.services("api").length === 6;
    await until("all", slots);
    const urls = queries.flatMap((query) => query.services().map(({ url }) => url));
    await until("all to know of all", async () => {
      const keys = Array.from({ length: 8 }, () => crypto.randomUUID());
      const counts = await Promise.all(keys.map(async (key) => {
        const replies: string[] = [];
        for (const url of urls) replies.push(await ask(url, `${key}/`));
        return replies.every((reply, at) => reply === `${key}/=${at + 1}`);
      }));
      return counts.every((isRight) => isRight);
    });
    const keys = Array.from({ length: 12 }, (_, at) => `key${at}`);
    const replies = await Promise.all(keys.map(async (key, first) => {
      const counts: string[] = [];
      for (let at = 0; at < 12; at++) {
        counts.push(await ask(urls[(first + at) % urls.length]!, `${key}/${at}`));
      }
      return counts;
    }));
    assert.deepEqual(
      replies,
      keys.map((key) => Array.from({ length: 12 }, (_, at) => `${key}/${at}=${at + 1}`)),
    );
    await sessions[0]!.stop();
    const rest = urls.slice(2);
    await until("keys to be elsewhere", async () => {
      const statuses = await Promise.all(
        keys.flatMap((key) => rest.map((url) => statusOf(url, `${key}/`))),
      );
      return statuses.every((status) => status === 200);
    });
  } finally {
    await Promise.all(sessions.map((session) => session.stop()));
  }
});

test("rows cannot move between machines and peers at once", async (server) => {
  await using members = new Members(server);
  await assert.rejects(
    countingPlan(new Session(), members.options("a"), { peers: 2 }),
    (error: PlanError) => {
      assert.deepEqual(error.path, ["peers"]);
      assert.match(error.message, /leave "peers" out and raise "partitions"$/);
      return true;
    },
  );
});

const ERRORS: readonly {
  readonly name: string;
  readonly args?: readonly string[];
  readonly nats?: Record<string, unknown>;
  readonly withoutJetStream?: boolean;
  readonly message: RegExp;
}[] = [
  {
    name: "a server that is not there",
    nats: { servers: ["127.0.0.1:1"] },
    message:
      /^Cannot connect to NATS at "127.0.0.1:1": connection refused; start a server there or/,
  },
  {
    name: "a password that is wrong",
    args: ["--user", "u", "--pass", "p"],
    nats: { user: "u", password: "secret" },
    message:
      /: the server refuses the credentials; change cluster.nats.credentials, user and password/,
  },
  {
    name: "credentials that are not there",
    nats: { credentials: "/does/not/exist" },
    message:
      /^Cannot read "\/does\/not\/exist" for "cluster.nats.credentials": there is no such file$/,
  },
  {
    name: "a server without TLS",
    nats: { tls: {} },
    message: /server does not support 'tls'; change cluster.nats.tls$/,
  },
  {
    name: "a server that stores nothing",
    withoutJetStream: true,
    message: /JetStream is off there; start the servers with -js$/,
  },
];

for (const { name, args = [], nats, withoutJetStream = false, message } of ERRORS) {
  Deno.test(`cluster over NATS: ${name} is told`, skipped(NO_NATS), async () => {
    await using server = await NatsServer.start({
      args,
      portOnly: true,
      withoutJetStream,
    });
    const members = new Members(server);
    await assert.rejects(Membership.join(members.options("a", nats), silent), (error: Error) => {
      assert.ok(error instanceof PlanError);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });
}

// Deno 2.4 cannot encrypt a connection that has begun unencrypted, as NATS does.
const NO_TLS = NO_NATS ?? whyNot(["openssl", "version"], "openssl is not installed") ??
  (Deno.version.deno.startsWith("2.4.") ? "Deno 2.4 cannot encrypt NATS connections" : undefined);

Deno.test("cluster over NATS: encrypted, both sides by certificate", skipped(NO_TLS), async () => {
  const directory = await Deno.makeTempDir({ prefix: "millrace-nats-tls-" });
  const [cert, key] = [`${directory}/cert.pem`, `${directory}/key.pem`];
  try {
    await new Deno.Command("openssl", {
      args: [
        ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"],
        ...["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
      ],
    }).output();
    const args = ["--tlsverify", "--tlscert", cert, "--tlskey", key, "--tlscacert", cert];
    await using server = await NatsServer.start({ args, portOnly: true });
    const members = new Members(server);
    const join = (tls: object) => Membership.join(members.options("a", { tls }), silent);
    const member = await join({ ca: cert, cert, key });
    assert.deepEqual(namesOf(member), ["a"]);
    await member.leave();
    await assert.rejects(join({}), /self-signed certificate; change cluster.nats.tls$/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("cluster over NATS: of three servers one may die", skipped(NO_NATS), async () => {
  const servers = await NatsServer.startCluster(3);
  try {
    await using members = new Members(...servers);
    const three = [await members.join("a"), await members.join("b"), await members.join("c")];
    await until("a leader", () => three.every(({ leader }) => leader !== undefined));
    const left: string[] = [];
    for (const each of three) each.listen({ left: ({ peer }) => left.push(peer) });
    // Whichever it is, somebody is connected to it or it has a copy of the store.
    await servers[0]!.kill();
    await until("all to be back", () => three.every(({ isConnected }) => isConnected), 30_000);
    for (const each of three) await sees(each, "a", "b", "c");
    await until("a leader", () => three.some(({ leadership }) => leadership.isHeld), 30_000);
    const d = await members.join("d");
    await sees(d, "a", "b", "c", "d");
  } finally {
    for (const server of servers) await server[Symbol.asyncDispose]();
  }
});

/** Machines: network namespaces on one bridge, which this process is on as well. */
class Machines implements AsyncDisposable {
  static readonly #id = `mr${Deno.pid % 100_000}`;
  readonly names: readonly string[];
  /** The address of this process. */
  readonly host: string;

  private constructor(names: readonly string[], net: string) {
    this.names = names;
    this.host = `${net}.1`;
  }

  static async create(count: number): Promise<Machines> {
    const net = `10.213.${Deno.pid % 250}`;
    const names = Array.from({ length: count }, (_, index) => `${Machines.#id}${"abc"[index]}`);
    const machines = new Machines(names, net);
    try {
      await ip(`link add ${Machines.#id} type bridge`);
      await ip(`addr add ${net}.1/24 dev ${Machines.#id}`);
      await ip(`link set ${Machines.#id} up`);
      for (const [index, name] of names.entries()) {
        await ip(`netns add ${name}`);
        await ip(`link add ${name} type veth peer name eth0 netns ${name}`);
        await ip(`link set ${name} master ${Machines.#id} up`);
        await ip(`-n ${name} link set lo up`);
        await ip(`-n ${name} addr add ${net}.${index + 2}/24 dev eth0`);
        await ip(`-n ${name} link set eth0 up`);
      }
      return machines;
    } catch (error) {
      await machines[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Words before a command that is to run there. */
  prefix(machine: number): string[] {
    return ["ip", "netns", "exec", this.names[machine]!];
  }

  async cut(machine: number): Promise<void> {
    await ip(`link set ${this.names[machine]} down`);
  }

  async mend(machine: number): Promise<void> {
    await ip(`link set ${this.names[machine]} up`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.names) await ip(`netns del ${name}`).catch(ignore);
    await ip(`link del ${Machines.#id}`).catch(ignore);
  }
}

async function ip(args: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", {
    args: args.split(" "),
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`ip ${args}: ${new TextDecoder().decode(stderr)}`);
}

const NO_NAMESPACES = NO_NATS ?? whyNot(
  [
    "sh",
    "-c",
    "ip netns add mr-p-$$ && ip netns del mr-p-$$ && ip link add mrp$$ type bridge && ip link del mrp$$",
  ],
  "network namespaces are not permitted here, or iproute2 is not installed",
);

Deno.test(
  "cluster over NATS: of two machines one is cut off, and comes back",
  skipped(NO_NAMESPACES),
  async () => {
    await using machines = await Machines.create(2);
    await using server = await NatsServer.start({ host: machines.host });
    await using members = new Members(server);
    const watcher = await members.join("watcher");
    const start = (name: string, machine: number) =>
      new Process(configOf(members.options(name), 8888, "0.0.0.0"), machines.prefix(machine));
    await using one = start("one", 0);
    await using two = start("two", 1);
    await Promise.all([one.ready(), two.ready()]);
    await until("both services", () => watcher.services("api").length === 2);
    const urls = new Map(watcher.services("api").map(({ member, url }) => [member, url]));
    // Each under an address of its own machine.
    assert.equal(new Set(urls.values()).size, 2);
    for (const url of urls.values()) assert.equal(await ask(url), "HELLO");
    await machines.cut(0);
    await sees(watcher, "two", "watcher");
    assert.deepEqual(watcher.services("api").map(({ member }) => member), ["two"]);
    assert.equal(await ask(urls.get("two")!), "HELLO");
    await machines.mend(0);
    await sees(watcher, "one", "two", "watcher");
    assert.equal(watcher.services("api").length, 2);
    assert.equal(await ask(urls.get("one")!), "HELLO");
  },
);
