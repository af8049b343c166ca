/**
 * One listener a host and port, shared by the services on it. A service answers at its path and below;
 * `/healthz` and `/readyz` answer for the listener itself, unless a service has taken the name.
 *
 * @module
 */
import { Hono } from "hono";
import { cors } from "hono/cors";
import { PlanError } from "../../plugins/errors.ts";
import { newSockets, openSockets, prepareToStopListening, type Sockets } from "./stop_listening.ts";

/** What a service gives to its listener. */
export interface HttpEndpoint {
  /** The service's name, for messages. */
  readonly name: string;
  /** Begins with `/`; `/` itself takes all that no other service takes. */
  readonly path: string;
  /** Origins that browsers may call from, or undefined for none. */
  readonly cors?: readonly string[] | undefined;
  /** Whether the service takes requests. */
  ready(): boolean;
  handle(request: Request): Response | Promise<Response>;
}

/** Options of {@linkcode HttpListener.open}. */
export interface ListenOptions {
  readonly host: string;
  /** 0 takes any free port, and never one that is shared. */
  readonly port: number;
  /** Whether other isolates and processes may bind the port too; the kernel spreads connections. */
  readonly reusePort?: boolean;
  /** Whether the listener may be told to stop listening while it serves on. */
  readonly handsOver?: boolean;
  /** How many ports are tried, each one up, while they are in use. Default 1. */
  readonly attempts?: number;
}

/** How long a closing listener waits for clients to read their answers, in ms. */
const SEND_OFF_MS = 2_000;

/** A bound port, and the services on it. */
export class HttpListener {
  static readonly #open = new Map<string, HttpListener>();

  readonly host: string;
  readonly port: number;
  readonly #key: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #endpoints = new Map<string, HttpEndpoint>();
  readonly #app: Hono;
  /** Those that came into being with the listener, its own among them. */
  readonly #sockets: Sockets | undefined;
  #closing: Promise<void> | undefined;
  #lastFound: { readonly url: string; readonly endpoint: HttpEndpoint } | undefined;

  private constructor(options: ListenOptions) {
    this.host = options.host;
    this.#app = this.#doors();
    const before = options.handsOver ? openSockets() : undefined;
    this.#server = Deno.serve({
      hostname: bindAddress(options.host),
      port: options.port,
      ...(options.reusePort ? { reusePort: true } : {}),
      onListen: () => {},
      onError: (error) => failure(error),
    }, (request) => this.#route(request));
    // It rejects when the port is closed below it; what is wrong otherwise, requests show.
    this.#server.finished.catch(() => {});
    this.#sockets = newSockets(before);
    this.port = this.#server.addr.port;
    this.#key = `${bindAddress(this.host)}:${this.port}`;
    HttpListener.#open.set(this.#key, this);
  }

  /**
   * Adds an endpoint to the listener of the host and port, which is bound if it is not yet.
   * @throws {PlanError} when the port cannot be bound, or the path is taken
   */
  static open(options: ListenOptions, endpoint: HttpEndpoint): HttpListener {
    const key = `${bindAddress(options.host)}:${options.port}`;
    const listener = HttpListener.#open.get(key) ?? bind(options);
    listener.#add(endpoint);
    return listener;

    function bind(options: ListenOptions): HttpListener {
      const last = options.port + (options.attempts ?? 1) - 1;
      for (let port = options.port;; port++) {
        try {
          return new HttpListener({ ...options, port });
        } catch (error) {
          if (error instanceof Deno.errors.AddrInUse && port < last) continue;
          throw bindError(options, error);
        }
      }
    }
  }

  /**
   * A port that nobody has bound: the one asked for, or any for 0.
   * @throws {PlanError} when it cannot be bound
   */
  static probe({ host, port }: ListenOptions): number {
    try {
      const probe = Deno.listen({ hostname: bindAddress(host), port });
      const free = probe.addr.port;
      probe.close();
      return free;
    } catch (error) {
      throw bindError({ host, port }, error);
    }
  }

  /** The endpoint's URL. */
  url(endpoint: HttpEndpoint): string {
    const host = this.host.includes(":") ? `[${this.host}]` : this.host;
    return `http://${host}:${this.port}${endpoint.path}`;
  }

  /**
   * Takes no new connections for its last endpoint, and serves those that are open. Where the system does
   * not let it, nothing changes.
   */
  async stopListening(endpoint: HttpEndpoint): Promise<void> {
    if (this.#sockets === undefined || !this.#isLast(endpoint)) return;
    const stop = prepareToStopListening(this.#sockets);
    if (stop === undefined) return;
    // What waits to be accepted is, in this turn.
    await new Promise((resolve) => setTimeout(resolve, 0));
    stop();
  }

  /** Hangs up on clients of its last endpoint that ask for nothing; the others get their answers first. */
  hangUp(endpoint: HttpEndpoint): void {
    if (this.#isLast(endpoint)) this.#shutdown().catch(() => {});
  }

  /**
   * Takes an endpoint off; the listener closes with its last one. The port is free then, and answers
   * are sent out; a client that does not read its own is not waited for. Safe twice.
   */
  async remove(endpoint: HttpEndpoint): Promise<void> {
    // Another endpoint may have taken the path since: only one's own registration is undone.
    if (this.#endpoints.get(endpoint.path) !== endpoint) return;
    this.#endpoints.delete(endpoint.path);
    this.#lastFound = undefined;
    if (this.#endpoints.size > 0) return;
    HttpListener.#open.delete(this.#key);
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, SEND_OFF_MS);
    await Promise.race([this.#shutdown(), late.promise]);
    clearTimeout(timer);
  }

  #shutdown(): Promise<void> {
    return this.#closing ??= this.#server.shutdown();
  }

  #isLast(endpoint: HttpEndpoint): boolean {
    return this.#endpoints.size === 1 && this.#endpoints.get(endpoint.path) === endpoint;
  }

  #add(endpoint: HttpEndpoint): void {
    const taken = this.#endpoints.get(endpoint.path);
    if (taken !== undefined) {
      throw new PlanError(
        `Cannot serve "${endpoint.name}" at ${this.url(endpoint)}: ` +
          `service "${taken.name}" answers there; stop it or change http.path`,
      );
    }
    this.#endpoints.set(endpoint.path, endpoint);
    this.#lastFound = undefined;
  }

  #route(request: Request): Response | Promise<Response> {
    const { url } = request;
    // Most requests have the URL of the one before.
    const known = this.#lastFound?.url === url;
    const endpoint = known ? this.#lastFound!.endpoint : this.#find(pathOf(url));
    if (!known && endpoint !== undefined) this.#lastFound = { url, endpoint };
    // The hot path: a service without CORS needs none of the router's work.
    if (endpoint !== undefined && endpoint.cors === undefined) return endpoint.handle(request);
    return this.#app.fetch(request);
  }

  #find(path: string): HttpEndpoint | undefined {
    for (let at = path;;) {
      const endpoint = this.#endpoints.get(at);
      if (endpoint !== undefined) return endpoint;
      if (at === "/" || at === "") return undefined;
      at = at.slice(0, at.lastIndexOf("/")) || "/";
    }
  }

  #doors(): Hono {
    const app = new Hono();
    app.use((context, next) => {
      const endpoint = this.#find(pathOf(context.req.url));
      if (endpoint?.cors === undefined) return next();
      const origin = endpoint.cors.includes("*") ? "*" : [...endpoint.cors];
      return cors({ origin })(context, next);
    });
    app.all("*", (context, next) => {
      const endpoint = this.#find(pathOf(context.req.url));
      return endpoint === undefined ? next() : endpoint.handle(context.req.raw);
    });
    app.get("/healthz", (context) => context.text("ok"));
    app.get("/readyz", (context) => {
      const waiting = [...this.#endpoints.values()].filter((endpoint) => !endpoint.ready());
      if (waiting.length === 0) return context.text("ready");
      const names = waiting.map((endpoint) => endpoint.name).join(", ");
      return context.text(`not ready: ${names}`, 503);
    });
    app.notFound((context) =>
      context.json({ error: `No service at "${pathOf(context.req.url)}"` }, 404)
    );
    app.onError((error) => failure(error));
    return app;
  }
}

/** The path of an absolute URL, percent-encoding as it came, without query and trailing slash. */
export function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  if (start < 0) return "/";
  let end = url.indexOf("?", start);
  if (end < 0) end = url.length;
  if (end - start > 1 && url.charCodeAt(end - 1) === 47) end--;
  return url.slice(start, end);
}

/** The query of an absolute URL, without the question mark. */
export function queryOf(url: string): string {
  const start = url.indexOf("?");
  return start < 0 ? "" : url.slice(start + 1);
}

/** `localhost` is bound as IPv4: a client that tries IPv6 first falls back, the other way fails. */
function bindAddress(host: string): string {
  return host === "localhost" ? "127.0.0.1" : host;
}

function bindError({ host, port, attempts = 1 }: ListenOptions, cause: unknown): PlanError {
  const where = `Cannot bind "${host}:${port}"${
    attempts > 1 ? ` nor the ${attempts - 1} ports after it` : ""
  }`;
  if (cause instanceof Deno.errors.AddrInUse) {
    return new PlanError(
      `${where}: address in use; stop the other service or change http.port`,
      { cause },
    );
  }
  if (cause instanceof Deno.errors.AddrNotAvailable) {
    return new PlanError(`${where}: this machine has no such address; change http.host`, { cause });
  }
  if (cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable) {
    return new PlanError(
      `${where}: not permitted; choose a port above 1023 or grant the permission`,
      {
        cause,
      },
    );
  }
  const why = cause instanceof Error ? cause.message : String(cause);
  return new PlanError(`${where}: ${why}; change http.host or http.port`, { cause });
}

function failure(error: unknown): Response {
  // A client that left while its body was read is the usual case; nobody reads this answer then.
  const message = error instanceof Error ? error.message : String(error);
  return Response.json({ error: `Internal error: ${message}` }, { status: 500 });
}
