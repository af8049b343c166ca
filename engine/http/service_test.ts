import assert from "node:assert/strict";
import fc from "fast-check";
import { QueryReplies, Replies } from "../replies.ts";
import { RowBuffer } from "../row_buffer.ts";
import { HttpListener } from "./listener.ts";
import { type HttpRow, HttpService, type HttpServiceOptions } from "./service.ts";

const defaults = {
  name: "api",
  path: "/api",
  host: "127.0.0.1",
  port: 0,
  methods: ["GET", "POST"],
  maxBodyBytes: 1000,
  replyTimeoutMs: 60_000,
  droppedReply: { status: 404, body: "No result" },
  columns: "all" as const,
  peer: 0,
  partition: -1,
  origin: "0/-1/",
};

/** A service whose rows are handed to `onRows` as they come; without it they stay in the queue. */
async function withService(
  options: Partial<HttpServiceOptions>,
  onRows: ((rows: HttpRow[], service: HttpService) => void) | undefined,
  test: (
    url: string,
    service: HttpService,
    buffer: RowBuffer<HttpRow>,
    arrived: (rows: number) => Promise<void>,
  ) => Promise<void>,
  capacity: number = 100,
): Promise<void> {
  const replies = new QueryReplies(new Replies());
  const service = new HttpService({ ...defaults, replies, ...options });
  replies.claim();
  let offers = 0;
  const waiting: (() => void)[] = [];
  const buffer: RowBuffer<HttpRow> = new RowBuffer(capacity, () => {
    offers++;
    for (const check of waiting) check();
    // As the dispatcher does: later than the offer.
    if (onRows !== undefined) queueMicrotask(() => onRows(buffer.take(Infinity), service));
  });
  const arrived = (rows: number) =>
    new Promise<void>((resolve) => {
      const check = () => offers >= rows && resolve();
      waiting.push(check);
      check();
    });
  service.start(buffer);
  try {
    await test(service.services()[0]!.url, service, buffer, arrived);
  } finally {
    await service.close();
  }
}

const echo = (rows: HttpRow[], service: HttpService) => {
  if (rows.length === 0) return;
  const batch = service.toBatch(rows);
  const requests = batch.column("request") as { body: Uint8Array }[];
  for (const [at, row] of rows.entries()) {
    service.answer(row.id, { status: 200, body: requests[at]!.body });
  }
};

const pipeThrough = async (bytes: Uint8Array<ArrayBuffer>, format: CompressionFormat) =>
  await new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream(format))).bytes();

Deno.test("any body comes back byte for byte, plain, in chunks, compressed", async () => {
  await withService({}, echo, async (url) => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 1000 }),
        fc.constantFrom("plain", "chunked", "gzip", "deflate"),
        async (given, how) => {
          const bytes = Uint8Array.from(given);
          let response: Response;
          if (how === "plain") response = await fetch(url, { method: "POST", body: bytes });
          else if (how === "chunked") {
            response = await fetch(url, { method: "POST", body: new Blob([bytes]).stream() });
          } else {
            const body = await pipeThrough(bytes, how as CompressionFormat);
            response = await fetch(url, {
              method: "POST",
              body,
              headers: { "content-encoding": how },
            });
          }
          assert.equal(response.status, 200);
          assert.deepEqual(await response.bytes(), bytes);
        },
      ),
      { numRuns: 200 },
    );
  });
});

Deno.test("value is the body as text, a byte order mark and broken UTF-8 included", async () => {
  const texts: string[] = [];
  const onRows = (rows: HttpRow[], service: HttpService) => {
    if (rows.length === 0) return;
    texts.push(...service.toBatch(rows).column("value") as string[]);
    for (const row of rows) service.answer(row.id, { status: 200, body: "" });
  };
  await withService({ columns: new Set(["value"]) }, onRows, async (url) => {
    const bodies = ["", "héllo 🦀", "\uFEFFmark", "a\0b"];
    for (const body of bodies) await (await fetch(url, { method: "POST", body })).text();
    await (await fetch(url, { method: "POST", body: Uint8Array.of(0x61, 0xff) })).text();
    assert.deepEqual(texts, [...bodies, "a\uFFFD"]);
  });
});

Deno.test("request has method, path, query, headers and body", async () => {
  const seen: unknown[] = [];
  const onRows = (rows: HttpRow[], service: HttpService) => {
    if (rows.length === 0) return;
    seen.push(...service.toBatch(rows).column("request") as unknown[]);
    for (const row of rows) service.answer(row.id, { status: 200, body: "" });
  };
  await withService({}, onRows, async (url) => {
    await (await fetch(`${url}/a%20b?x=1&y=?`, { headers: { "x-one": "1" } })).text();
    const request = seen[0] as { headers: { name: string; value: string }[] };
    assert.deepEqual({ ...request, headers: [] }, {
      method: "GET",
      path: "/api/a%20b",
      query: "x=1&y=?",
      headers: [],
      body: new Uint8Array(0),
    });
    assert.ok(request.headers.some(({ name, value }) => name === "x-one" && value === "1"));
  });
});

const refused: {
  title: string;
  options?: Partial<HttpServiceOptions>;
  path?: string;
  init: RequestInit;
  status: number;
  error: string;
  headers?: Record<string, string>;
}[] = [
  {
    title: "a body over the limit",
    init: { method: "POST", body: "x".repeat(1001) },
    status: 413,
    error: "Body too large: at most 1000 bytes are allowed",
  },
  {
    title: "a chunked body over the limit",
    init: { method: "POST", body: new Blob(["x".repeat(5000)]).stream() },
    status: 413,
    error: "Body too large: at most 1000 bytes are allowed",
  },
  {
    title: "a small body that decompresses to a large one",
    init: {
      method: "POST",
      body: await pipeThrough(new Uint8Array(100_000), "gzip"),
      headers: { "content-encoding": "gzip" },
    },
    status: 413,
    error: "Body too large: at most 1000 bytes are allowed",
  },
  {
    title: "a body that is not the gzip it claims to be",
    init: { method: "POST", body: "plain", headers: { "content-encoding": "gzip" } },
    status: 400,
    error: "Cannot decompress the body: it is not valid gzip",
  },
  {
    title: "a gzip body that is cut short",
    init: {
      method: "POST",
      body: (await pipeThrough(new Uint8Array(900), "gzip")).slice(0, -9),
      headers: { "content-encoding": "gzip" },
    },
    status: 400,
    error: "Cannot decompress the body: it is not valid gzip",
  },
  {
    title: "an encoding that is not known",
    init: { method: "POST", body: "x", headers: { "content-encoding": "br" } },
    status: 415,
    error: 'Cannot read a body of Content-Encoding "br": gzip, deflate and identity are allowed',
  },
  {
    title: "a method that is not taken",
    init: { method: "DELETE" },
    status: 405,
    error: "Method DELETE is not allowed: GET, POST, HEAD, OPTIONS are",
    headers: { allow: "GET, POST, HEAD, OPTIONS" },
  },
  {
    title: "HEAD where GET is not taken",
    options: { methods: ["POST"] },
    init: { method: "PUT" },
    status: 405,
    error: "Method PUT is not allowed: POST, OPTIONS are",
  },
  {
    title: "a path that only begins like the service's",
    path: "/apis",
    init: { method: "POST", body: "x" },
    status: 404,
    error: 'No service at "/apis"',
  },
  {
    title: "the root",
    path: "/",
    init: { method: "POST", body: "x" },
    status: 404,
    error: 'No service at "/"',
  },
];

for (const { title, options, path, init, status, error, headers } of refused) {
  Deno.test(`${title} gets ${status}`, async () => {
    await withService(options ?? {}, echo, async (url) => {
      const target = path === undefined ? url : new URL(path, url);
      const response = await fetch(target, init);
      assert.deepEqual(await response.json(), { error });
      assert.equal(response.status, status);
      for (const [name, value] of Object.entries(headers ?? {})) {
        assert.equal(response.headers.get(name), value);
      }
      const good = await fetch(url, { method: "POST", body: "good" });
      assert.equal(await good.text(), "good");
    });
  });
}

Deno.test("sub-paths, queries and a trailing slash reach the service", async () => {
  await withService({}, echo, async (url) => {
    for (const tail of ["", "/", "/a/b", "?q=1", "/a?q=/x"]) {
      const response = await fetch(url + tail, { method: "POST", body: "x" });
      assert.equal(await response.text(), "x", tail);
    }
  });
});

Deno.test("OPTIONS tells the methods, HEAD goes with GET and has no body", async () => {
  await withService({}, echo, async (url) => {
    const options = await fetch(url, { method: "OPTIONS" });
    assert.equal(options.status, 204);
    assert.equal(options.headers.get("allow"), "GET, POST, HEAD, OPTIONS");
    const head = await fetch(url, { method: "HEAD" });
    assert.equal(head.status, 200);
    assert.equal(await head.text(), "");
  });
});

Deno.test("CORS headers go to allowed origins only, preflight included", async () => {
  const headers = { origin: "https://a.example", "access-control-request-method": "POST" };
  await withService({ cors: ["https://a.example"] }, echo, async (url) => {
    const preflight = await fetch(url, { method: "OPTIONS", headers });
    assert.equal(preflight.headers.get("access-control-allow-origin"), "https://a.example");
    await preflight.body?.cancel();
    const post = await fetch(url, { method: "POST", body: "x", headers });
    assert.equal(post.headers.get("access-control-allow-origin"), "https://a.example");
    assert.equal(await post.text(), "x");
    const other = await fetch(url, {
      method: "POST",
      body: "x",
      headers: { origin: "https://b.example" },
    });
    assert.equal(other.headers.get("access-control-allow-origin"), null);
    await other.text();
  });
});

Deno.test("a full queue gets 503 with Retry-After at once, and what was taken is answered", async () => {
  await withService({}, undefined, async (url, service, buffer, arrived) => {
    const two = [1, 2].map((n) => fetch(url, { method: "POST", body: String(n) }));
    await arrived(2);
    const third = await fetch(url, { method: "POST", body: "3" });
    assert.equal(third.status, 503);
    assert.equal(third.headers.get("retry-after"), "1");
    await third.text();
    echo(buffer.take(2), service);
    const replies = await Promise.all((await Promise.all(two)).map((each) => each.text()));
    assert.deepEqual(replies.sort(), ["1", "2"]);
  }, 2);
});

Deno.test("no reply in time gets 504, and leaves the queue", async () => {
  await withService({ replyTimeoutMs: 150 }, undefined, async (url, service, buffer) => {
    const response = await fetch(url, { method: "POST", body: "x" });
    assert.equal(response.status, 504);
    assert.deepEqual(await response.json(), { error: "No reply within 150 ms" });
    assert.equal(service.pending, 0);
    assert.equal(buffer.length, 0);
  });
});

Deno.test("a caller who hangs up leaves the queue", async () => {
  await withService({}, undefined, async (url, service, buffer, arrived) => {
    const hangUp = new AbortController();
    const call = fetch(url, { method: "POST", body: "x", signal: hangUp.signal });
    await arrived(1);
    hangUp.abort();
    await assert.rejects(call);
    await service.stopAccepting();
    assert.equal(buffer.length, 0);
    assert.deepEqual(buffer.take(1), []);
  }, 1);
});

Deno.test("an upload that stalls gets 408, and does not hold up the others", async () => {
  await withService({ replyTimeoutMs: 200 }, echo, async (url) => {
    const { hostname, port } = new URL(url);
    const slow = await Deno.connect({ hostname, port: Number(port) });
    const head = "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab";
    await slow.write(new TextEncoder().encode(head));
    assert.equal(await (await fetch(url, { method: "POST", body: "quick" })).text(), "quick");
    const answer = new Uint8Array(1000);
    const length = await slow.read(answer);
    assert.match(new TextDecoder().decode(answer.subarray(0, length!)), /^HTTP\/1\.1 408 /);
    slow.close();
  });
});

Deno.test("done() answers what had no reply, as droppedReply says", async () => {
  const drop = (rows: HttpRow[], service: HttpService) => service.done(rows);
  await withService({}, drop, async (url) => {
    const response = await fetch(url);
    assert.equal(response.status, 404);
    assert.deepEqual(await response.json(), { error: "No result" });
  });
  await withService({ droppedReply: { status: 204, body: "" } }, drop, async (url) => {
    assert.equal((await fetch(url)).status, 204);
  });
});

Deno.test("fail() answers with the error's status, or 500", async () => {
  const errors = [Object.assign(new Error("bad"), { status: 422 }), new Error("broken")];
  const fail = (rows: HttpRow[], service: HttpService) => {
    for (const row of rows) service.fail(row, errors.shift()!);
  };
  await withService({}, fail, async (url) => {
    const [first, second] = [await fetch(url), await fetch(url)];
    assert.deepEqual([first.status, await first.json()], [422, { error: "bad" }]);
    assert.deepEqual([second.status, await second.json()], [500, { error: "broken" }]);
  });
});

Deno.test("stopAccepting() refuses new requests and waits for the old ones", async () => {
  await withService({}, undefined, async (url, service, buffer, arrived) => {
    const old = fetch(url, { method: "POST", body: "old" });
    await arrived(1);
    const stopped = service.stopAccepting();
    const fresh = await fetch(url, { method: "POST", body: "new" });
    assert.equal(fresh.status, 503);
    await fresh.text();
    const ready = await fetch(new URL("/readyz", url));
    assert.equal(ready.status, 503);
    assert.equal(await ready.text(), "not ready: api");
    echo(buffer.take(1), service);
    await stopped;
    assert.equal(await (await old).text(), "old");
  });
});

Deno.test("/healthz and /readyz answer beside the services", async () => {
  await withService({}, echo, async (url) => {
    assert.equal(await (await fetch(new URL("/healthz", url))).text(), "ok");
    assert.equal(await (await fetch(new URL("/readyz", url))).text(), "ready");
  });
});

Deno.test("services share a port by path; a path that is taken is refused", async () => {
  await withService({}, echo, async (url, service) => {
    const { port } = service.services()[0]!;
    await withService({ name: "api2", path: "/api/deep", port }, (rows, other) => {
      for (const row of rows) other.answer(row.id, { status: 200, body: "deep" });
    }, async (deep) => {
      assert.equal(await (await fetch(deep)).text(), "deep");
      assert.equal(await (await fetch(url, { method: "POST", body: "x" })).text(), "x");
      assert.throws(
        () => HttpListener.open({ host: "127.0.0.1", port }, service),
        /service "api" answers there; stop it or change http.path/,
      );
    });
    assert.equal(await (await fetch(url, { method: "POST", body: "x" })).text(), "x");
  });
});

Deno.test("a port in use is an error that names it and the remedy", () => {
  const other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = other.addr;
  const service = new HttpService({ ...defaults, port, replies: new QueryReplies(new Replies()) });
  try {
    assert.throws(() => HttpListener.open({ host: "127.0.0.1", port }, service), {
      name: "PlanError",
      message:
        `Cannot bind "127.0.0.1:${port}": address in use; stop the other service or change http.port`,
    });
  } finally {
    other.close();
  }
});
