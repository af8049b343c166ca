/**
 * The plan: the JSON form of a pipeline. Config files and the fluent API both make plans; the engine
 * runs plans and nothing else.
 *
 * @module
 */
import type { ClusterOptions } from "../cluster/cluster_options.ts";
import type { Json } from "../plugins/contract.ts";

/** A plugin by name, with its options as the user gave them (checked, defaults not filled in). */
export interface PluginUse {
  readonly name: string;
  readonly options: Json;
}

/**
 * When a micro-batch starts: as soon as a partition is idle and a row waits (`continuous`, the
 * default), at most every so many milliseconds, or on all there is and then never again
 * (`availableNow`, in as many batches as it takes; `once`, in one).
 */
export type Trigger =
  | { readonly continuous: true }
  | { readonly processingTime: number }
  | { readonly availableNow: true }
  | { readonly once: true };

/** How rows become micro-batches, and what becomes of batches that go wrong. */
export interface Batching {
  /** Most rows in a micro-batch. Default 1024. */
  readonly maxBatchSize: number;
  /** How long, in ms, a batch that is not full waits for more rows while a partition is idle. Default 0. */
  readonly maxBatchDelayMs: number;
  /** How long, in ms, a partition may take for one batch before its worker is replaced. Default 30000. */
  readonly batchTimeoutMs: number;
  /** Most rows that wait; a push source refuses what comes on top. Default 4096. */
  readonly maxQueueSize: number;
  /** Heap limit of a partition's worker in MB; a worker over it is replaced. Default 1024. */
  readonly maxWorkerMemoryMb: number;
}

/** One pipeline. Plain data: it can be stored, sent to workers and compared. */
export interface Plan {
  readonly version: 1;
  /** The query's name, unique among those that are active. */
  readonly name: string;
  readonly source: PluginUse;
  readonly transforms: readonly PluginUse[];
  readonly sink: PluginUse;
  /** Number of workers, of each peer if there are several. */
  readonly partitions: number;
  /** Number of processes that serve; absent: this one does. */
  readonly peers?: number;
  /** The balancer in front of the partitions' listeners, as the user gave it; absent: none. */
  readonly balancer?: Json;
  /** The processes, on any machines, that serve together; absent: this one serves alone. */
  readonly cluster?: ClusterOptions;
  readonly trigger: Trigger;
  readonly batching: Batching;
  /** Directory of the checkpoint, absolute; absent: nothing is kept. */
  readonly checkpoint?: string;
  /** Outside plugins, as absolute URLs (`file:///...`) or `npm:` specifiers. */
  readonly plugins: readonly string[];
  /** What relative paths in options are relative to; a URL that ends in `/`. */
  readonly baseUrl: string;
}

/** The values of {@linkcode Batching} when nothing is said. */
export const DEFAULT_BATCHING: Batching = Object.freeze({
  maxBatchSize: 1024,
  maxBatchDelayMs: 0,
  batchTimeoutMs: 30_000,
  maxQueueSize: 4096,
  maxWorkerMemoryMb: 1024,
});
