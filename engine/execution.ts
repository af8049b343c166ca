/**
 * How a query runs, by the kind of its source. The query owns the life; the execution does the work.
 *
 * @module
 */
import type { PluginLogger, Reply, ServiceInfo, Sink } from "../plugins/contract.ts";
import { pauseOf } from "./pipeline.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Batch } from "./batch.ts";
import type { PartitionInit } from "./partition_protocol.ts";
import type { Plan } from "./plan.ts";
import type { BatchRecord } from "./progress.ts";
import { sleep } from "./sleep.ts";

/** What an execution is given by its query. */
export interface ExecutionHost {
  readonly plan: Plan;
  readonly init: PartitionInit;
  readonly logger: PluginLogger;
  readonly checkpoint: Checkpoint | undefined;
  readonly sink: Sink;
  /** How many times the plan moves its rows between partitions; it has one stage more. */
  readonly shuffles: number;
  /** Takes out of a batch of the source what the rest of the plan does not read. */
  prune(batch: Batch): Batch;
  /** Aborted when the query is to stop. */
  readonly signal: AbortSignal;
  /** Answers a request of the query's own source. */
  reply(id: string, reply: Reply): void;
  progress(record: BatchRecord): void;
  /** The query cannot go on. */
  fatal(error: Error): void;
}

/** A query at work. */
export interface Execution {
  /** Resolves when rows are taken: workers warm, sink open, port bound. */
  start(): Promise<void>;
  /** Resolves when there is no more to do; never, for a source without an end. */
  readonly finished: Promise<void>;
  /** Resolves when all that had come in at the time of the call is in the sink. */
  processAllAvailable(): Promise<void>;
  /**
   * Takes in no more, and resolves when what was taken in is done. With `handOver`, callers are sent to
   * another instance first.
   */
  drain(options?: { readonly handOver?: boolean }): Promise<void>;
  /** Frees everything, giving plugins so many ms to close. Safe unstarted and twice. */
  close(timeoutMs: number): Promise<void>;
  /** Ends a partition's worker; another takes its place. */
  replacePartition(partition: number): void;
  /** Batches done by each partition. */
  partitionBatches(): readonly number[];
  /** Workers replaced since the start. */
  restarts(): number;
  /** Rows that wait. */
  queueLength(): number;
  services(): readonly ServiceInfo[];
  /** Replaces the peers one after another while the others serve; absent where there are none. */
  restart?(): Promise<void>;
}

/**
 * Hands a batch to a sink, again and again while the sink asks for patience. It returns without a
 * promise when the sink does, so that a service's replies wait for nothing.
 * @throws what the sink throws, or the signal's reason when that comes first
 */
export function addBatch(
  sink: Sink,
  batchId: number,
  batch: Batch,
  signal: AbortSignal,
): Promise<void> | undefined {
  try {
    const pending = sink.addBatch(batchId, batch);
    return pending instanceof Promise ? pending.catch(again) : undefined;
  } catch (error) {
    return again(error);
  }

  async function again(error: unknown): Promise<void> {
    for (let attempt = 0;; attempt++) {
      const pause = pauseOf(error, attempt);
      if (pause === undefined) throw error;
      await sleep(pause, signal);
      try {
        return await sink.addBatch(batchId, batch);
      } catch (next) {
        error = next;
      }
    }
  }
}
