/**
 * The head's handle of one partition's worker.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import type { PluginLogger, ServiceInfo } from "../plugins/contract.ts";
import { Batch, Schema } from "./batch.ts";
import { revive } from "./error_message.ts";
import type {
  FromPartition,
  PartitionInit,
  PartitionReport,
  PartitionResult,
  ToPartition,
} from "./partition_protocol.ts";
import type { Ring } from "./ring.ts";

/** What a partition tells its owner. */
export interface PartitionEvents {
  /** A batch went through; `batch` is the decoded output. */
  result(message: PartitionResult, batch: Batch): void;
  /** A batch as a whole failed; the worker lives. */
  failed(seq: number, error: Error): void;
  replies(message: FromPartition & { type: "replies" }): void;
  report?(report: PartitionReport): void;
  drained?(): void;
  fatal?(error: Error): void;
  /** The worker is gone, unasked. It is told once, and nothing comes after it. */
  died(why: string): void;
}

/**
 * A worker of a partition, from its start to its end; a replacement is another object.
 *
 * It is a `node:worker_threads` Worker, which is a Web Worker that takes a heap limit: on Deno 2.9 a
 * worker over it falls silent and is replaced, where a plain one takes the process with it.
 */
export class PartitionHost {
  readonly #worker: Worker;
  readonly #events: PartitionEvents;
  readonly #logger: PluginLogger;
  readonly #started = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  /** The schemas of the last batches that went and came, by stage. */
  readonly #inputSchemas: (Schema | undefined)[] = [];
  readonly #outputSchemas: (Schema | undefined)[] = [];
  #gone = false;
  #closing = false;
  /** When the worker last said anything, by `performance.now()`. */
  lastHeard: number = performance.now();
  /** How long, in ms, the batch at hand had been going on at the last sign of life; see `pong`. */
  busyForMs = 0;
  /** Where a partition that serves by itself can be reached; empty before it is ready. */
  services: readonly ServiceInfo[] = [];

  constructor(init: PartitionInit, events: PartitionEvents, logger: PluginLogger) {
    this.#events = events;
    this.#logger = logger;
    // Whoever waits for the start sees the failure; the rest hear `died`.
    this.#started.promise.catch(() => {});
    this.#worker = new Worker(new URL("./partition.ts", import.meta.url), {
      name: `${init.plan.name}/${init.partition}`,
      resourceLimits: { maxOldGenerationSizeMb: init.plan.batching.maxWorkerMemoryMb },
    });
    this.#worker.on("message", (message: FromPartition) => this.#receive(message));
    this.#worker.on("error", (error: Error) => this.#died(`it threw: ${error.message}`));
    this.#worker.on("exit", (code: number) => this.#died(`it exited with code ${code}`));
    this.#post(init);
  }

  /** Resolves when the plugins are created and warm; rejects when that fails or the worker dies. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  /** Sends a batch for a stage of the plan; its result comes as an event. */
  send(seq: number, batch: Batch, stage: number = 0): void {
    this.#post({ type: "batch", seq, stage, batch: batch.toWire(this.#inputSchemas[stage]) });
    this.#inputSchemas[stage] = batch.schema;
  }

  /** Asks a partition that serves by itself to take in no more; `drained` follows. */
  drain(handOver: boolean = false): void {
    this.#post({ type: "drain", handOver });
  }

  /** Tells a partition over which others its rows are spread. */
  ring(ring: Ring): void {
    this.#post({ type: "ring", ring });
  }

  /** Asks for a sign of life, which moves `lastHeard`. */
  ping(): void {
    this.#post({ type: "ping" });
  }

  /** Ends the worker at once. No event follows. */
  async terminate(): Promise<void> {
    this.#gone = true;
    this.#started.reject(new Error("The partition was terminated"));
    this.#ended.resolve();
    await this.#worker.terminate();
  }

  /** Lets the plugins close, for at most `timeoutMs`, then ends the worker. */
  async close(timeoutMs: number): Promise<void> {
    if (!this.#gone) {
      this.#closing = true;
      this.#post({ type: "close" });
      const timer = setTimeout(() => {
        if (timeoutMs > 0) this.#logger.warn(`Plugins did not close within ${timeoutMs} ms`);
        this.#ended.resolve();
      }, timeoutMs);
      await this.#ended.promise;
      clearTimeout(timer);
    }
    await this.terminate();
  }

  #post(message: ToPartition): void {
    if (!this.#gone) this.#worker.postMessage(message);
  }

  #receive(message: FromPartition): void {
    if (this.#gone) return;
    this.lastHeard = performance.now();
    switch (message.type) {
      case "result": {
        const { stage } = message;
        const { fields, columns, numRows } = message.batch;
        if (fields !== undefined) this.#outputSchemas[stage] = new Schema(fields);
        let batch: Batch;
        try {
          batch = Batch.fromWire({ columns, numRows }, this.#outputSchemas[stage]);
        } catch (error) {
          // A plugin has changed the columns of its batch after it was built.
          return this.#events.failed(message.seq, error as Error);
        }
        return this.#events.result(message, batch);
      }
      case "failed":
        return this.#events.failed(message.seq, revive(message.error));
      case "replies":
        return this.#events.replies(message);
      case "log":
        return this.#logger[message.level](message.message, message.properties);
      case "ready":
        this.services = message.services ?? [];
        return this.#started.resolve();
      case "pong":
        this.busyForMs = message.busyForMs;
        return;
      case "report":
        return this.#events.report?.(message.report);
      case "drained":
        return this.#events.drained?.();
      case "fatal":
        return this.#events.fatal?.(revive(message.error));
      case "init_failed":
        this.#started.reject(revive(message.error));
        return this.#died(message.error.message);
      case "exiting":
        return this.#died(`it exited with code ${message.code}`);
      case "closed":
        return this.#ended.resolve();
    }
  }

  #died(why: string): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#started.reject(new Error(`The worker ended before it was ready: ${why}`));
    this.#ended.resolve();
    this.#worker.terminate();
    if (!this.#closing) this.#events.died(why);
  }
}
