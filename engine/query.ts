/**
 * A running query: Spark's `StreamingQuery`.
 *
 * @module
 */
import type {
  Plugin,
  PluginContext,
  PluginLogger,
  PushSource,
  ReplayableSource,
  ServiceInfo,
  Sink,
} from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import type { Registry } from "../plugins/registry.ts";
import { Batch, Schema } from "./batch.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Execution } from "./execution.ts";
import type { ClusterMember } from "../cluster/cluster_member.ts";
import type { ClusterServiceInfo } from "../cluster/member.ts";
import { enabledLevel, pluginLogger } from "./logging.ts";
import { columnPruner, requiredColumns } from "./make_plan.ts";
import type { Plan } from "./plan.ts";
import { type BatchRecord, ProgressLog, type StreamingQueryProgress } from "./progress.ts";
import { QueryReplies, type Replies } from "./replies.ts";
import { countShuffles } from "./shuffle.ts";

/** What a query is doing. */
export interface StreamingQueryStatus {
  readonly message: string;
  /** Rows wait that have not been taken into a batch. */
  readonly isDataAvailable: boolean;
  /** The query takes rows. */
  readonly isTriggerActive: boolean;
  /** Workers replaced since the start. */
  readonly workerRestarts: number;
}

/** Why a query ended, when it did not end well. */
export class StreamingQueryException extends Error {
  override readonly name = "StreamingQueryException";
  constructor(readonly queryName: string, cause: Error) {
    super(`Query "${queryName}" failed: ${cause.message}`, { cause });
  }
}

/** What a query reports to its session. */
export interface QueryEvents {
  started(query: StreamingQuery): void;
  progress(query: StreamingQuery): void;
  terminated(query: StreamingQuery): void;
}

/** What a query needs of its session. */
export interface QueryHost {
  readonly replies: Replies;
  readonly events: QueryEvents;
  newRegistry(): Registry;
}

/** How long plugins may take to close, in ms. */
const CLOSE_TIMEOUT_MS = 10_000;

/**
 * A handle of a query, from `start()` on. It ends when it is stopped, when its source ends, or with an
 * error; {@linkcode StreamingQuery.awaitTermination} tells which.
 */
export class StreamingQuery {
  /** The query's name, unique among active ones. */
  readonly name: string;
  /** Differs from start to start. */
  readonly runId: string = crypto.randomUUID();
  #id: string = crypto.randomUUID();
  readonly #host: QueryHost;
  readonly #log: PluginLogger;
  readonly #progress = new ProgressLog();
  readonly #abort = new AbortController();
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #state: "starting" | "running" | "stopping" | "ended" = "starting";
  #exception: StreamingQueryException | undefined;
  #plan: Plan | undefined;
  #execution: Execution | undefined;
  #checkpoint: Checkpoint | undefined;
  #cluster: ClusterMember | undefined;
  #stopping: Promise<void> | undefined;

  /** Made by `session.start(plan)` and `writeStream.start()`. */
  constructor(name: string, plan: Plan | Promise<Plan>, host: QueryHost) {
    this.name = name;
    this.#host = host;
    this.#log = pluginLogger(name);
    this.#ended.promise.catch(() => {});
    this.#run(plan);
  }

  /** The query's id; with a checkpoint it is the same after a restart. Settled once ready. */
  get id(): string {
    return this.#id;
  }

  /** Whether it has not ended. */
  get isActive(): boolean {
    return this.#state !== "ended";
  }

  /**
   * Resolves when the query takes rows: plugins warm, port bound.
   *
   * It rejects when the query cannot start. If nobody looks at it nor awaits the query's end, the
   * runtime reports the rejection as uncaught, so that a failed start is never silent.
   */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** The plan, once it is made. */
  get plan(): Plan | undefined {
    return this.#plan;
  }

  /** Why the query ended, or undefined. */
  get exception(): StreamingQueryException | undefined {
    return this.#exception;
  }

  get status(): StreamingQueryStatus {
    const waiting = this.#execution?.queueLength() ?? 0;
    return {
      message: {
        starting: "Initializing",
        running: waiting > 0 ? "Processing new data" : "Waiting for data to arrive",
        stopping: "Stopping",
        ended: this.#exception === undefined ? "Stopped" : `Terminated: ${this.#exception.message}`,
      }[this.#state],
      isDataAvailable: waiting > 0,
      isTriggerActive: this.#state === "running",
      workerRestarts: this.#execution?.restarts() ?? 0,
    };
  }

  /** The last micro-batch, or undefined when there was none. */
  get lastProgress(): StreamingQueryProgress | undefined {
    return this.#progress.last(this.#subject());
  }

  /** The last hundred micro-batches, oldest first. */
  get recentProgress(): StreamingQueryProgress[] {
    return this.#progress.recent(this.#subject());
  }

  /** Where the query's services can be reached; empty for other queries, and until ready. */
  services(): readonly ServiceInfo[] {
    return this.#execution?.services() ?? [];
  }

  /** The same on all machines of the query's cluster; empty for a query that has none. */
  clusterServices(): readonly ClusterServiceInfo[] {
    return this.#cluster?.services() ?? [];
  }

  /**
   * Stops the query. What it has accepted is done first: requests are answered, and new ones refused
   * with 503. With `now`, requests that wait get 503 and batches are cut off; a replayable source does
   * them again at the next start. A query that is still starting is broken off either way.
   */
  stop(options: { now?: boolean } = {}): Promise<void> {
    if (options.now === true) this.#abort.abort(new Error("The query was stopped"));
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /**
   * Waits for the query's end.
   * @param timeoutMs how long; without it, as long as it takes
   * @returns whether it has ended
   * @throws {StreamingQueryException} when it ended with an error
   */
  async awaitTermination(timeoutMs?: number): Promise<boolean> {
    this.#ready.promise.catch(() => {});
    if (timeoutMs === undefined) await this.#ended.promise;
    else {
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, timeoutMs);
      await Promise.race([this.#ended.promise, late.promise]);
      clearTimeout(timer);
    }
    if (this.#exception !== undefined) throw this.#exception;
    return !this.isActive;
  }

  /** Resolves when all that had come in at the time of the call is in the sink. */
  async processAllAvailable(): Promise<void> {
    await this.ready;
    await Promise.race([this.#execution?.processAllAvailable(), this.#ended.promise]);
    if (this.#exception !== undefined) throw this.#exception;
  }

  /**
   * Ends the worker of a partition at once; a new one takes its place and does its batches again.
   * @throws {RangeError} when there is no such partition
   */
  replacePartition(partition: number): void {
    this.#execution?.replacePartition(partition);
  }

  /**
   * Replaces the peers one after another, while the others serve. New processes load the plugins anew.
   * It rejects when a replacement does not get ready; what runs goes on then.
   * @throws {Error} when the query has no peers, or does not run
   */
  async restart(): Promise<void> {
    if (this.#state !== "running") {
      throw new Error(`Cannot restart query "${this.name}": it is ${this.#state}, wanted running`);
    }
    if (this.#execution?.restart === undefined) {
      throw new Error(`Cannot restart query "${this.name}": it has no peers; set "peers"`);
    }
    await this.#execution.restart();
  }

  async #run(given: Plan | Promise<Plan>): Promise<void> {
    try {
      const plan = this.#plan = await given;
      this.#execution = await this.#create(plan);
      this.#abort.signal.throwIfAborted();
      await this.#join(plan);
      await this.#execution.start();
      await this.#cluster?.ready();
      if (this.#state !== "starting") return;
      this.#state = "running";
      this.#log.info(`Query "${this.name}" is ready`, { id: this.#id, runId: this.runId });
      this.#ready.resolve();
      this.#host.events.started(this);
    } catch (error) {
      await this.#end(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    await this.#execution.finished;
    await this.#end();
  }

  /** Joins the plan's cluster, before anybody can reach the query: it may be refused there. */
  async #join(plan: Plan): Promise<void> {
    const { cluster } = plan;
    if (cluster === undefined) return;
    const { ClusterMember } = await import("../cluster/cluster_member.ts");
    const member = await ClusterMember.join({ ...plan, cluster }, {
      services: () => this.services(),
      fatal: (error) => void this.#end(error),
    });
    if (this.#state === "ended") {
      await member.leave();
      throw new Error("The query was stopped while it joined");
    }
    this.#cluster = member;
  }

  async #create(plan: Plan): Promise<Execution> {
    const registry = this.#host.newRegistry();
    for (const specifier of plan.plugins) await registry.load(specifier, plan.baseUrl);
    if (plan.checkpoint !== undefined) {
      const { Checkpoint, fingerprint } = await import("./checkpoint.ts");
      this.#checkpoint = Checkpoint.open(plan.checkpoint, {
        fingerprint: fingerprint(plan),
        name: plan.name,
      });
      this.#id = this.#checkpoint.queryId;
    }
    const init = {
      type: "init",
      plan,
      partition: 0,
      peer: 0,
      logLevel: enabledLevel(plan.name),
    } as const;
    const progress = (record: BatchRecord) => {
      this.#progress.add(record);
      this.#host.events.progress(this);
    };
    const fatal = (error: Error) => void this.#end(error);
    const shuffles = await countShuffles(plan, registry);
    if (plan.peers !== undefined || plan.balancer !== undefined) {
      const { createPeers } = await import("../cluster/create_peers.ts");
      const movesRows = shuffles > 0;
      return createPeers({ plan, init, logger: this.#log, movesRows, progress, fatal });
    }
    if ((await registry.resolve("source", plan.source.name)).placement === "partition") {
      const { DistributedExecution } = await import("./distributed_execution.ts");
      const movesRows = shuffles > 0;
      return new DistributedExecution({
        plan,
        init,
        logger: this.#log,
        movesRows,
        ...(plan.cluster === undefined ? {} : { ring: () => this.#cluster!.ring() }),
        progress,
        fatal,
      });
    }
    const columns = await requiredColumns(plan, registry);
    const replies = new QueryReplies(this.#host.replies);
    // Counts of the source and the sink; those of the partitions come with their batches.
    const metrics = new Map<string, number>();
    const context: PluginContext = {
      Batch,
      Schema,
      baseUrl: plan.baseUrl,
      service: plan.name,
      logger: this.#log,
      metrics: { add: (name, amount) => metrics.set(name, (metrics.get(name) ?? 0) + amount) },
      signal: this.#abort.signal,
      peer: 0,
      partition: -1,
      partitions: plan.partitions,
      permissions: "inherit",
    };
    const sink = await create("sink", plan.sink, { ...context, replies }) as Sink;
    let source: PushSource | ReplayableSource;
    try {
      source = await create("source", plan.source, {
        ...context,
        replies,
        columns,
        siblings: [],
      }) as
        | PushSource
        | ReplayableSource;
    } catch (error) {
      await sink.close?.();
      throw error;
    }
    const host = {
      plan,
      init,
      logger: this.#log,
      checkpoint: this.#checkpoint,
      sink,
      shuffles,
      prune: columnPruner(columns),
      signal: this.#abort.signal,
      reply: (id: string, reply: Parameters<NonNullable<typeof replies.own>>[1]) => {
        replies.own?.(id, reply);
      },
      progress: (record: BatchRecord) => progress(withMetrics(record, metrics)),
      fatal,
    };
    if ("getBatch" in source) {
      const { MicroBatchExecution } = await import("./micro_batch_execution.ts");
      return new MicroBatchExecution(host, source);
    }
    const { PushExecution } = await import("./push_execution.ts");
    return new PushExecution(host, source);

    async function create(
      kind: "source" | "sink",
      use: Plan["source"],
      context: object,
    ): Promise<unknown> {
      const plugin = await registry.resolve(kind, use.name) as Plugin;
      try {
        const options = registry.checkOptions(plugin, use.options);
        return await plugin.create(options, context as never);
      } catch (error) {
        throw error instanceof PlanError ? error.within(kind, use.name) : error;
      }
    }
  }

  async #stop(): Promise<void> {
    this.#ready.promise.catch(() => {});
    if (this.#state === "starting") {
      // Nothing was taken in, so there is nothing to finish; and a start may hang.
      this.#abort.abort(new Error("The query was stopped"));
      if (this.#execution !== undefined) await this.#end(this.#abort.signal.reason);
      else {
        await Promise.race([
          this.#ready.promise.catch(() => {}),
          this.#ended.promise.catch(() => {}),
        ]);
      }
    }
    if (this.#state === "ended") return await this.#ended.promise;
    this.#state = "stopping";
    const now = new Promise<void>((resolve) => {
      if (this.#abort.signal.aborted) resolve();
      this.#abort.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([this.#drain(), now]);
    await this.#end();
  }

  async #drain(): Promise<void> {
    await this.#cluster?.leaving();
    await this.#execution!.drain();
  }

  /** The one way out: frees everything, then tells. */
  async #end(error?: Error): Promise<void> {
    if (this.#state === "ended") return await this.#ended.promise;
    const wasRunning = this.#state !== "starting";
    this.#state = "ended";
    const stopped = error !== undefined && error === this.#abort.signal.reason;
    if (error !== undefined && !stopped) {
      this.#exception = new StreamingQueryException(this.name, error);
      const { path } = error as { path?: unknown };
      this.#log.error(this.#exception.message, Array.isArray(path) ? { path } : {});
    }
    try {
      const atOnce = this.#abort.signal.aborted || (error !== undefined && !stopped);
      await this.#execution?.close(atOnce ? 0 : CLOSE_TIMEOUT_MS);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      this.#log.error(`Query "${this.name}" did not close cleanly: ${message}`);
    }
    await this.#cluster?.leave();
    this.#checkpoint?.close();
    this.#abort.abort(new Error("The query has ended"));
    if (wasRunning || stopped) this.#ready.resolve();
    else this.#ready.reject(this.#exception);
    this.#ended.resolve();
    this.#host.events.terminated(this);
    if (error === undefined) this.#log.info(`Query "${this.name}" has stopped`);
  }

  #subject() {
    return {
      id: this.#id,
      runId: this.runId,
      name: this.name,
      source: this.#plan?.source.name ?? "",
      sink: this.#plan?.sink.name ?? "",
      partitionBatches: () => this.#execution?.partitionBatches() ?? [],
    };
  }
}

/** The record with the counts of the head's plugins since the last one, which begin anew. */
function withMetrics(record: BatchRecord, counts: Map<string, number>): BatchRecord {
  if (counts.size === 0) return record;
  const metrics: Record<string, number> = { ...record.metrics };
  for (const [name, amount] of counts) metrics[name] = (metrics[name] ?? 0) + amount;
  counts.clear();
  return { ...record, metrics };
}
