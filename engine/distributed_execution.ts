/**
 * Runs a query whose source lives in the partitions: each takes, transforms and answers rows by itself,
 * and the head only watches.
 *
 * @module
 */
import type { PluginLogger, ServiceInfo } from "../plugins/contract.ts";
import { makeExchangeDir, removeExchangeDir } from "./exchange_dir.ts";
import type { Execution } from "./execution.ts";
import { PartitionPool } from "./partition_pool.ts";
import type { PartitionInit, PartitionReport } from "./partition_protocol.ts";
import type { Plan } from "./plan.ts";
import type { BatchRecord } from "./progress.ts";
import { checkTrigger } from "./push_execution.ts";
import type { RingSource } from "./ring.ts";

/** What a {@linkcode DistributedExecution} is given by its query. */
export interface DistributedExecutionHost {
  readonly plan: Plan;
  readonly init: PartitionInit;
  readonly logger: PluginLogger;
  /** Whether the plan moves rows between partitions. Without an exchange in `init`, one is made. */
  readonly movesRows?: boolean;
  /** The processes, on many machines, between which it moves them. Default: only this one. */
  ring?(): Promise<RingSource>;
  progress(record: BatchRecord): void;
  /** The query cannot go on. */
  fatal(error: Error): void;
  /** `services()` gives something else now. */
  servicesChanged?(): void;
}

/** A partition that has not answered a ping for so long is dead, unless a batch may take longer. */
const SILENCE_MS = 5_000;

/** The head's end of a query that runs in its partitions. */
export class DistributedExecution implements Execution {
  /** A push source has no end. */
  readonly finished: Promise<void> = new Promise(() => {});
  readonly #host: DistributedExecutionHost;
  readonly #pool: PartitionPool;
  readonly #batches: number[];
  readonly #queueLengths: number[];
  readonly #drained: PromiseWithResolvers<void>[];
  #reports = 0;
  #draining = false;
  #closed = false;
  /** The directory of the exchange, when it was made here. */
  #exchangeDir: string | undefined;
  #ring: RingSource | undefined;
  #stopRing = () => {};

  constructor(host: DistributedExecutionHost) {
    const { plan, init, logger } = host;
    checkTrigger(plan);
    this.#host = host;
    const perPartition = <T>(make: () => T) => Array.from({ length: plan.partitions }, make);
    this.#batches = perPartition(() => 0);
    this.#queueLengths = perPartition(() => 0);
    this.#drained = perPartition(() => Promise.withResolvers<void>());
    const silenceMs = Math.max(SILENCE_MS, plan.batching.batchTimeoutMs);
    this.#pool = new PartitionPool({
      init,
      logger,
      events: (partition) => ({
        result: () => {},
        failed: () => {},
        replies: () => {},
        report: (report) => this.#report(partition, report),
        drained: () => this.#drained[partition]!.resolve(),
        fatal: (error) => host.fatal(error),
      }),
      prepare: () => ({
        ...this.#exchange(),
        siblings: [...init.siblings ?? [], ...this.#pool.hosts.flatMap(({ services }) => services)],
      }),
      // The callers of a partition that dies see their connections break; there is nobody to answer.
      lost: (partition) => {
        this.#drained[partition]!.resolve();
        host.servicesChanged?.();
      },
      ready: () => host.servicesChanged?.(),
      inspect: (partition, now) => {
        const { busyForMs, lastHeard } = this.#pool.host(partition);
        if (busyForMs > plan.batching.batchTimeoutMs) {
          return `a batch took longer than ${plan.batching.batchTimeoutMs} ms`;
        }
        return now - lastHeard > silenceMs ? `it did not answer for ${silenceMs} ms` : undefined;
      },
      fatal: (error) => host.fatal(error),
    });
  }

  async start(): Promise<void> {
    const { movesRows, init } = this.#host;
    if (movesRows && init.exchange === undefined) {
      const dir = await makeExchangeDir();
      if (this.#closed) return await removeExchangeDir(dir);
      this.#exchangeDir = dir;
    }
    if (movesRows) await this.#joinRing();
    await this.#pool.start({ oneByOne: true });
  }

  processAllAvailable(): Promise<void> {
    return Promise.reject(
      new Error("Cannot wait for all available: the query's source lives in the partitions"),
    );
  }

  async drain({ handOver = false }: { readonly handOver?: boolean } = {}): Promise<void> {
    this.#draining = true;
    this.#host.servicesChanged?.();
    for (let partition = 0; partition < this.#pool.size; partition++) {
      if (this.#pool.isReady(partition)) this.#pool.host(partition).drain(handOver);
      else this.#drained[partition]!.resolve();
    }
    await Promise.all(this.#drained.map(({ promise }) => promise));
  }

  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#pool.close(timeoutMs);
    this.#stopRing();
    if (this.#exchangeDir !== undefined) await removeExchangeDir(this.#exchangeDir);
    for (const { resolve } of this.#drained) resolve();
  }

  replacePartition(partition: number): void {
    this.#pool.replace(partition);
  }

  partitionBatches(): readonly number[] {
    return this.#batches;
  }

  restarts(): number {
    return this.#pool.restarts;
  }

  queueLength(): number {
    return this.#queueLengths.reduce((sum, length) => sum + length, 0);
  }

  services(): readonly ServiceInfo[] {
    return this.#pool.hosts.flatMap(({ services }, partition) => {
      if (!this.#pool.isReady(partition)) return [];
      return this.#draining
        ? services.map((service) => ({ ...service, state: "stopping" as const }))
        : services;
    });
  }

  /** Where rows are exchanged, for a worker that is about to start. */
  #exchange(): Pick<PartitionInit, "exchange" | "ring"> {
    const dir = this.#exchangeDir;
    if (dir === undefined) return {};
    const ring = this.#ring?.current();
    return {
      exchange: { dir, peers: 1, partitions: this.#host.plan.partitions },
      ...(ring === undefined ? {} : { ring }),
    };
  }

  async #joinRing(): Promise<void> {
    this.#ring = await this.#host.ring?.();
    if (this.#ring === undefined) return;
    this.#stopRing = this.#ring.listen((ring) => {
      for (const host of this.#pool.hosts) host.ring(ring);
    });
  }

  #report(partition: number, report: PartitionReport): void {
    const { began, numBatches, numInputRows, numOutputRows, queueLength } = report;
    this.#batches[partition]! += numBatches;
    this.#queueLengths[partition] = queueLength;
    this.#pool.works(partition);
    this.#host.progress({
      batchId: this.#reports++,
      began,
      batchDuration: report.batchMs,
      numInputRows,
      numOutputRows,
      queueLength,
      durationMs: {
        transforms: report.transformsMs,
        addBatch: report.batchMs,
        triggerExecution: report.batchMs,
      },
      metrics: report.metrics,
    });
  }
}
