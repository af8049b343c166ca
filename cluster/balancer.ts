/**
 * The built-in balancer: one port in front of the listeners of many partitions and peers.
 *
 * A request goes to the backend that has the fewest in flight; among equals they take turns.
 *
 * What becomes of a request whose backend fails:
 *
 * | what happened | GET, HEAD, PUT, DELETE, OPTIONS | POST, PATCH, others |
 * |---|---|---|
 * | no connection, or none of the request could be written | tried again | tried again |
 * | the backend said that it refused the request unseen (503 with `x-millrace-refused: stopping`) | tried again | tried again |
 * | 503 with `connection: close` and `retry-after` | tried again | passed on |
 * | the connection broke after bytes of the request were written, before the reply's head | tried again | 502 |
 * | the same within a reply of up to 64 KB with a Content-Length, of which nothing was passed on | tried again | 502 |
 * | the connection broke within a longer reply | the client's breaks off too | the same |
 * | no reply in time | 504 | 504 |
 * | the reply is no HTTP | 502 | 502 |
 *
 * Tried again: on another backend if there is one, `maxAttempts` times in all, and only while the whole
 * body can be sent again, because it is no longer than `maxBufferedBytes`, or no more of it has been
 * read. Else the answer is 502, or the backend's 503. So a POST reaches at most one backend's handler.
 *
 * Bodies are streamed both ways; what a client or backend does not take is not read from the other side.
 * A client that leaves ends its request at the backend. WebSockets are refused with 501.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";
import { pathOf } from "../engine/http/listener.ts";
import { REFUSED_HEADER } from "../engine/http/service.ts";
import { PlanError } from "../plugins/errors.ts";
import type { BalancerOptions } from "./balancer_options.ts";
import { latin1Bytes } from "./reply_head.ts";
import { authorityOf, requestHead, targetOf } from "./request_head.ts";
import { answersAt, type Backend, type BackendStats, originOf, Upstream } from "./upstream.ts";
import {
  type BodyStream,
  type ReplyEnd,
  type UpstreamConnection,
  UpstreamError,
  type UpstreamReply,
} from "./upstream_connection.ts";

export type { Backend, BackendState, BackendStats } from "./upstream.ts";

/** What the balancer is doing. */
export interface BalancerStats {
  readonly backends: readonly BackendStats[];
  /** Requests that have been taken and not been answered whole. */
  readonly inFlight: number;
  /** Of these, those that wait for a backend. */
  readonly waiting: number;
  /** Requests that have been taken. */
  readonly total: number;
  /** Attempts beyond the first one of a request. */
  readonly retries: number;
  /** Requests that were answered with an error of the balancer's own. */
  readonly errors: number;
}

const SWEEP_MS = 100;
/** How long, in ms, clients have to take the last answers of a balancer that has waited long enough. */
const SEND_OFF_MS = 1_000;
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]);
const RETRY_AFTER = { "retry-after": "1" } as const;
const NO_BYTES = new Uint8Array(0);

/** A request on its way. */
class Call {
  readonly request: Request;
  readonly client: string;
  readonly started = Date.now();
  readonly tried = new Set<Upstream>();
  /** What the timeout counts from, in ms since 1970, while there is no connection. */
  since = this.started;
  phase: "body" | "backend" | "reply" | "stream" = "body";
  connection: UpstreamConnection | undefined;
  /** Ends the wait for a backend. */
  wake: ((upstream: Upstream | undefined) => void) | undefined;
  watched = false;
  /** Whether the client has. */
  hasLeft = false;
  isAnswered = false;
  readonly #respond: (response: Response) => void;

  constructor(request: Request, client: string, respond: (response: Response) => void) {
    this.request = request;
    this.client = client;
    this.#respond = respond;
  }

  /** Sends the response, unless there has been one. */
  answer(response: Response): void {
    if (this.isAnswered) return;
    this.isAnswered = true;
    this.#respond(response);
  }

  /** Ends what is under way for it. */
  abandon(): void {
    this.connection?.close();
    this.wake?.(undefined);
  }
}

/** A reverse proxy in front of backends that come and go. */
export class Balancer {
  readonly #options: BalancerOptions;
  readonly #upstreams = new Map<string, Upstream>();
  /** Those of the map, for the hot path. */
  #ring: readonly Upstream[] = [];
  #turn = 0;
  readonly #calls = new Set<Call>();
  readonly #waiting = new Set<Call>();
  #healthDoors: ReadonlyMap<string, "healthz" | "readyz"> = new Map();
  #server: Deno.HttpServer<Deno.NetAddr> | undefined;
  #sweeper: ReturnType<typeof setInterval> | undefined;
  #isClosing = false;
  #isClosed = false;
  #total = 0;
  #retries = 0;
  #errors = 0;

  constructor(options: BalancerOptions) {
    this.#options = options;
    this.#findHealthDoors([]);
  }

  /**
   * Binds the port.
   * @throws {PlanError} when that cannot be done
   */
  // deno-lint-ignore require-await -- so that a failure is a rejection
  async start(): Promise<void> {
    if (this.#server !== undefined) throw new Error("Cannot start a balancer twice");
    const { host, port } = this.#options;
    try {
      this.#server = Deno.serve({
        hostname: host === "localhost" ? "127.0.0.1" : host,
        port,
        onListen: () => {},
        onError: (error) => this.#internalError(error),
      }, (request, info) => this.#handle(request, info));
    } catch (error) {
      const why = error instanceof Deno.errors.AddrInUse
        ? "address in use; stop the other service or change balancer.port"
        : `${
          error instanceof Error ? error.message : error
        }; change balancer.host or balancer.port`;
      throw new PlanError(`Cannot bind "${host}:${port}": ${why}`, { cause: error });
    }
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /** `http://HOST:PORT`, once it has started. */
  get url(): string {
    const { host } = this.#options;
    if (this.#server === undefined) throw new Error("A balancer that has not started has no URL");
    return `http://${host.includes(":") ? `[${host}]` : host}:${this.#server.addr.port}`;
  }

  /**
   * Sets the backends. Requests that are at one which is no longer among them are answered by it.
   * Backends of one host and port are one, with the keys of all.
   * @returns when those that were taken out have answered all that they had, and so can be stopped without
   *   a loss. What else there is to do has been done before it returns
   * @throws {PlanError} for a URL that is not `http:`
   */
  update(backends: readonly Backend[]): Promise<void> {
    // A probe would outlive the balancer.
    if (this.#isClosed) return Promise.resolve();
    const wanted = Map.groupBy(backends, originOf);
    const idle: Promise<void>[] = [];
    for (const [origin, upstream] of this.#upstreams) {
      if (wanted.has(origin)) continue;
      this.#upstreams.delete(origin);
      upstream.close();
      idle.push(upstream.idle());
    }
    for (const [origin, group] of wanted) {
      let upstream = this.#upstreams.get(origin);
      if (upstream === undefined) {
        upstream = new Upstream(origin, this.#options, () => this.#dispatch());
        this.#upstreams.set(origin, upstream);
      }
      upstream.backends = group;
    }
    this.#ring = [...this.#upstreams.values()];
    this.#findHealthDoors(backends);
    this.#dispatch();
    return Promise.all(idle).then(() => {});
  }

  /** Refuses new requests, waits for replies that are on their way, and frees the port. Safe twice. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const call of [...this.#waiting]) {
      this.#refuse(call, 503, "The balancer is stopping: try again later", STOPPING);
    }
    if (this.#server !== undefined) {
      const over = this.#server.shutdown();
      if (!await endsWithin(over, this.#options.drainTimeoutMs)) {
        for (const call of this.#calls) {
          this.#refuse(call, 503, "The balancer has stopped before there was a reply", RETRY_AFTER);
          call.abandon();
        }
        await endsWithin(over, SEND_OFF_MS);
      }
    }
    clearInterval(this.#sweeper);
    for (const upstream of this.#ring) upstream.close();
    this.#isClosed = true;
  }

  stats(): BalancerStats {
    return {
      backends: this.#ring.map((upstream) => upstream.stats()),
      inFlight: this.#calls.size,
      waiting: this.#waiting.size,
      total: this.#total,
      retries: this.#retries,
      errors: this.#errors,
    };
  }

  #handle(
    request: Request,
    info: Deno.ServeHandlerInfo<Deno.NetAddr>,
  ): Response | Promise<Response> {
    const { method, headers, url } = request;
    if (this.#healthDoors.size > 0 && (method === "GET" || method === "HEAD")) {
      const door = this.#healthDoors.get(pathOf(url));
      if (door !== undefined) return this.#health(door);
    }
    if (headers.has("upgrade") && /\bwebsocket\b/i.test(headers.get("upgrade")!)) {
      return this.#error(501, "WebSockets do not go through the balancer: call a service directly");
    }
    if (method === "CONNECT" || method === "TRACE") {
      return this.#error(501, `Method ${method} does not go through the balancer`);
    }
    if (this.#isClosing) {
      return this.#error(503, "The balancer is stopping: try again later", STOPPING);
    }
    if (this.#waiting.size >= this.#options.maxQueueSize && this.#pick() === undefined) {
      return this.#full();
    }
    this.#total++;
    return new Promise((respond) => {
      const call = new Call(request, info.remoteAddr.hostname, respond);
      this.#calls.add(call);
      this.#run(call).catch((error) => {
        this.#calls.delete(call);
        call.answer(this.#internalError(error));
      });
    });
  }

  async #run(call: Call): Promise<void> {
    const { request } = call;
    const { url } = request;
    const body = await this.#readBody(call);
    if (call.isAnswered || body === undefined) return this.#end(call);
    const stream = body instanceof Uint8Array ? undefined : body;
    const bytes = body instanceof Uint8Array ? body : NO_BYTES;
    const authority = request.headers.get("host") ?? authorityOf(url);
    const head = requestHead(
      request,
      targetOf(url),
      authority,
      framingOf(request, body),
      { client: call.client, trustForwarded: this.#options.trustForwarded },
    );
    const message = latin1Bytes(head, bytes.length);
    message.set(bytes, head.length);
    for (let attempt = 1;; attempt++) {
      call.phase = "backend";
      call.since = Date.now();
      const upstream = this.#take(call) ?? await this.#wait(call);
      if (upstream === undefined) return this.#end(call);
      if (attempt > 1) this.#retries++;
      const isLast = attempt >= this.#options.maxAttempts;
      if (await this.#attempt(call, upstream, message, stream, isLast)) return;
      call.tried.add(upstream);
    }

    function framingOf({ method }: Request, body: Uint8Array | BodyStream) {
      if (!(body instanceof Uint8Array)) {
        return body.chunked ? "chunked" : Number(request.headers.get("content-length"));
      }
      const isBodiless = method === "GET" || method === "HEAD" || method === "DELETE" ||
        method === "OPTIONS";
      return body.length === 0 && isBodiless ? undefined : body.length;
    }
  }

  /**
   * Sends a request to a backend, which counts it already, and passes the reply on.
   * @returns whether it has come to an end; false: it is to be tried again
   */
  async #attempt(
    call: Call,
    upstream: Upstream,
    message: Uint8Array,
    stream: BodyStream | undefined,
    isLast: boolean,
  ): Promise<boolean> {
    const { method } = call.request;
    upstream.total++;
    call.phase = "reply";
    let connection: UpstreamConnection | undefined;
    let hasEnded = false;
    let isStreaming = false;
    const release = (end: ReplyEnd) => {
      hasEnded = true;
      upstream.leave();
      if (end === "reusable") upstream.keep(connection!);
      else if (end === "broken") {
        upstream.failures++;
        upstream.markDown();
      }
      if (isStreaming) this.#end(call);
      if (this.#waiting.size > 0) this.#dispatch();
    };
    let reply: UpstreamReply;
    try {
      connection = await upstream.connection();
      call.connection = connection;
      if (call.isAnswered) throw new UpstreamError("the client has left", false, false);
      reply = await connection.exchange(method, message, stream, release);
    } catch (error) {
      // It ended before a reply, so nobody has been told.
      if (!hasEnded) release("closed");
      connection?.close();
      call.connection = undefined;
      if (!(error instanceof UpstreamError)) throw error;
      if (!call.hasLeft) upstream.failures++;
      if (call.isAnswered) {
        this.#end(call);
        return true;
      }
      if (error.broken) upstream.markDown();
      const isSafe = !error.sent || error.broken && IDEMPOTENT.has(method);
      if (isSafe && !isLast && stream?.used !== true) return false;
      this.#refuse(call, 502, `The backend gave no reply: ${error.message}`);
      this.#end(call);
      return true;
    }
    if (reply.status === 503) {
      const refusal = refusalOf(reply);
      if (refusal !== undefined) {
        upstream.markDraining();
        const isSafe = refusal === "unseen" || IDEMPOTENT.has(method);
        if (isSafe && !isLast && stream?.used !== true && this.#hasOther(upstream)) {
          if (reply.body instanceof ReadableStream) await reply.body.cancel();
          call.connection = undefined;
          return false;
        }
      }
    }
    if (call.isAnswered) {
      if (reply.body instanceof ReadableStream) await reply.body.cancel();
      this.#end(call);
      return true;
    }
    if (hasEnded) this.#end(call);
    else {
      isStreaming = true;
      call.phase = "stream";
    }
    call.answer(this.#toResponse(reply));
    return true;
  }

  /** Reads a body that can be held, or as much of another one. Undefined when the client breaks off. */
  async #readBody(call: Call): Promise<Uint8Array | BodyStream | undefined> {
    const { request } = call;
    const { maxBufferedBytes } = this.#options;
    const length = request.headers.get("content-length");
    try {
      // Asking for `request.body` makes a stream, which costs more than all the rest.
      if (length !== null && Number(length) <= maxBufferedBytes) return await request.bytes();
      if (request.body === null) return NO_BYTES;
      const reader = request.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
      if (length !== null) return { prefix: NO_BYTES, reader, chunked: false, used: false };
      const chunks: Uint8Array[] = [];
      let size = 0;
      while (size < maxBufferedBytes) {
        const { done, value } = await reader.read();
        if (done) return joined(chunks, size);
        chunks.push(value);
        size += value.length;
      }
      return { prefix: joined(chunks, size), reader, chunked: true, used: false };
    } catch {
      this.#refuse(call, 400, "Cannot read the body: the request was cut short");
      return undefined;
    }
  }

  /** The backend with the fewest requests in flight that takes another one, or undefined. */
  #pick(tried?: ReadonlySet<Upstream>): Upstream | undefined {
    const ring = this.#ring;
    const { maxInFlight } = this.#options;
    let best: Upstream | undefined;
    let bestRank = Infinity;
    this.#turn = (this.#turn + 1) % Math.max(1, ring.length);
    for (let step = 0; step < ring.length; step++) {
      const upstream = ring[(this.#turn + step) % ring.length]!;
      const { state, inFlight } = upstream;
      if (state === "down" || state === "draining" || inFlight >= maxInFlight) continue;
      // Those that may not answer are used when there is no other, and so are those that have failed.
      const rank = inFlight + (state === "up" ? 0 : 1e9) + (tried?.has(upstream) ? 1e12 : 0);
      if (rank >= bestRank) continue;
      best = upstream;
      bestRank = rank;
    }
    return best;
  }

  #hasOther(upstream: Upstream): boolean {
    return this.#ring.some((other) => other !== upstream && other.state === "up");
  }

  /** Waits for a backend; undefined when none comes in time, and the call is answered. */
  #wait(call: Call): Promise<Upstream | undefined> {
    if (this.#isClosing) {
      this.#refuse(call, 503, "The balancer is stopping: try again later", STOPPING);
      return Promise.resolve(undefined);
    }
    if (this.#waiting.size >= this.#options.maxQueueSize) {
      call.answer(this.#full());
      return Promise.resolve(undefined);
    }
    return new Promise((resolve) => {
      this.#waiting.add(call);
      call.wake = (upstream) => {
        call.wake = undefined;
        this.#waiting.delete(call);
        resolve(upstream);
      };
    });
  }

  /** Gives backends that can take requests to those that wait, in their order. */
  #dispatch(): void {
    for (const call of this.#waiting) {
      const upstream = this.#take(call);
      if (upstream === undefined) return;
      call.wake!(upstream);
    }
  }

  /** Picks a backend and counts the request as its own. */
  #take(call: Call): Upstream | undefined {
    const upstream = this.#pick(call.tried);
    upstream?.enter();
    return upstream;
  }

  /** Ends what takes too long, and watches for callers that leave while they wait for long. */
  #sweep(): void {
    const now = Date.now();
    const { timeoutMs, queueTimeoutMs } = this.#options;
    for (const call of this.#calls) {
      if (now - call.started < SWEEP_MS) continue;
      const silence = now - (call.connection?.lastProgress ?? call.since);
      if (call.phase === "stream") {
        if (silence >= timeoutMs) call.abandon();
        continue;
      }
      if (call.phase === "body" && silence >= timeoutMs) {
        this.#refuse(call, 408, `Request not received whole within ${timeoutMs} ms`);
        this.#end(call);
      } else if (call.phase === "backend" && silence >= queueTimeoutMs) {
        const message = `No backend could take the request within ${queueTimeoutMs} ms`;
        this.#refuse(call, 503, message, RETRY_AFTER);
        call.abandon();
      } else if (call.phase === "reply" && silence >= timeoutMs) {
        this.#refuse(call, 504, `No reply from the backend within ${timeoutMs} ms`);
        call.abandon();
      } else if (!call.watched) {
        // Asking for the signal is dear, so only those that wait anyway are asked.
        call.watched = true;
        const { signal } = call.request;
        if (signal.aborted) this.#hungUp(call);
        else signal.addEventListener("abort", () => this.#hungUp(call), { once: true });
      }
    }
    for (const upstream of this.#ring) upstream.sweep(now);
  }

  #hungUp(call: Call): void {
    if (call.isAnswered) return;
    call.hasLeft = true;
    // Nobody reads this answer.
    call.answer(new Response(null, { status: 499 }));
    call.abandon();
  }

  #end(call: Call): void {
    this.#calls.delete(call);
  }

  #toResponse({ status, headers, body }: UpstreamReply): Response {
    try {
      return new Response(status === 205 ? null : body, { status, headers });
    } catch (error) {
      // A header or status that the server cannot send.
      if (body instanceof ReadableStream) body.cancel().catch(() => {});
      const reason = error instanceof Error ? error.message : String(error);
      return this.#error(502, `The backend gave a reply that cannot be passed on: ${reason}`);
    }
  }

  #findHealthDoors(backends: readonly Backend[]): void {
    const prefix = this.#options.healthPath.replace(/\/+$/, "");
    const doors = (["healthz", "readyz"] as const).map((door) =>
      [`${prefix}/${door}`, door] as const
    );
    this.#healthDoors = new Map(
      doors.filter(([path]) => !backends.some((backend) => answersAt(backend, path))),
    );
  }

  #health(door: "healthz" | "readyz"): Response {
    if (door === "healthz") return new Response("ok");
    if (this.#isClosing) return new Response("not ready: stopping", { status: 503 });
    const isReady = this.#ring.some(({ state }) => state === "up" || state === "unresponsive");
    return isReady
      ? new Response("ready")
      : new Response("not ready: no backend is up", { status: 503 });
  }

  #refuse(call: Call, status: number, message: string, headers?: Record<string, string>): void {
    if (!call.isAnswered) call.answer(this.#error(status, message, headers));
  }

  #full(): Response {
    return this.#error(503, "Too many requests wait for a backend: try again later", RETRY_AFTER);
  }

  /** An error as the caller sees it: JSON `{"error": message}`. */
  #error(status: number, message: string, headers: Record<string, string> = {}): Response {
    this.#errors++;
    return Response.json({ error: message }, { status, headers });
  }

  #internalError(error: unknown): Response {
    const message = error instanceof Error ? error.message : String(error);
    log().error("A request failed: {message}", { message });
    return this.#error(500, `Internal error: ${message}`);
  }
}

const STOPPING = { ...RETRY_AFTER, connection: "close", [REFUSED_HEADER]: "stopping" } as const;

/**
 * Whether a reply of status 503 says that the backend has taken leave: `unseen` when it is certain that
 * nothing was done about the request, `likely` when it is the custom of servers.
 */
function refusalOf({ headers, keepAlive }: UpstreamReply): "unseen" | "likely" | undefined {
  const value = (name: string) => headers.find(([each]) => each === name)?.[1];
  if (value(REFUSED_HEADER) === "stopping") return "unseen";
  return !keepAlive && value("retry-after") !== undefined ? "likely" : undefined;
}

/** Waits for a promise; false when it takes too long. */
async function endsWithin(promise: Promise<void>, ms: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), ms);
  const isOver = await Promise.race([promise.then(() => true), late.promise]);
  clearTimeout(timer);
  return isOver;
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  if (chunks.length === 1) return chunks[0]!;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function log() {
  return getLogger(["millrace", "balancer"]);
}
