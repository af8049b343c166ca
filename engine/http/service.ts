/**
 * A service's end of HTTP: requests become rows, replies find their callers. Head-node and distributed
 * mode run this same code, on the head or in a partition.
 *
 * @module
 */
import type {
  Answer,
  Columns,
  PushSource,
  Reply,
  ReplyRouter,
  RowQueue,
  ServiceInfo,
} from "../../plugins/contract.ts";
import { Batch, type ColumnData, type Field, Schema } from "../batch.ts";
import { HttpError, readBody } from "./body.ts";
import { decodeAll } from "./decode_all.ts";
import { headerFault, isStatus, JSON_HEADERS } from "./encode_reply.ts";
import { type NumberedRow, PendingRows } from "./pending_rows.ts";
import {
  type HttpEndpoint,
  HttpListener,
  type ListenOptions,
  pathOf,
  queryOf,
} from "./listener.ts";

/** Columns of the rows: see DESIGN, "Request and reply". */
export const REQUEST_SCHEMA: Schema = new Schema([
  { name: "id", type: "string", nullable: false },
  { name: "value", type: "string", nullable: false },
  {
    name: "request",
    type: {
      struct: [
        { name: "method", type: "string" },
        { name: "path", type: "string" },
        { name: "query", type: "string" },
        {
          name: "headers",
          type: {
            list: { struct: [{ name: "name", type: "string" }, { name: "value", type: "string" }] },
          },
        },
        { name: "body", type: "binary" },
      ],
    },
    nullable: false,
  },
  { name: "timestamp", type: "timestamp", nullable: false },
]);

/** What a service needs to know; the defaults are in the `http` source's options. */
export interface HttpServiceOptions extends ListenOptions {
  readonly name: string;
  readonly path: string;
  readonly methods: readonly string[];
  readonly cors?: readonly string[] | undefined;
  readonly maxBodyBytes: number;
  readonly replyTimeoutMs: number;
  /** Answer to a row that a transform dropped. */
  readonly droppedReply: { readonly status: number; readonly body: string };
  /** Columns that are needed: others are not made. */
  readonly columns: Columns;
  readonly peer: number;
  readonly partition: number;
  /** First part of the ids, `peer/partition/`. */
  readonly origin: string;
  /** Where the service offers to answer; while no sink claims it, requests that are done get 204. */
  readonly replies: ReplyRouter;
}

/** A request on its way. */
export interface HttpRow extends NumberedRow {
  readonly id: string;
  readonly request: Request;
  readonly timestamp: number;
  state: "new" | "waiting" | "started" | "cancelled";
  body: Uint8Array;
  /** Sends the response; undefined once that has happened. */
  respond: ((response: Response) => void) | undefined;
  /** Whether the caller's connection is watched. */
  watched: boolean;
}

/**
 * Says `stopping` on a refusal of a service that stops, when nothing has been done about the request: a
 * balancer may send it elsewhere, whatever its method.
 */
export const REFUSED_HEADER = "x-millrace-refused";

const SWEEP_MS = 100;

/** How long callers have, in ms, to make their next request and to learn that they must go. */
const HAND_OVER_MS = 1_000;

/** A push source of HTTP requests, and the endpoint that takes them. */
export class HttpService implements PushSource<HttpRow>, HttpEndpoint {
  readonly name: string;
  readonly path: string;
  readonly cors: readonly string[] | undefined;
  readonly #options: HttpServiceOptions;
  readonly #methods: ReadonlySet<string>;
  readonly #allow: string;
  readonly #pending = new PendingRows<HttpRow>();
  readonly #schema: Schema;
  #queue: RowQueue<HttpRow> | undefined;
  #accepting = false;
  /** Another instance has taken its place: callers are to come back over another connection. */
  #leaving = false;
  #sweeper: ReturnType<typeof setInterval> | undefined;
  #drained: (() => void) | undefined;
  #withdraw: (() => void) | undefined;
  #listener: HttpListener | undefined;

  constructor(options: HttpServiceOptions) {
    this.name = options.name;
    this.path = options.path;
    this.cors = options.cors;
    this.#options = options;
    this.#methods = new Set(options.methods);
    this.#allow = [
      ...new Set([
        ...options.methods,
        ...(this.#methods.has("GET") ? ["HEAD"] : []),
        "OPTIONS",
      ]),
    ].join(", ");
    const { columns } = options;
    this.#schema = columns === "all" ? REQUEST_SCHEMA : new Schema(
      REQUEST_SCHEMA.fields.filter(({ name }) => name === "id" || columns.has(name)),
    );
  }

  /** @throws {PlanError} when the name or the path is taken, or the port cannot be bound */
  start(queue: RowQueue<HttpRow>): void {
    this.#queue = queue;
    this.#withdraw = this.#options.replies.offer(this.name, this.answer);
    this.#accepting = true;
    this.#listener = HttpListener.open(this.#options, this);
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
  }

  ready(): boolean {
    return this.#accepting && !this.#leaving;
  }

  /** Requests that have not been answered. */
  get pending(): number {
    return this.#pending.size;
  }

  handle(request: Request): Response | Promise<Response> {
    const { method } = request;
    if (!this.#methods.has(method)) {
      if (method === "OPTIONS") {
        return new Response(null, { status: 204, headers: { allow: this.#allow } });
      }
      if (method !== "HEAD" || !this.#methods.has("GET")) {
        return refuse(405, `Method ${method} is not allowed: ${this.#allow} are`, {
          allow: this.#allow,
        });
      }
    }
    const refusal = this.#accepting ? this.#queue!.refusal : "stopping";
    if (refusal !== undefined) return overload(refusal);
    const number = this.#pending.take();
    const row: HttpRow = {
      number,
      id: this.#options.origin + number,
      request,
      timestamp: Date.now(),
      state: "new",
      body: NO_BYTES,
      respond: undefined,
      watched: false,
    };
    return new Promise((resolve) => {
      row.respond = resolve;
      this.#pending.put(row);
      try {
        const body = readBody(request, this.#options.maxBodyBytes);
        if (body instanceof Uint8Array) this.#enqueue(row, body);
        else {body.then((bytes) =>
            this.#enqueue(row, bytes), (error) =>
            this.#unreadable(row, error));}
      } catch (error) {
        this.#unreadable(row, error);
      }
    });
  }

  toBatch(rows: readonly HttpRow[]): Batch {
    const columns = this.#schema.fields.map((field) => columnOf(field, rows));
    return new Batch(this.#schema, columns, rows.length);
  }

  /**
   * Answers a request: the `Answer` that is offered to sinks. A reply that cannot be sent becomes a 500
   * that says why.
   */
  readonly answer: Answer = (id: string, reply: Reply): boolean => {
    const { origin } = this.#options;
    // Plugins may hand over anything for an id.
    if (typeof id !== "string" || !id.startsWith(origin)) return false;
    const row = this.#pending.get(Number(id.slice(origin.length)));
    if (row === undefined) return false;
    const fault = replyFault(reply);
    this.#respond(row, fault === undefined ? toResponse(reply) : refuse(500, fault));
    return true;
  };

  done(rows: readonly HttpRow[]): void {
    for (const row of rows) {
      if (row.respond === undefined) continue;
      if (this.#options.replies.isClaimed(this.name)) {
        const { status, body } = this.#options.droppedReply;
        this.#respond(row, body === "" ? new Response(null, { status }) : refuse(status, body));
      } else this.#respond(row, new Response(null, { status: 204 }));
    }
  }

  fail(row: HttpRow, error: Error): void {
    if (row.respond === undefined) return;
    const given = (error as { status?: unknown }).status;
    const status = typeof given === "number" ? given : 500;
    this.#respond(row, refuse(status, error.message, status === 503 ? RETRY_AFTER : {}));
  }

  /**
   * Sends callers elsewhere: the port is closed for new connections, and answers say `connection: close`.
   * Callers that ask for nothing within a second are hung up on, as on any idle connection.
   */
  async handOver(): Promise<void> {
    // Callers that are told to leave connect anew, so that the port closes first.
    await this.#listener?.stopListening(this);
    this.#leaving = true;
    await pause(HAND_OVER_MS);
    this.#listener?.hangUp(this);
    await pause(0);
  }

  /** Resolves when the last request is answered; each is, at the latest by its timeout. */
  stopAccepting(): Promise<void> {
    this.#accepting = false;
    if (this.#pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  services(): readonly ServiceInfo[] {
    const listener = this.#listener;
    if (listener === undefined) return [];
    const { name, path } = this;
    const { peer, partition } = this.#options;
    const { host, port } = listener;
    const state = this.ready() ? "ready" : "stopping";
    return [{ name, url: listener.url(this), host, port, path, peer, partition, state }];
  }

  async close(): Promise<void> {
    this.#accepting = false;
    clearInterval(this.#sweeper);
    this.#withdraw?.();
    for (const row of [...this.#pending.values()]) {
      // The row of a batch that had begun may have had its effect.
      const response = row.state === "started"
        ? refuse(503, "The service was stopped before it replied: try again later", RETRY_AFTER)
        : overload("stopping");
      this.#respond(row, response);
    }
    await this.#listener?.remove(this);
  }

  #enqueue(row: HttpRow, body: Uint8Array): void {
    if (row.respond === undefined) return;
    row.body = body;
    if (!this.#queue!.offer(row)) this.#respond(row, overload(this.#queue!.refusal ?? "full"));
  }

  #unreadable(row: HttpRow, error: unknown): void {
    if (row.respond === undefined) return;
    if (error instanceof HttpError) this.#respond(row, refuse(error.status, error.message));
    else this.#respond(row, refuse(400, "Cannot read the body: the request was cut short"));
  }

  #respond(row: HttpRow, response: Response): void {
    const { respond } = row;
    if (respond === undefined) return;
    row.respond = undefined;
    this.#pending.delete(row);
    if (this.#leaving) response.headers.set("connection", "close");
    respond(response);
    if (this.#pending.size === 0) this.#drained?.();
  }

  /** Ends requests that are overdue, and watches for hung-up callers of those that wait for long. */
  #sweep(): void {
    const now = Date.now();
    for (const row of this.#pending.values()) {
      const age = now - row.timestamp;
      if (age < SWEEP_MS) continue;
      if (age >= this.#options.replyTimeoutMs) {
        const ms = this.#options.replyTimeoutMs;
        const late = row.state === "new"
          ? refuse(408, `Request not received whole within ${ms} ms`)
          : refuse(504, `No reply within ${ms} ms`);
        this.#queue!.cancel(row);
        this.#respond(row, late);
      } else if (!row.watched) {
        // Asking for the signal halves the throughput, so only those that wait anyway are asked.
        row.watched = true;
        const { signal } = row.request;
        if (signal.aborted) this.#hungUp(row);
        else signal.addEventListener("abort", () => this.#hungUp(row), { once: true });
      }
    }
  }

  #hungUp(row: HttpRow): void {
    if (row.respond === undefined) return;
    // Nobody reads this answer; a batch that has begun goes on, and its reply is dropped.
    this.#queue!.cancel(row);
    this.#respond(row, new Response(null, { status: 499 }));
  }
}

const RETRY_AFTER = { "retry-after": "1" } as const;
const JSON_INIT: ResponseInit = { headers: { "content-type": "application/json" } };
const NO_BYTES = new Uint8Array(0);

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function columnOf({ name, type }: Field, rows: readonly HttpRow[]): ColumnData {
  switch (name) {
    case "id":
      return rows.map((row) => row.id);
    case "value":
      return decodeAll(rows.map((row) => row.body));
    case "timestamp":
      return Float64Array.from(rows, (row) => row.timestamp);
    case "request":
      return rows.map(({ request, body }) => ({
        method: request.method,
        path: pathOf(request.url),
        query: queryOf(request.url),
        headers: Array.from(request.headers, ([name, value]) => ({ name, value })),
        body,
      }));
    default:
      throw new TypeError(`An HTTP request has no column "${name}" of type ${type}`);
  }
}

/** Why a reply cannot be sent, or undefined. Plugins make replies too, and not all are typed. */
function replyFault(reply: Reply): string | undefined {
  const { status, headers, body } = reply ?? {} as Partial<Reply>;
  if (status !== 200 && !isStatus(status)) {
    return `Cannot reply with status ${String(status)}: wanted 200 to 599`;
  }
  if (typeof body !== "string" && body !== null && !(body instanceof Uint8Array)) {
    return `Cannot reply with a body of type ${typeof body}: wanted text, bytes or null`;
  }
  if (headers === undefined || headers === JSON_HEADERS) return undefined;
  if (!Array.isArray(headers)) {
    return `Cannot reply with headers of type ${typeof headers}: wanted a list of names and values`;
  }
  for (const header of headers as readonly unknown[]) {
    const [name, value] = Array.isArray(header) ? header : [];
    const fault = headerFault(name, value);
    if (fault !== undefined) return `Cannot reply with ${fault}`;
  }
  return undefined;
}

/** The response of a reply. A plain text reply leaves the content type to the server's default. */
function toResponse({ status, headers, body }: Reply): Response {
  if (status === 200 && headers === undefined) {
    return typeof body === "string" ? new Response(body) : new Response(body as BodyInit | null);
  }
  if (status === 200 && headers === JSON_HEADERS) return new Response(body as BodyInit, JSON_INIT);
  const empty = status === 204 || status === 205 || status === 304;
  return new Response(empty ? null : body as BodyInit | null, {
    status,
    ...(headers === undefined ? {} : { headers: headers as [string, string][] }),
  });
}

/** An error as the caller sees it: JSON `{"error": message}`. */
function refuse(status: number, message: string, headers: Record<string, string> = {}): Response {
  return Response.json({ error: message }, { status, headers });
}

function overload(why: "full" | "stopping"): Response {
  return why === "full"
    ? refuse(503, "Too many requests wait: try again later", RETRY_AFTER)
    : refuse(503, "The service is stopping: try again later", {
      ...RETRY_AFTER,
      "connection": "close",
      [REFUSED_HEADER]: "stopping",
    });
}
