/**
 * The entry point: `session.readStream`, `session.read`, `session.streams`, `session.start(plan)`.
 *
 * @module
 */
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";
import { DataFrameReader } from "./dataframe.ts";
import { pluginLogger } from "./logging.ts";
import type { Plan } from "./plan.ts";
import type { StreamingQueryProgress } from "./progress.ts";
import { StreamingQuery } from "./query.ts";
import { Replies } from "./replies.ts";

/** Hears of the queries of a session. Spark's `StreamingQueryListener`. */
export interface StreamingQueryListener {
  onQueryStarted?(event: { id: string; runId: string; name: string; timestamp: string }): void;
  onQueryProgress?(event: { progress: StreamingQueryProgress }): void;
  onQueryTerminated?(event: { id: string; runId: string; name: string; exception?: Error }): void;
}

/** The queries of a session. Spark's `StreamingQueryManager`. */
export class StreamingQueryManager {
  readonly #active = new Map<string, StreamingQuery>();
  readonly #listeners = new Set<StreamingQueryListener>();
  #terminated: StreamingQuery[] = [];
  #waiting: (() => void)[] = [];

  /** The queries that have not ended, oldest first. */
  get active(): StreamingQuery[] {
    return [...this.#active.values()];
  }

  /** The active query with this id or name, or undefined. */
  get(idOrName: string): StreamingQuery | undefined {
    return this.#active.get(idOrName) ?? this.active.find(({ id }) => id === idOrName);
  }

  /**
   * Waits until any query has ended since the start, or since `resetTerminated`.
   * @returns whether one has; false only after `timeoutMs`
   * @throws {StreamingQueryException} when one of them has ended with an error
   */
  async awaitAnyTermination(timeoutMs?: number): Promise<boolean> {
    if (this.#terminated.length === 0) {
      // Who waits here hears of a query that cannot start.
      for (const { ready } of this.active) ready.catch(() => {});
      const ended = Promise.withResolvers<void>();
      this.#waiting.push(ended.resolve);
      const timer = timeoutMs === undefined ? undefined : setTimeout(ended.resolve, timeoutMs);
      await ended.promise;
      clearTimeout(timer);
    }
    for (const { exception } of this.#terminated) if (exception !== undefined) throw exception;
    return this.#terminated.length > 0;
  }

  /** Forgets the queries that have ended. */
  resetTerminated(): void {
    this.#terminated = [];
  }

  /** Tells the listener of every query from now on. */
  addListener(listener: StreamingQueryListener): void {
    this.#listeners.add(listener);
  }

  removeListener(listener: StreamingQueryListener): void {
    this.#listeners.delete(listener);
  }

  /** @internal */
  add(query: StreamingQuery): void {
    this.#active.set(query.name, query);
  }

  /** @internal */
  started({ id, runId, name }: StreamingQuery): void {
    const timestamp = new Date().toISOString();
    this.#tell(name, (listener) => listener.onQueryStarted?.({ id, runId, name, timestamp }));
  }

  /** @internal */
  progress(query: StreamingQuery): void {
    if (this.#listeners.size === 0) return;
    const progress = query.lastProgress!;
    this.#tell(query.name, (listener) => listener.onQueryProgress?.({ progress }));
  }

  /** @internal */
  terminated(query: StreamingQuery): void {
    const { id, runId, name, exception } = query;
    if (this.#active.get(name) === query) this.#active.delete(name);
    this.#terminated.push(query);
    const event = { id, runId, name, ...(exception === undefined ? {} : { exception }) };
    this.#tell(name, (listener) => listener.onQueryTerminated?.(event));
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** A listener that throws harms nobody else. */
  #tell(queryName: string, tell: (listener: StreamingQueryListener) => void): void {
    for (const listener of this.#listeners) {
      try {
        tell(listener);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        pluginLogger(queryName).error(`A listener of the session threw: ${message}`);
      }
    }
  }
}

/** Makes and holds queries. One a process is enough: see {@linkcode session}. */
export class Session {
  /** The queries of this session. */
  readonly streams: StreamingQueryManager = new StreamingQueryManager();
  readonly #replies = new Replies();

  /** Reads without an end: the frame's `writeStream` starts a query. */
  get readStream(): DataFrameReader {
    return new DataFrameReader(this, true);
  }

  /** Reads what there is now: the frame's `collect`, `show` and `write` run once over it. */
  get read(): DataFrameReader {
    return new DataFrameReader(this, false);
  }

  /**
   * Starts a plan. It returns at once; `ready` of the query tells when rows are taken.
   * @throws {Error} when a query of this name is active
   */
  start(plan: Plan): StreamingQuery;
  /** The same for a plan that is still being made. */
  start(plan: Promise<Plan>, name: string): StreamingQuery;
  start(plan: Plan | Promise<Plan>, name?: string): StreamingQuery {
    const queryName = name ?? (plan as Plan).name;
    if (this.streams.get(queryName) !== undefined) {
      if (plan instanceof Promise) plan.catch(() => {});
      throw new Error(
        `Cannot start query "${queryName}": one of this name is active; stop it or use another name`,
      );
    }
    const query = new StreamingQuery(queryName, plan, {
      replies: this.#replies,
      events: this.streams,
      newRegistry: () => this.newRegistry(),
    });
    this.streams.add(query);
    return query;
  }

  /** A registry of the plugins that come with Millrace. */
  newRegistry(): Registry {
    return new Registry(builtins);
  }

  /** Stops all queries; see `StreamingQuery.stop`. */
  async stop(options: { now?: boolean } = {}): Promise<void> {
    await Promise.all(this.streams.active.map((query) => query.stop(options)));
  }
}

/** The process's session. */
export const session: Session = new Session();
