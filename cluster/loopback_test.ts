import assert from "node:assert/strict";
import { Batch, Schema } from "../engine/batch.ts";
import type { ExchangeHandler, PartitionAddress } from "./exchange.ts";
import { encodeFrame, encodeRequest, encodeValues } from "./frame.ts";
import { LoopbackExchange } from "./loopback.ts";

const SCHEMA = new Schema([{ name: "id", type: "string" }]);
const at = (peer: number, partition: number): PartitionAddress => ({ peer, partition });

const request = (...ids: string[]) => ({ stage: 1, batch: new Batch(SCHEMA, [ids], ids.length) });

/** Answers each row with who called and its id. */
const echo: ExchangeHandler = ({ stage, batch }, from) =>
  Promise.resolve({
    replies: Array.from(
      batch.column("id") as string[],
      (id) => [id, { status: 200, body: `${stage} ${from.peer}/${from.partition} ${id}` }],
    ),
    failures: [],
  });

/** Ends of an exchange in a directory of their own, for one test. */
async function withEnds(
  test: (
    end: (self: PartitionAddress, startMs?: number) => LoopbackExchange,
    dir: string,
    lines: string[],
  ) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "millrace-" });
  const ends: LoopbackExchange[] = [];
  const lines: string[] = [];
  const log = (line: string) => void lines.push(line);
  const logger = { debug: log, info: log, warn: log, error: log };
  try {
    await test(
      (self, startMs = 5_000) => {
        const end = new LoopbackExchange({ dir, self, logger, startMs });
        ends.push(end);
        return end;
      },
      dir,
      lines,
    );
  } finally {
    await Promise.all(ends.map((end) => end.close()));
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("calls go both ways at once, and answers come in any order", async () => {
  await withEnds(async (end) => {
    const a = end(at(0, 0)), b = end(at(1, 2));
    const first = Promise.withResolvers<void>();
    const order: string[] = [];
    await a.open(echo);
    await b.open(async (call, from) => {
      const [id] = call.batch.column("id");
      order.push(String(id));
      if (id === "slow") await first.promise;
      return await echo(call, from);
    });
    const slow = a.call(at(1, 2), request("slow"));
    const quick = await a.call(at(1, 2), request("x", "y"));
    assert.deepEqual(quick.replies.map(([, { body }]) => body), ["1 0/0 x", "1 0/0 y"]);
    const back = await b.call(at(0, 0), request("z"));
    assert.deepEqual(back.replies.map(([, { body }]) => body), ["1 1/2 z"]);
    first.resolve();
    assert.deepEqual((await slow).replies.map(([id]) => id), ["slow"]);
    assert.deepEqual(order, ["slow", "x"]);
  });
});

Deno.test("calls arrive in their order, also those made before the connection was", async () => {
  await withEnds(async (end) => {
    const a = end(at(0, 0)), b = end(at(0, 1));
    const arrived: number[] = [];
    await b.open((call, from) => {
      arrived.push(Number(call.batch.column("id")[0]));
      return echo(call, from);
    });
    const numbers = Array.from({ length: 500 }, (_, each) => each);
    const calls = numbers.slice(0, 250).map((each) => a.call(at(0, 1), request(`${each}`)));
    await calls[0];
    calls.push(...numbers.slice(250).map((each) => a.call(at(0, 1), request(`${each}`))));
    await Promise.all(calls);
    assert.deepEqual(arrived, numbers);
  });
});

Deno.test("large batches and large answers pass", async () => {
  await withEnds(async (end) => {
    const a = end(at(0, 0)), b = end(at(0, 1));
    await b.open(echo);
    const ids = Array.from({ length: 20 }, (_, each) => `${each}`.repeat(200_000));
    const { replies } = await a.call(at(0, 1), request(...ids));
    assert.deepEqual(replies.map(([id]) => id), ids);
  });
});

Deno.test("a partition that is still to start is waited for; one that never does is lost", async () => {
  await withEnds(async (end) => {
    const a = end(at(0, 0)), b = end(at(0, 1));
    const early = a.call(at(0, 1), request("early"));
    await b.open(echo);
    assert.equal((await early).replies.length, 1);
    const hasty = end(at(0, 3), 0);
    await assert.rejects(hasty.call(at(0, 4), request("x")), {
      name: "ExchangeError",
      message: /^cannot connect: /,
    });
  });
});

Deno.test("a loss rejects the calls in flight, and the next call finds the successor", async () => {
  await withEnds(async (end, dir) => {
    const a = end(at(0, 0));
    // A partition that takes calls and dies with them.
    const doomed = Deno.listen({ transport: "unix", path: `${dir}/doomed` });
    await Deno.rename(`${dir}/doomed`, `${dir}/0-1.sock`);
    const calls = [a.call(at(0, 1), request("x")), a.call(at(0, 1), request("y"))];
    const connection = await doomed.accept();
    await connection.read(new Uint8Array(10));
    connection.close();
    doomed.close();
    for (const call of calls) await assert.rejects(call, { name: "ExchangeError" });
    // Its socket is left behind, with nobody there.
    await assert.rejects(a.call(at(0, 1), request("z")), { name: "ExchangeError" });
    await end(at(0, 1)).open(echo);
    assert.equal((await a.call(at(0, 1), request("again"))).replies.length, 1);
  });
});

Deno.test("an error of the other end comes back as it was; the connection lives on", async () => {
  await withEnds(async (end) => {
    const a = end(at(0, 0)), b = end(at(0, 1));
    await b.open((call, from) => {
      if (call.stage === 9) throw new RangeError("no stage 9");
      return echo(call, from);
    });
    await assert.rejects(a.call(at(0, 1), { ...request("x"), stage: 9 }), {
      name: "RangeError",
      message: "no stage 9",
    });
    assert.equal((await a.call(at(0, 1), request("y"))).replies.length, 1);
  });
});

Deno.test("a connection that brings anything but frames in their order is ended, and nothing else", async () => {
  const hello = encodeFrame(1, 0, encodeValues([0, 0]));
  const whole = encodeFrame(2, 0, encodeRequest(request("x")));
  const cases: Readonly<Record<string, Uint8Array[]>> = {
    "no hello": [whole],
    "a hello of three": [encodeFrame(1, 0, encodeValues([0, 0, 0]))],
    "another kind": [hello, encodeFrame(9, 0, new Uint8Array(0))],
    "no request": [hello, encodeFrame(2, 0, Uint8Array.of(1, 2, 3))],
    "a length that cannot be": [Uint8Array.of(255, 255, 255, 255)],
    "words": [new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")],
  };
  await withEnds(async (end, dir, lines) => {
    const a = end(at(0, 0)), b = end(at(0, 1));
    await b.open(echo);
    for (const [what, frames] of Object.entries(cases)) {
      const stranger = await Deno.connect({ transport: "unix", path: `${dir}/0-1.sock` });
      for (const bytes of frames) await stranger.write(bytes);
      const ended = await stranger.read(new Uint8Array(1)).catch(() => null);
      assert.equal(ended, null, what);
      stranger.close();
      assert.match(lines.pop()!, /^A connection was ended: Cannot read a /, what);
    }
    assert.equal((await a.call(at(0, 1), request("y"))).replies.length, 1);
  });
});

Deno.test("garbled answers end the connection; the calls in flight are lost, the next one is not", async () => {
  await withEnds(async (end, dir) => {
    const a = end(at(0, 0));
    const path = `${dir}/0-1.sock`;
    const listener = Deno.listen({ transport: "unix", path });
    for (const [kind, number] of [[3, 0], [4, 0], [3, 7], [8, 0]] as const) {
      const call = a.call(at(0, 1), request("x"));
      const connection = await listener.accept();
      await connection.write(encodeFrame(kind, number, Uint8Array.of(193)));
      await assert.rejects(call, { name: "ExchangeError", message: /^the connection broke: / });
      connection.close();
    }
    listener.close();
  });
});

Deno.test("no call is lost when a successor has taken a partition's place before it closes", async () => {
  await withEnds(async (end) => {
    const a = end(at(0, 0)), old = end(at(0, 1)), successor = end(at(0, 1));
    let served = 0;
    const began = Promise.withResolvers<void>();
    await old.open((call, from) => {
      if (++served === 200) began.resolve();
      return echo(call, from);
    });
    let taken = 0;
    const callers = Array.from({ length: 8 }, async () => {
      while (taken < 200) await a.call(at(0, 1), request("x"));
    });
    await began.promise;
    await successor.open((call, from) => {
      taken++;
      return echo(call, from);
    });
    await old.close();
    await Promise.all(callers);
  });
});

Deno.test("close answers what is being served, and gives up what was asked for", async () => {
  await withEnds(async (end) => {
    const a = end(at(0, 0)), b = end(at(0, 1)), slow = end(at(0, 2));
    const arrived = Promise.withResolvers<void>(), go = Promise.withResolvers<void>();
    const late = Promise.withResolvers<void>();
    await slow.open(async (call, from) => {
      await late.promise;
      return await echo(call, from);
    });
    await b.open(async (call, from) => {
      arrived.resolve();
      await go.promise;
      return await echo(call, from);
    });
    const served = a.call(at(0, 1), request("x"));
    const givenUp = assert.rejects(b.call(at(0, 2), request("y")), {
      name: "ExchangeError",
      message: "the exchange is closed",
    });
    await arrived.promise;
    const closed = b.close();
    go.resolve();
    assert.equal((await served).replies.length, 1);
    await givenUp;
    await closed;
    late.resolve();
    await b.close();
    await assert.rejects(b.call(at(0, 0), request("z")), { name: "ExchangeError" });
    await assert.rejects(a.call(at(0, 1), request("z")), { name: "ExchangeError" });
  });
});
