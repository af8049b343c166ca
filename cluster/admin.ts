/**
 * The admin listener: what runs in this process and where it can be reached, for people, probes and
 * `millrace services`. It tells and changes nothing.
 *
 * @module
 */
import { Hono } from "hono";
import type { StreamingQuery } from "../engine/query.ts";
import type { ServiceInfo } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";

/** What the listener needs. */
export interface AdminOptions {
  /** Address to bind. Default: `127.0.0.1`, so that nobody outside hears. */
  readonly host?: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** The queries of the moment. */
  queries(): readonly StreamingQuery[];
}

/** A bound admin port. */
export class AdminServer {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #host: string;

  /** @throws {PlanError} when the port cannot be bound */
  constructor({ host = "127.0.0.1", port, queries }: AdminOptions) {
    this.#host = host;
    const app = adminApp(queries);
    try {
      this.#server = Deno.serve(
        { hostname: host, port, onListen: () => {} },
        (request) => app.fetch(request),
      );
    } catch (error) {
      const why = error instanceof Deno.errors.AddrInUse
        ? "address in use; stop the other process or choose another --admin-port"
        : error instanceof Error
        ? error.message
        : String(error);
      throw new PlanError(`Cannot bind "${host}:${port}": ${why}`, { cause: error });
    }
  }

  /** `http://HOST:PORT` */
  get url(): string {
    const host = this.#host.includes(":") ? `[${this.#host}]` : this.#host;
    return `http://${host}:${this.#server.addr.port}`;
  }

  async close(): Promise<void> {
    await this.#server.shutdown();
  }
}

/** The routes, apart from the port. */
export function adminApp(queries: () => readonly StreamingQuery[]): Hono {
  const app = new Hono();
  app.get(
    "/services",
    (context) =>
      context.json({
        // With `?cluster`, those of all machines.
        services: queries().flatMap((query): readonly ServiceInfo[] =>
          context.req.query("cluster") === undefined
            ? query.services().map((service) => ({ query: query.name, ...service }))
            : query.clusterServices()
        ),
      }),
  );
  app.get("/queries", (context) => context.json({ queries: queries().map(describe) }));
  app.get("/healthz", (context) => context.text("ok"));
  app.get("/readyz", (context) => {
    const waiting = queries().filter(({ status }) => !status.isTriggerActive);
    if (waiting.length === 0) return context.text("ready");
    return context.text(`not ready: ${waiting.map(({ name }) => name).join(", ")}`, 503);
  });
  app.notFound((context) => {
    const doors = "/services, /queries, /healthz and /readyz are there";
    return context.json({ error: `Nothing at "${context.req.path}": ${doors}` }, 404);
  });
  return app;
}

function describe(query: StreamingQuery) {
  const { id, runId, name, isActive, status, lastProgress, exception } = query;
  return {
    id,
    runId,
    name,
    isActive,
    status,
    lastProgress: lastProgress ?? null,
    exception: exception?.message ?? null,
  };
}
