/**
 * The exchange over a real NATS server.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  ExchangeError,
  type ExchangeHandler,
  type PartitionAddress,
  type StageRequest,
} from "../cluster/exchange.ts";
import { NatsLink } from "../cluster/nats.ts";
import { NatsExchange, type NatsExchangeOptions } from "../cluster/nats_exchange.ts";
import { Batch, Schema } from "../engine/batch.ts";
import { NatsServer, NO_NATS, skipped, until } from "./nats_server.ts";

const SCHEMA = new Schema([{ name: "id", type: "string" }, { name: "value", type: "string" }]);
const ignore = () => {};
const silent = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** A request whose only row has a value. */
function request(value: string, stage = 1): StageRequest {
  return { stage, batch: Batch.fromRows(SCHEMA, [{ id: value.slice(0, 20), value }]) };
}

/** Answers each row with its value in capitals. */
const echo: ExchangeHandler = ({ batch }) =>
  Promise.resolve({
    replies: batch.rows().map(({ id, value }) =>
      [id as string, { status: 200, body: (value as string).toUpperCase() }] as const
    ),
    failures: [],
  });

/** Ends of an exchange over one server, closed at the end of the test. */
class Ends implements AsyncDisposable {
  readonly #server: NatsServer;
  readonly #open: NatsExchange[] = [];
  readonly links = new Map<NatsExchange, NatsLink>();

  constructor(server: NatsServer) {
    this.#server = server;
  }

  async open(
    self: PartitionAddress,
    handler: ExchangeHandler = echo,
    options: Partial<NatsExchangeOptions> = {},
  ): Promise<NatsExchange> {
    const link = await NatsLink.open({ name: "tests", servers: [this.#server.address] }, {
      name: "test",
      logger: silent,
      pingMs: 1000,
    });
    const exchange = new NatsExchange({
      link,
      closesLink: true,
      cluster: "tests",
      service: "my service",
      self,
      logger: silent,
      probeMs: 50,
      ...options,
    });
    await exchange.open(handler);
    this.#open.push(exchange);
    this.links.set(exchange, link);
    return exchange;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#open.map((exchange) => exchange.close()));
  }
}

const A: PartitionAddress = { peer: 0, partition: 0 };
const B: PartitionAddress = { peer: 1, partition: 3 };

function bodyOf({ replies }: Awaited<ReturnType<NatsExchange["call"]>>): string {
  return replies[0]![1].body as string;
}

/** A handler that holds calls until they are let go. */
function held() {
  const arrived = Promise.withResolvers<void>(), release = Promise.withResolvers<void>();
  const handler: ExchangeHandler = async (request, from) => {
    arrived.resolve();
    await release.promise;
    return await echo(request, from);
  };
  return { handler, arrived: arrived.promise, release: release.resolve };
}

function test(name: string, run: (server: NatsServer) => Promise<void>): void {
  Deno.test(`exchange over NATS: ${name}`, skipped(NO_NATS), async () => {
    await using server = await NatsServer.start();
    await run(server);
  });
}

test("calls come to the partition they are for, in order, with their caller", async (server) => {
  await using ends = new Ends(server);
  const seen: string[] = [];
  const caller = await ends.open(A);
  await ends.open({ peer: 1, partition: 2 }, () => assert.fail("the wrong partition was called"));
  await ends.open(B, (request, from) => {
    seen.push(request.batch.column("value")[0] as string);
    assert.deepEqual(from, A);
    return echo(request, from);
  });
  // Long ones among short ones: the order holds nevertheless.
  const values = Array.from(
    { length: 20 },
    (_, index) => `${index}`.repeat(index % 5 === 2 ? 400_000 : 1),
  );
  const answers = await Promise.all(values.map((value) => caller.call(B, request(value))));
  assert.deepEqual(answers.map(bodyOf), values);
  assert.deepEqual(seen, values);
});

test("payloads longer than a message travel in parts, there and back", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A);
  await ends.open(B);
  const big = "abc".repeat(7_000_000);
  assert.equal(bodyOf(await caller.call(B, request(big))), big.toUpperCase());
});

test("errors of the handler come back with name and message", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A);
  await ends.open(B, () => Promise.reject(new RangeError("no such row")));
  await assert.rejects(caller.call(B, request("x")), {
    name: "RangeError",
    message: "no such row",
  });
});

test("a call to where nobody listens fails at once", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A, echo, { callTimeoutMs: 60_000 });
  await assert.rejects(caller.call(B, request("x")), ExchangeError);
  await assert.rejects(caller.callAny(request("x")), ExchangeError);
});

test("a partition that dies with calls in hand fails them", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A, echo, { callTimeoutMs: 60_000 });
  const { handler, arrived, release } = held();
  const called = await ends.open(B, handler);
  const call = caller.call(B, request("x"));
  await arrived;
  await ends.links.get(called)!.close();
  await assert.rejects(call, ExchangeError);
  release();
});

test("a partition that has begun anew fails the calls of before", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A, echo, { callTimeoutMs: 60_000, probeMs: 200 });
  const { handler, arrived, release } = held();
  const called = await ends.open(B, handler);
  const call = caller.call(B, request("x"));
  await arrived;
  await ends.links.get(called)!.close();
  await ends.open(B);
  await assert.rejects(call, ExchangeError);
  assert.equal(bodyOf(await caller.call(B, request("y"))), "Y");
  release();
});

test("calls to a peer that is said to be lost fail, others go on", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A, echo, { callTimeoutMs: 60_000 });
  const one = held(), two = held();
  await ends.open(B, one.handler);
  await ends.open({ peer: 2, partition: 0 }, two.handler);
  const lost = caller.call(B, request("x"));
  const kept = caller.call({ peer: 2, partition: 0 }, request("y"));
  await Promise.all([one.arrived, two.arrived]);
  caller.lost(1);
  await assert.rejects(lost, /peer 1 has left/);
  one.release();
  two.release();
  assert.equal(bodyOf(await kept), "Y");
});

test("a call that takes too long fails", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A, echo, { callTimeoutMs: 100 });
  const { handler, release } = held();
  await ends.open(B, handler);
  await assert.rejects(caller.call(B, request("x")), /no answer in 100 ms/);
  release();
});

test("a slot that is another's refuses calls", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A);
  await ends.open(B, echo, { accepts: () => false });
  await assert.rejects(caller.call(B, request("x")), ExchangeError);
});

test("work for anybody is done once, long or short, by all in turn", async (server) => {
  await using ends = new Ends(server);
  const done: string[][] = [[], []];
  const caller = await ends.open(A);
  for (const peer of [1, 2]) {
    await ends.open({ peer, partition: 0 }, (request, from) => {
      done[peer - 1]!.push(request.batch.column("value")[0] as string);
      return echo(request, from);
    }, { stages: [1] });
  }
  const values = Array.from(
    { length: 60 },
    (_, index) => `${index}`.padEnd(index % 20 === 7 ? 3_000_000 : 2, "x"),
  );
  const answers = await Promise.all(values.map((value) => caller.callAny(request(value))));
  assert.deepEqual(answers.map(bodyOf), values.map((value) => value.toUpperCase()));
  assert.deepEqual(done.flat().toSorted(), values.toSorted());
  // The servers spread them at random: 60 coins that all fall on one side are a fault.
  assert.ok(done.every((each) => each.length > 0));
});

test("close answers what is being served, and refuses the rest", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A);
  const { handler, arrived, release } = held();
  const called = await ends.open(B, handler);
  const call = caller.call(B, request("x"));
  await arrived;
  const closed = called.close();
  await assert.rejects(caller.call(B, request("y")), ExchangeError);
  release();
  assert.equal(bodyOf(await call), "X");
  await closed;
  await assert.rejects(called.call(A, request("z")), ExchangeError);
});

test("a server that dies fails the calls in hand; later ones work again", async (server) => {
  await using ends = new Ends(server);
  const caller = await ends.open(A, echo, { callTimeoutMs: 60_000 });
  const { handler, arrived, release } = held();
  await ends.open(B, handler);
  const call = caller.call(B, request("x"));
  await arrived;
  const failed = assert.rejects(call, ExchangeError);
  await server.kill();
  await failed;
  await assert.rejects(caller.call(B, request("y")), ExchangeError);
  release();
  await server.start();
  await until("the exchange", async () => bodyOf(await caller.call(B, request("z"))) === "Z");
});
