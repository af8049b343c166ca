/**
 * The balancer over real sockets: where requests go, what becomes of them when backends fail, and that
 * bodies pass through without being held.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import * as v from "valibot";
import { Balancer, type BalancerStats } from "../cluster/balancer.ts";
import { BALANCER_SCHEMA, type BalancerInput } from "../cluster/balancer_options.ts";
import { freePort } from "./free_port.ts";
import { HttpConnection, textOf } from "./http_client.ts";
import { type Behaviour, RawBackend } from "./raw_backend.ts";
import { newHost, startService } from "./with_service.ts";

type Handler = (request: Request) => Response | Promise<Response>;

/** A server at a port of its own that answers `/readyz` and leaves the rest to a handler. */
function serve(handler: Handler, port = 0): { url: string; port: number; close(): Promise<void> } {
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, (request) => {
    return request.url.endsWith("/readyz") ? new Response("ready") : handler(request);
  });
  const url = `http://127.0.0.1:${server.addr.port}/api`;
  return { url, port: server.addr.port, close: () => server.shutdown() };
}

function newBalancer(options: Partial<BalancerInput> = {}): Balancer {
  return new Balancer(v.parse(BALANCER_SCHEMA, { host: "127.0.0.1", port: 0, ...options }));
}

/** Runs a test with a balancer in front of backends that handlers make. */
async function withBalancer(
  options: Partial<BalancerInput>,
  handlers: readonly Handler[],
  test: (url: string, balancer: Balancer) => Promise<void>,
): Promise<void> {
  const servers = handlers.map((handler) => serve(handler));
  const balancer = newBalancer(options);
  await balancer.start();
  balancer.update(servers.map(({ url }, partition) => ({ url, key: `0/${partition}` })));
  try {
    await test(`${balancer.url}/api`, balancer);
  } finally {
    await balancer.close();
    await Promise.all(servers.map((server) => server.close()));
  }
}

/** The same with raw backends, each of which behaves as its list says, and then well. */
async function withRaw(
  options: Partial<BalancerInput>,
  behaviours: readonly Behaviour[][],
  test: (url: string, backends: readonly RawBackend[], balancer: Balancer) => Promise<void>,
): Promise<void> {
  const backends = behaviours.map((list) => new RawBackend(() => list.shift() ?? "answer"));
  const balancer = newBalancer(options);
  await balancer.start();
  balancer.update(backends.map(({ url }, partition) => ({ url, key: `0/${partition}` })));
  try {
    await test(`${balancer.url}/api`, backends, balancer);
  } finally {
    await balancer.close();
    await Promise.all(backends.map((backend) => backend.close()));
  }
}

const get = async (url: string, init?: RequestInit) => {
  const response = await fetch(url, init);
  return { status: response.status, headers: response.headers, text: await response.text() };
};
const post = (url: string, body: BodyInit = "x") => get(url, { method: "POST", body });

/** A handler whose requests wait until the test lets them go. */
class Gate {
  readonly #waiting: (() => void)[] = [];
  readonly #watchers = new Set<() => void>();
  readonly handler: Handler = async () => {
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
      for (const watcher of this.#watchers) watcher();
    });
    return new Response("done");
  };

  get waiting(): number {
    return this.#waiting.length;
  }

  async until(count: number): Promise<void> {
    const met = Promise.withResolvers<void>();
    const check = () => this.waiting >= count && met.resolve();
    this.#watchers.add(check);
    check();
    await met.promise;
    this.#watchers.delete(check);
  }

  open(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Resolves when the balancer's counts are as wanted. */
async function until(balancer: Balancer, wanted: (stats: BalancerStats) => boolean): Promise<void> {
  while (!wanted(balancer.stats())) await new Promise((resolve) => setTimeout(resolve, 5));
}

Deno.test("requests take turns over backends that are equally busy", async () => {
  const counts = [0, 0, 0];
  const handlers = counts.map((_, at) => () => new Response(String(++counts[at]!)));
  await withBalancer({}, handlers, async (url) => {
    for (let request = 0; request < 30; request++) await post(url);
    assert.deepEqual(counts, [10, 10, 10]);
  });
});

Deno.test("a request goes to the backend with the fewest in flight", async () => {
  const slow = new Gate();
  let quick = 0;
  await withBalancer(
    {},
    [slow.handler, () => new Response(String(++quick))],
    async (url, balancer) => {
      const first = [post(url), post(url)];
      await slow.until(1);
      for (let request = 0; request < 10; request++) await post(url);
      assert.equal(slow.waiting, 1);
      assert.equal(quick, 11);
      assert.deepEqual(balancer.stats().backends.map(({ inFlight }) => inFlight), [1, 0]);
      slow.open();
      await Promise.all(first);
    },
  );
});

Deno.test("a request and its reply pass as they are, but for what belongs to a connection", async () => {
  const seen: Record<string, string>[] = [];
  const targets: string[] = [];
  const handler: Handler = async (request) => {
    seen.push(Object.fromEntries(request.headers));
    targets.push(request.url);
    return new Response(await request.bytes(), {
      status: 418,
      headers: [["x-reply", "caf\xe9"], ["set-cookie", "a=1"], ["set-cookie", "b=2"]],
    });
  };
  await withBalancer({}, [handler], async (url) => {
    const connection = await HttpConnection.open(url);
    await connection.send(
      "PATCH /api/a%20b//c/../d?x=/y&z HTTP/1.1\r\nHost: example.org:99\r\nContent-Length: 3\r\n" +
        "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 9\r\nTE: trailers\r\n" +
        "X-Request-Id: r-1\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n" +
        "X-Latin: \xe9\r\n\r\nabc",
    );
    const answer = await connection.answer();
    connection.close();
    assert.equal(textOf(answer), "abc");
    assert.match(answer.head, /^HTTP\/1\.1 418 /);
    assert.match(answer.head, /x-reply: caf\xe9/);
    assert.match(answer.head, /set-cookie: a=1\r\nset-cookie: b=2/);
    assert.deepEqual(targets, ["http://example.org:99/api/a%20b//c/../d?x=/y&z"]);
    assert.deepEqual(seen, [{
      "content-length": "3",
      "forwarded": 'for=127.0.0.1;host="example.org:99";proto=http',
      "host": "example.org:99",
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-host": "example.org:99",
      "x-forwarded-proto": "http",
      // The client sends text as UTF-8; the bytes are the same at the other end.
      "x-latin": "\xc3\xa9",
      "x-request-id": "r-1",
    }]);
  });
});

Deno.test("what a proxy in front says is kept when it is trusted", async () => {
  const seen: Record<string, string>[] = [];
  const handler: Handler = (request) => {
    seen.push(Object.fromEntries(request.headers));
    return new Response("");
  };
  await withBalancer({ trustForwarded: true }, [handler], async (url) => {
    await get(url, {
      headers: {
        "x-forwarded-for": "6.6.6.6",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "out.example",
        "forwarded": "for=6.6.6.6",
      },
    });
    const [headers] = seen;
    assert.equal(headers!["x-forwarded-for"], "6.6.6.6, 127.0.0.1");
    assert.equal(headers!["x-forwarded-proto"], "https");
    assert.equal(headers!["x-forwarded-host"], "out.example");
    assert.match(headers!["forwarded"]!, /^for=6\.6\.6\.6, for=127\.0\.0\.1;host="127/);
  });
});

Deno.test("HEAD has the headers of GET and no body; empty replies stay empty", async () => {
  const statuses = [204, 304, 200];
  await withBalancer({}, [
    ({ method }) =>
      method === "HEAD"
        ? new Response("hello")
        : new Response(null, { status: statuses.shift()!, headers: { etag: '"1"' } }),
  ], async (url) => {
    const head = await get(url, { method: "HEAD" });
    assert.equal(head.headers.get("content-length"), "5");
    assert.equal(head.text, "");
    for (const status of [204, 304, 200]) {
      const reply = await get(url, { method: "DELETE" });
      assert.deepEqual([reply.status, reply.text, reply.headers.get("etag")], [status, "", '"1"']);
    }
  });
});

const bodies: [title: string, size: number, chunked: boolean][] = [
  ["an empty body", 0, false],
  ["a small body", 10, false],
  ["a small body in chunks", 10, true],
  ["a body at the bound", 65_536, true],
  ["a body over the bound", 65_537, false],
  ["a large body in chunks", 3_000_000, true],
];
for (const [title, size, chunked] of bodies) {
  Deno.test(`${title} comes back byte for byte`, async () => {
    const whole: Handler = async (request) => new Response(await request.bytes());
    const streamed: Handler = (request) => new Response(request.body);
    await withBalancer({}, [whole, streamed], async (url, balancer) => {
      const bytes = new Uint8Array(size).map((_, at) => at * 7);
      for (let turn = 0; turn < 4; turn++) {
        const body = chunked ? new Blob([bytes]).stream() : bytes;
        const response = await fetch(url, { method: "POST", body });
        assert.ok(Buffer.from(bytes).equals(await response.bytes()));
      }
      await until(balancer, ({ inFlight }) => inFlight === 0);
      assert.deepEqual(balancer.stats().backends.map(({ failures }) => failures), [0, 0]);
    });
  });
}

/** How much a producer gives when nobody takes: the count once it stands still. */
async function standstill(count: () => number): Promise<number> {
  for (let last = -1;;) {
    const now = count();
    if (now === last && now > 0) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

const MB = 1024 * 1024;
/** What sockets between two processes may hold, and some more. */
const IN_SOCKETS = 24 * MB;

/** A stream of a length, and how much of it has been asked for. */
function producer(length: number): { stream: ReadableStream<Uint8Array>; produced: () => number } {
  let produced = 0;
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      controller.enqueue(new Uint8Array(65_536).fill(produced / 65_536));
      produced += 65_536;
      if (produced >= length) controller.close();
    },
  }, { highWaterMark: 0 });
  return { stream, produced: () => produced };
}

Deno.test("a reply of 50 MB waits at the backend for a client that reads slowly", async () => {
  const { stream, produced } = producer(50 * MB);
  await withBalancer({}, [() => new Response(stream)], async (url) => {
    const response = await fetch(url);
    const reader = response.body!.getReader();
    let { value } = await reader.read();
    const held = await standstill(produced);
    assert.ok(held < IN_SOCKETS, `${held} bytes were taken from the backend`);
    let length = 0;
    for (; value !== undefined; { value } = await reader.read()) {
      for (let at = 0; at < value.length; at += 4096) {
        assert.equal(value[at], Math.floor((length + at) / 65_536) % 256);
      }
      length += value.length;
    }
    assert.equal(length, 50 * MB);
  });
});

Deno.test("a request of 50 MB waits at the client for a backend that reads slowly", async () => {
  const gate = Promise.withResolvers<void>();
  const { stream, produced } = producer(50 * MB);
  await withBalancer({}, [async (request) => {
    await gate.promise;
    let length = 0;
    for await (const bytes of request.body!) length += bytes.length;
    return new Response(String(length));
  }], async (url) => {
    const answer = post(url, stream);
    const held = await standstill(produced);
    gate.resolve();
    assert.ok(held < IN_SOCKETS, `${held} bytes were taken from the client`);
    assert.equal((await answer).text, String(50 * MB));
  });
});

Deno.test("a reply begins before the request has ended, and both go on", async () => {
  await withBalancer({}, [(request) => new Response(request.body)], async (url) => {
    const up = new TransformStream<Uint8Array>();
    const writer = up.writable.getWriter();
    const first = new Uint8Array(70_000).fill(1);
    const sending = writer.write(first);
    const response = await fetch(url, { method: "POST", body: up.readable });
    const reader = response.body!.getReader();
    let length = 0;
    while (length < 70_000) length += (await reader.read()).value!.length;
    await sending;
    await writer.write(Uint8Array.of(2));
    assert.deepEqual([...(await reader.read()).value!], [2]);
    await writer.close();
    assert.equal((await reader.read()).done, true);
  });
});

Deno.test("a backend that refuses a body early is heard, and the rest is not sent", async () => {
  const { stream, produced } = producer(50 * MB);
  await withBalancer(
    {},
    [() => Response.json({ error: "Body too large" }, { status: 413 })],
    async (url) => {
      const { status, text } = await post(url, stream);
      assert.deepEqual([status, text], [413, '{"error":"Body too large"}']);
      assert.ok(produced() < IN_SOCKETS);
    },
  );
});

Deno.test("a small body that arrives slowly occupies no backend, and gets 408 in the end", async () => {
  const options = { timeoutMs: 300 };
  await withBalancer(options, [() => new Response("done")], async (url, balancer) => {
    const slow = await HttpConnection.open(url);
    await slow.send("POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
    await until(balancer, ({ inFlight }) => inFlight === 1);
    assert.equal(balancer.stats().backends[0]!.inFlight, 0);
    assert.equal((await post(url)).text, "done");
    const answer = await slow.answer();
    slow.close();
    assert.match(answer.head, /^HTTP\/1\.1 408 /);
    assert.equal(textOf(answer), '{"error":"Request not received whole within 300 ms"}');
  });
});

Deno.test("a client that does not read its reply is left after a while", async () => {
  const { stream } = producer(50 * MB);
  await withBalancer({ timeoutMs: 300 }, [() => new Response(stream)], async (url, balancer) => {
    const deaf = await HttpConnection.open(url);
    await deaf.send("GET /api HTTP/1.1\r\nHost: x\r\n\r\n");
    await until(balancer, ({ backends }) => backends[0]!.total === 1);
    await until(
      balancer,
      ({ inFlight, backends }) => inFlight === 0 && backends[0]!.inFlight === 0,
    );
    deaf.close();
  });
});

Deno.test("a client that leaves ends its request at the backend", async () => {
  const left = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  await withBalancer({}, [async (request) => {
    request.signal.addEventListener("abort", () => left.resolve());
    arrived.resolve();
    await left.promise;
    return new Response("late");
  }], async (url, balancer) => {
    const client = new AbortController();
    const call = fetch(url, { method: "POST", body: "x", signal: client.signal });
    await arrived.promise;
    // Callers are watched once they have waited for 100 ms.
    await new Promise((resolve) => setTimeout(resolve, 250));
    client.abort();
    await assert.rejects(call);
    await left.promise;
    await until(balancer, ({ inFlight }) => inFlight === 0);
    const [backend] = balancer.stats().backends;
    assert.deepEqual([backend!.inFlight, backend!.failures, backend!.state], [0, 0, "up"]);
  });
});

Deno.test("a client that leaves within a reply ends it at the backend", async () => {
  const left = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
    cancel: () => left.resolve(),
  });
  await withBalancer({}, [() => new Response(stream)], async (url, balancer) => {
    const response = await fetch(url);
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    await left.promise;
    await until(balancer, ({ inFlight }) => inFlight === 0);
    assert.equal(balancer.stats().backends[0]!.failures, 0);
  });
});

Deno.test("a backend that takes too long gets its caller 504, and is not asked again", async () => {
  const gate = new Gate();
  await withBalancer({ timeoutMs: 200 }, [gate.handler, gate.handler], async (url, balancer) => {
    const { status, text } = await get(url);
    assert.deepEqual([status, text], [504, '{"error":"No reply from the backend within 200 ms"}']);
    assert.equal(gate.waiting, 1);
    await until(balancer, ({ inFlight }) => inFlight === 0);
    gate.open();
  });
});

Deno.test("requests over maxInFlight wait, over maxQueueSize get 503 with Retry-After", async () => {
  const gate = new Gate();
  const options = { maxInFlight: 2, maxQueueSize: 1, queueTimeoutMs: 60_000 };
  await withBalancer(options, [gate.handler], async (url, balancer) => {
    const calls = [post(url), post(url)];
    await gate.until(2);
    calls.push(post(url));
    await until(balancer, ({ waiting }) => waiting === 1);
    const refused = await post(url);
    assert.equal(refused.status, 503);
    assert.equal(refused.headers.get("retry-after"), "1");
    assert.equal(
      refused.text,
      '{"error":"Too many requests wait for a backend: try again later"}',
    );
    assert.equal(gate.waiting, 2);
    gate.open();
    await gate.until(1);
    gate.open();
    assert.deepEqual((await Promise.all(calls)).map(({ text }) => text), ["done", "done", "done"]);
  });
});

Deno.test("a request that no backend takes in time gets 503", async () => {
  await withBalancer({ queueTimeoutMs: 150 }, [], async (url) => {
    const { status, text, headers } = await post(url);
    assert.equal(status, 503);
    assert.equal(text, '{"error":"No backend could take the request within 150 ms"}');
    assert.equal(headers.get("retry-after"), "1");
  });
});

Deno.test("a WebSocket gets 501", async () => {
  await withBalancer({}, [() => new Response("")], async (url) => {
    const connection = await HttpConnection.open(url);
    await connection.send(
      "GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    const answer = await connection.answer();
    connection.close();
    assert.match(answer.head, /^HTTP\/1\.1 501 /);
    assert.match(textOf(answer), /WebSockets do not go through the balancer/);
  });
});

Deno.test("/healthz and /readyz are the balancer's unless a service answers there", async () => {
  const server = serve(() => new Response("the service"));
  const balancer = newBalancer({ healthPath: "/balancer/" });
  await balancer.start();
  const ask = async (path: string) => {
    const { status, text } = await get(balancer.url + path);
    return [status, text];
  };
  try {
    assert.deepEqual(await ask("/balancer/healthz"), [200, "ok"]);
    assert.deepEqual(await ask("/balancer/readyz"), [503, "not ready: no backend is up"]);
    balancer.update([{ url: server.url, key: "0/0" }]);
    assert.deepEqual(await ask("/balancer/readyz"), [200, "ready"]);
    assert.deepEqual(await ask("/healthz"), [200, "the service"]);
    balancer.update([{ url: server.url.replace("/api", "/balancer"), key: "0/0" }]);
    assert.deepEqual(await ask("/balancer/readyz"), [200, "ready"]);
    assert.deepEqual(await ask("/balancer/healthz"), [200, "the service"]);
  } finally {
    await balancer.close();
    await server.close();
  }
});

Deno.test("a port in use and a URL that is not http are errors that say so", async () => {
  const taken = serve(() => new Response(""));
  await assert.rejects(newBalancer({ port: taken.port }).start(), {
    name: "PlanError",
    message: `Cannot bind "127.0.0.1:${taken.port}": address in use; stop the other service or ` +
      "change balancer.port",
  });
  await taken.close();
  assert.throws(() => newBalancer().update([{ url: "ftp://x/", key: "0/1" }]), {
    message: 'Cannot balance over backend "0/1" at "ftp://x/": wanted a URL such as ' +
      "http://HOST:PORT/PATH",
  });
});

const failures: [behaviour: Behaviour, method: string, status: number, handled: number][] = [
  ["break at once", "GET", 200, 1],
  ["break at once", "POST", 502, 0],
  ["break after request", "GET", 200, 2],
  ["break after request", "PUT", 200, 2],
  ["break after request", "DELETE", 200, 2],
  ["break after request", "POST", 502, 1],
  ["break after request", "PATCH", 502, 1],
  ["break in head", "GET", 200, 2],
  ["break in head", "POST", 502, 1],
  ["break in body", "GET", 200, 2],
  ["break in body", "POST", 502, 1],
  ["talk nonsense", "GET", 502, 1],
  ["talk nonsense", "POST", 502, 1],
  ["refuse", "GET", 200, 1],
  ["refuse", "POST", 200, 1],
];
for (const [behaviour, method, status, handled] of failures) {
  Deno.test(`${method} at a backend that would ${behaviour} gets ${status}`, async () => {
    await withRaw({}, [[behaviour], [behaviour].slice(1)], async (url, backends, balancer) => {
      // The second in turn comes first.
      balancer.update([...backends].reverse().map(({ url }, at) => ({ url, key: `0/${at}` })));
      const answers = [];
      while (answers.length < 2) {
        answers.push(await get(url, { method, ...(method === "GET" ? {} : { body: "abc" }) }));
      }
      const [first] = answers.toSorted((a, b) => b.status - a.status);
      assert.equal(first!.status, status);
      if (status === 502) assert.match(first!.text, /^\{"error":"The backend gave no reply: /);
      else assert.equal(first!.text, "done");
      // The other request is handled once.
      assert.equal(backends.flatMap(({ handled }) => handled).length, handled + 1);
    });
  });
}

Deno.test("a reply that breaks off is not made to look whole", async () => {
  await withRaw({}, [["break in chunks"]], async (url, _, balancer) => {
    // The head may not have been sent yet when the backend breaks off.
    await assert.rejects(post(url));
    await until(balancer, ({ inFlight }) => inFlight === 0);
    assert.equal(balancer.stats().backends[0]!.failures, 1);
    assert.equal((await post(url)).text, "done");
  });
});

Deno.test("a backend that is killed within a long reply of known length breaks the client's", async () => {
  const backend = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    const connection = await backend.accept();
    await connection.read(new Uint8Array(4096));
    await connection.write(
      new TextEncoder().encode(
        `HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n${"x".repeat(100)}`,
      ),
    );
    return connection;
  })();
  const balancer = newBalancer({ healthIntervalMs: 60_000 });
  await balancer.start();
  balancer.update([{ url: `http://127.0.0.1:${backend.addr.port}/api`, key: "0/0" }]);
  const response = await fetch(`${balancer.url}/api`);
  assert.equal(response.headers.get("content-length"), "1000000");
  const body = response.text();
  (await serving).close();
  backend.close();
  await assert.rejects(body);
  await balancer.close();
});

Deno.test("a refused connection is tried elsewhere, POST and large bodies too", async () => {
  const counts = [0];
  const server = serve(async (request) => {
    counts[0]!++;
    return new Response(String((await request.bytes()).length));
  });
  const balancer = newBalancer();
  await balancer.start();
  const gone = `http://127.0.0.1:${freePort()}/api`;
  for (const size of [10, 1_000_000]) {
    balancer.update([]);
    balancer.update([{ url: gone, key: "0/0" }, { url: server.url, key: "0/1" }]);
    for (let request = 0; request < 4; request++) {
      const { text } = await post(`${balancer.url}/api`, new Uint8Array(size));
      assert.equal(text, String(size));
    }
  }
  assert.equal(counts[0], 8);
  assert.ok(balancer.stats().retries >= 2);
  assert.equal(balancer.stats().backends[0]!.state, "down");
  await balancer.close();
  await server.close();
});

Deno.test("a backend that comes back takes the requests that have waited for it", async () => {
  const port = freePort();
  const balancer = newBalancer({ queueTimeoutMs: 60_000 });
  await balancer.start();
  balancer.update([{ url: `http://127.0.0.1:${port}/api`, key: "0/0" }]);
  const waiting = [post(`${balancer.url}/api`), get(`${balancer.url}/api`)];
  await until(balancer, ({ waiting, backends }) => waiting === 2 && backends[0]!.state === "down");
  const server = serve(() => new Response("back"), port);
  assert.deepEqual((await Promise.all(waiting)).map(({ text }) => text), ["back", "back"]);
  assert.equal(balancer.stats().backends[0]!.state, "up");
  await balancer.close();
  await server.close();
});

Deno.test("a backend that says it is not ready is left out, and taken in when it is", async () => {
  let isReady = false;
  let handled = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
    if (url.endsWith("/readyz")) return new Response("", { status: isReady ? 200 : 503 });
    handled++;
    return new Response("done");
  });
  const balancer = newBalancer({ healthIntervalMs: 20, queueTimeoutMs: 60_000 });
  await balancer.start();
  balancer.update([{ url: `http://127.0.0.1:${server.addr.port}/api`, key: "0/0" }]);
  await until(balancer, ({ backends }) => backends[0]!.state === "draining");
  const call = post(`${balancer.url}/api`);
  await until(balancer, ({ waiting }) => waiting === 1);
  assert.equal(handled, 0);
  isReady = true;
  assert.equal((await call).text, "done");
  await balancer.close();
  await server.shutdown();
});

Deno.test("a backend that does not answer probes is used only when there is no other", async () => {
  const silent = new Gate();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    return request.url.endsWith("/readyz") ? silent.handler(request) : new Response("slow");
  });
  const other = serve(() => new Response("quick"));
  const balancer = newBalancer({ healthIntervalMs: 20, healthTimeoutMs: 20 });
  await balancer.start();
  const slow = { url: `http://127.0.0.1:${server.addr.port}/api`, key: "0/0" };
  balancer.update([slow, { url: other.url, key: "0/1" }]);
  await until(balancer, ({ backends }) => backends[0]!.state === "unresponsive");
  for (let request = 0; request < 4; request++) {
    assert.equal((await post(`${balancer.url}/api`)).text, "quick");
  }
  balancer.update([slow]);
  assert.equal((await post(`${balancer.url}/api`)).text, "slow");
  await balancer.close();
  silent.open();
  await server.shutdown();
  await other.close();
});

Deno.test("a connection that the backend has closed while it was idle is not used", async () => {
  await withRaw({}, [Array(20).fill("hang up after answer")], async (url, backends, balancer) => {
    for (let request = 0; request < 20; request++) {
      assert.equal((await get(url)).text, "done");
    }
    assert.ok(backends[0]!.handled.length >= 20);
    assert.equal(balancer.stats().errors, 0);
  });
});

Deno.test("a service that is taken out and then stops loses no request, POST under load included", async () => {
  const services = await Promise.all([
    startService({ name: "api" }, newHost()),
    startService({ name: "api" }, newHost()),
  ]);
  const balancer = newBalancer();
  await balancer.start();
  balancer.update(services.map(({ url }, partition) => ({ url, key: `0/${partition}` })));
  let isStopped = false;
  const statuses = new Map<string, number>();
  const load = Array.from({ length: 8 }, async () => {
    const connection = await HttpConnection.open(`${balancer.url}/api`);
    do {
      const answer = await connection.post("hello");
      const key = `${answer.status} ${textOf(answer)}`;
      statuses.set(key, (statuses.get(key) ?? 0) + 1);
    } while (!isStopped);
    connection.close();
  });
  await until(balancer, ({ backends }) => backends.every(({ total }) => total > 50));
  await balancer.update([{ url: services[1]!.url, key: "0/1" }]);
  await services[0]!.query.stop();
  const { total } = balancer.stats();
  await until(balancer, (stats) => stats.total > total + 50);
  isStopped = true;
  await Promise.all(load);
  assert.deepEqual([...statuses.keys()], ["200 hello"]);
  await balancer.close();
  await services[1]!.query.stop({ now: true });
});

Deno.test("a balancer that stops answers what it has and frees the port", async () => {
  const gate = new Gate();
  await withBalancer({}, [gate.handler], async (url, balancer) => {
    const call = post(url);
    await gate.until(1);
    const closed = balancer.close();
    gate.open();
    assert.equal((await call).text, "done");
    await closed;
    const { port } = new URL(url);
    Deno.listen({ hostname: "127.0.0.1", port: Number(port) }).close();
  });
});

Deno.test("a stop that would take too long gives callers 503", async () => {
  const gate = new Gate();
  await withBalancer({ drainTimeoutMs: 100 }, [gate.handler], async (url, balancer) => {
    const call = post(url);
    await gate.until(1);
    await balancer.close();
    assert.equal((await call).status, 503);
    gate.open();
  });
});

Deno.test("whatever backends do, a request gets one reply, a POST has one handler", {
  // Deno 2.4 may not see that a connection is closed on which a reply broke off, and so ends no shutdown.
  sanitizeOps: !Deno.version.deno.startsWith("2.4."),
}, async () => {
  const behaviour = fc.constantFrom<Behaviour[]>(
    "answer",
    "chunked",
    "break at once",
    "break after request",
    "break in head",
    "break in body",
    "break in chunks",
    "talk nonsense",
    "refuse",
    "hang up after answer",
  );
  const script = fc.array(behaviour, { maxLength: 12 });
  const method = fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE");
  await fc.assert(
    fc.asyncProperty(
      fc.array(script, { minLength: 1, maxLength: 3 }),
      fc.array(method, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 4 }),
      async (scripts, methods, concurrency) => {
        await withRaw(
          { drainTimeoutMs: 500 },
          scripts.map((each) => [...each]),
          async (url, backends) => {
            const requests = methods.entries();
            const run = async () => {
              for (const [number, method] of requests) {
                const body = method === "GET" ? {} : { body: "abc" };
                try {
                  const { status, text } = await get(`${url}/${number}`, { method, ...body });
                  if (status === 200) assert.equal(text, "done");
                  else assert.ok([502, 503].includes(status), `status ${status}`);
                } catch (error) {
                  // Only a reply that has begun may end in another way than with its end.
                  assert.ok(
                    scripts.some((each) => each.includes("break in chunks")),
                    String(error),
                  );
                }
              }
            };
            await Promise.all(Array.from({ length: concurrency }, run));
            const heads = backends.flatMap(({ handled }) => handled);
            for (const [number, method] of methods.entries()) {
              if (method !== "POST" && method !== "PATCH") continue;
              const line = `${method} /api/${number} HTTP/1.1`;
              assert.ok(heads.filter((head) => head.startsWith(line)).length <= 1, line);
            }
          },
        );
      },
    ),
    { numRuns: 60 },
  );
});
