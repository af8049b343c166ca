/**
 * The worker of a partition: it runs the transforms of a plan over the batches that the head sends.
 * Started by `partition_host.ts`; it is never imported.
 *
 * @module
 */
import process from "node:process";
import { parentPort } from "node:worker_threads";
import type { ClusterExchange } from "../cluster/cluster_exchange.ts";
import { builtins } from "../plugins/builtins.ts";
import type { PluginContext, PluginLogger, Reply, ServiceInfo } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { Registry } from "../plugins/registry.ts";
import { Batch, Schema, type WireBatch } from "./batch.ts";
import type { FromPartition, LogLevel, PartitionInit, ToPartition } from "./partition_protocol.ts";
import { createPipelines } from "./create_pipelines.ts";
import { errorMessage } from "./error_message.ts";
import { type ExchangeHost, LocalExecution } from "./local_execution.ts";
import { columnPruner, requiredColumns } from "./make_plan.ts";
import { EarlyReplies, type Outcome, type Pipeline } from "./pipeline.ts";
import { QueryReplies, Replies } from "./replies.ts";
import { RING_DESTINATIONS } from "./ring.ts";
import { StageReplies } from "./stage_replies.ts";

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

const port = parentPort!;
const post = (message: FromPartition) => port.postMessage(message);

// Said before the worker goes, since Deno 2.4 tells the head nothing of it.
const exit = Deno.exit;
Deno.exit = (code = 0) => {
  post({ type: "exiting", code });
  return exit(code);
};
process.exit = Deno.exit as typeof process.exit;

let running: Running | undefined;
/** The work at hand; batches are run one after another. */
let tail: Promise<void> | undefined;

port.on("message", (message: ToPartition) => {
  if (message.type === "ping") {
    return post({ type: "pong", busyForMs: running?.local?.busyForMs ?? 0 });
  }
  if (message.type === "drain") return drain(message.handOver);
  if (message.type === "ring") return running?.spread?.update(message.ring);
  if (tail === undefined) {
    const work = handle(message);
    if (work !== undefined) tail = finish(work);
  } else tail = finish(tail.then(() => handle(message)));
});

function finish(work: Promise<void>): Promise<void> {
  const mine: Promise<void> = work.then(() => {
    if (tail === mine) tail = undefined;
  });
  return mine;
}

function handle(message: ToPartition): Promise<void> | undefined {
  switch (message.type) {
    case "init":
      return init(message);
    case "batch":
      return running!.run(message.seq, message.batch, message.stage ?? 0);
    case "close":
      return close();
  }
}

async function init(message: PartitionInit): Promise<void> {
  try {
    running = await Running.create(message);
    const services = await running.serve(message);
    post({ type: "ready", ...(services === undefined ? {} : { services }) });
  } catch (error) {
    post({ type: "init_failed", error: errorMessage(error) });
  }
}

async function drain(handOver: boolean | undefined): Promise<void> {
  await running?.local?.drain(handOver);
  post({ type: "drained" });
}

async function close(): Promise<void> {
  try {
    await running?.close();
  } catch (error) {
    const { message } = errorMessage(error);
    post({ type: "log", level: "error", message: `Cannot close: ${message}`, properties: {} });
  }
  post({ type: "closed" });
}

/** A pipeline at work, with what it says on the way. */
class Running {
  /** The schemas of the last batches that came and went, by stage. */
  readonly #inputSchemas: (Schema | undefined)[] = [];
  readonly #sentSchemas: (Schema | undefined)[] = [];
  /** By stage. */
  #pipelines!: readonly Pipeline[];
  readonly #early = new EarlyReplies();
  readonly #replies = new QueryReplies(new Replies());
  readonly #registry = new Registry(builtins);
  #context!: PluginContext;
  /** Runs the batches of a partition that serves by itself. */
  local: LocalExecution | undefined;
  /** The exchange, where rows are spread over many machines. */
  spread: ClusterExchange | undefined;
  #metrics: Record<string, number> | undefined;
  readonly #abort = new AbortController();

  static async create(message: PartitionInit): Promise<Running> {
    const { plan, partition, peer, exchange } = message;
    const running = new Running();
    const registry = running.#registry;
    for (const specifier of plan.plugins) await registry.load(specifier, plan.baseUrl);
    const source = await registry.resolve("source", plan.source.name);
    const isLocal = source.placement === "partition";
    running.#context = {
      Batch,
      Schema,
      baseUrl: plan.baseUrl,
      service: plan.name,
      partition,
      peer,
      partitions: plan.partitions,
      permissions: "inherit",
      logger: logger(message.logLevel),
      metrics: { add: (name, amount) => running.#count(name, amount) },
      signal: running.#abort.signal,
    };
    running.#pipelines = await createPipelines(plan, registry, {
      ...running.#context,
      destinations: message.ring === undefined
        ? (exchange?.peers ?? 1) * plan.partitions
        : RING_DESTINATIONS,
      reply: isLocal
        ? (id, reply, stage) => running.local?.reply(stage, id, reply)
        : running.#early.add,
    });
    for (const pipeline of running.#pipelines) await pipeline.warmUp();
    return running;
  }

  /** Starts the source, when it lives in the partitions; undefined when it does not. */
  async serve(init: PartitionInit): Promise<readonly ServiceInfo[] | undefined> {
    const { plan, siblings = [] } = init;
    const registry = this.#registry;
    const plugin = await registry.resolve("source", plan.source.name);
    if (plugin.placement !== "partition") return undefined;
    const context = { ...this.#context, replies: this.#replies };
    const sinkPlugin = await registry.resolve("sink", plan.sink.name);
    const sink = await sinkPlugin.create(
      registry.checkOptions(sinkPlugin, plan.sink.options),
      { ...context, replies: new StageReplies(this.#replies, () => this.local?.sinking) },
    );
    const columns = await requiredColumns(plan, registry);
    const source = await plugin.create(registry.checkOptions(plugin, plan.source.options), {
      ...context,
      columns,
      siblings,
      peers: plan.peers ?? 1,
    });
    if (!("start" in source)) {
      throw new PlanError(
        `Cannot use source "${plan.source.name}" in partitions: it does not push`,
      );
    }
    this.local = new LocalExecution({
      plan,
      pipelines: this.#pipelines,
      exchange: await this.#exchange(init),
      source,
      sink,
      logger: this.#context.logger,
      signal: this.#abort.signal,
      prune: columnPruner(columns),
      reply: this.#answer,
      fatal: (error) => post({ type: "fatal", error: errorMessage(error) }),
      report: (report) => {
        const metrics = this.#metrics;
        this.#metrics = undefined;
        post({
          type: "report",
          report: metrics === undefined ? report : { ...report, metrics },
        });
      },
    });
    await this.local.start();
    return source.services?.() ?? [];
  }

  run(seq: number, wire: WireBatch, stage: number): Promise<void> | undefined {
    const started = performance.now();
    let outcome: Outcome | Promise<Outcome>;
    try {
      const batch = Batch.fromWire(wire, this.#inputSchemas[stage]);
      this.#inputSchemas[stage] = batch.schema;
      outcome = this.#pipelines[stage]!.run(batch);
    } catch (error) {
      post({ type: "failed", seq, error: errorMessage(error) });
      return;
    }
    if (!(outcome instanceof Promise)) return this.#report(seq, stage, outcome, started);
    // The batch waits for something: what has been answered already need not.
    const replies = this.#early.drain();
    if (replies !== undefined) post({ type: "replies", replies });
    return outcome.then(
      (outcome) => this.#report(seq, stage, outcome, started),
      (error) => post({ type: "failed", seq, error: errorMessage(error) }),
    );
  }

  async close(): Promise<void> {
    await this.local?.close();
    for (const pipeline of this.#pipelines) await pipeline.close();
    this.#abort.abort();
  }

  #report(
    seq: number,
    stage: number,
    { batch, failures }: Outcome,
    started: number,
  ): undefined {
    const replies = this.#early.drain();
    const metrics = this.#metrics;
    this.#metrics = undefined;
    const wire = batch.toWire(this.#sentSchemas[stage]);
    this.#sentSchemas[stage] = batch.schema;
    const ms = performance.now() - started;
    const message = {
      type: "result" as const,
      seq,
      stage,
      batch: wire,
      ms,
      ...(failures.length > 0 ? { failures } : {}),
      ...(replies !== undefined ? { replies } : {}),
      ...(metrics !== undefined ? { metrics } : {}),
    };
    try {
      port.postMessage(message, transferable(wire.columns));
    } catch (error) {
      // A plugin put something into a column that cannot leave the isolate, a function say.
      this.#sentSchemas[stage] = undefined;
      post({ type: "failed", seq, error: errorMessage(error) });
    }
  }

  /** The partition's end of the exchange; undefined when the plan moves no rows. */
  async #exchange(init: PartitionInit): Promise<ExchangeHost | undefined> {
    const { plan, exchange, peer, partition, ring } = init;
    if (this.#pipelines.length === 1) return undefined;
    if (exchange === undefined) {
      throw new Error("A plan that moves rows was started without exchange");
    }
    const { LoopbackExchange } = await import("../cluster/loopback.ts");
    const { logger } = this.#context;
    const self = { peer, partition };
    const { peers, dir } = exchange;
    const loopback = new LoopbackExchange({ dir, self, logger });
    if (ring === undefined || plan.cluster === undefined) {
      return { exchange: loopback, self, peers };
    }
    const { ClusterExchange } = await import("../cluster/cluster_exchange.ts");
    const { cluster } = plan;
    const spread = await ClusterExchange.create({
      plan: { ...plan, cluster },
      partition,
      ring,
      local: loopback,
      logger,
    });
    this.spread = spread;
    return { exchange: spread, self, peers, addresses: () => spread.addresses };
  }

  readonly #answer = (id: string, reply: Reply): void => {
    this.#replies.own?.(id, reply);
  };

  #count(name: string, amount: number): void {
    this.#metrics ??= {};
    this.#metrics[name] = (this.#metrics[name] ?? 0) + amount;
  }
}

/** Below this many bytes a copy is cheaper than a transfer. */
const MIN_TRANSFER_BYTES = 16_384;

/** The buffers of large numeric columns, each once, that nothing else can have a view of. */
function transferable(columns: readonly unknown[]): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const column of columns) {
    if (
      ArrayBuffer.isView(column) && column.buffer instanceof ArrayBuffer &&
      column.byteLength >= MIN_TRANSFER_BYTES && column.byteLength === column.buffer.byteLength
    ) buffers.add(column.buffer);
  }
  return [...buffers];
}

function logger(lowest: string): PluginLogger {
  const from = LEVELS.indexOf(lowest as LogLevel);
  const at =
    (level: LogLevel) => (message: string, properties: Record<string, unknown> = {}): void => {
      if (LEVELS.indexOf(level) >= from) post({ type: "log", level, message, properties });
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
