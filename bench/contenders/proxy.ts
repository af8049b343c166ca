/**
 * A process that passes requests on: `proxy.ts balancer|fetch|node PORT BACKEND...`, the built-in balancer
 * or the least that a proxy over one of Deno's own HTTP clients does.
 *
 * @module
 */
import { Agent, request as nodeRequest } from "node:http";
import { Buffer } from "node:buffer";
import * as v from "valibot";
import { Balancer } from "../../cluster/balancer.ts";
import { BALANCER_SCHEMA } from "../../cluster/balancer_options.ts";

const [kind, port, ...backends] = Deno.args;
if (kind === "balancer") await balance();
else {
  const pass = kind === "fetch" ? byFetch() : byNode();
  let turn = 0;
  Deno.serve({ hostname: "127.0.0.1", port: Number(port), onListen: () => {} }, async (request) => {
    const { origin } = new URL(backends[turn++ % backends.length]!);
    const headers = new Headers(request.headers);
    headers.delete("host");
    headers.set("x-forwarded-for", "127.0.0.1");
    const body = request.method === "POST" ? await request.bytes() : null;
    const target = request.url.slice(request.url.indexOf("/", 8));
    return await pass(origin + target, request.method, headers, body);
  });
}

type Pass = (
  url: string,
  method: string,
  headers: Headers,
  body: Uint8Array<ArrayBuffer> | null,
) => Promise<Response>;

async function balance(): Promise<void> {
  const balancer = new Balancer(
    v.parse(BALANCER_SCHEMA, { host: "127.0.0.1", port: Number(port) }),
  );
  await balancer.start();
  balancer.update(backends.map((url, peer) => ({ url, key: `${peer}/0` })));
}

function byFetch(): Pass {
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 1024, http2: false });
  return async (url, method, headers, body) => {
    const reply = await fetch(url, { method, headers, body, client, redirect: "manual" });
    return new Response(reply.body, { status: reply.status, headers: reply.headers });
  };
}

function byNode(): Pass {
  const agent = new Agent({ keepAlive: true, maxSockets: 1024 });
  return (url, method, headers, body) => {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const options = { method, headers: Object.fromEntries(headers), agent };
    const request = nodeRequest(url, options, (reply) => {
      const parts: Uint8Array<ArrayBuffer>[] = [];
      reply.on("data", (part) => parts.push(part));
      reply.on("end", () => {
        const status = reply.statusCode!;
        const headers = reply.headers as Record<string, string>;
        resolve(new Response(Buffer.concat(parts), { status, headers }));
      });
    });
    request.on("error", reject);
    request.end(body);
    return promise;
  };
}
