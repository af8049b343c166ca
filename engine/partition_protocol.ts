/**
 * The messages between the head and the worker of a partition: one each way per micro-batch.
 *
 * @module
 */
import type { Reply, ServiceInfo } from "../plugins/contract.ts";
import type { WireBatch } from "./batch.ts";
import type { RowFailure } from "./pipeline.ts";
import type { Plan } from "./plan.ts";
import type { Ring } from "./ring.ts";

/** Head to worker. */
export type ToPartition =
  | PartitionInit
  | {
    readonly type: "batch";
    readonly seq: number;
    readonly batch: WireBatch;
    /** Which stage of the plan the batch is for. Default: the first. */
    readonly stage?: number;
  }
  | { readonly type: "ping" }
  /** To a partition whose rows are spread over many machines: over which, from now on. */
  | { readonly type: "ring"; readonly ring: Ring }
  /**
   * To a partition that serves by itself: take in no more, and say when all is done. With `handOver`,
   * callers are given the time to go to another instance first.
   */
  | { readonly type: "drain"; readonly handOver?: boolean }
  | { readonly type: "close" };

/** The first message: what the partition is to run. */
export interface PartitionInit {
  readonly type: "init";
  readonly plan: Plan;
  readonly partition: number;
  readonly peer: number;
  /** The lowest level of log lines that are wanted. */
  readonly logLevel: string;
  /** Where the sources of other partitions listen already. */
  readonly siblings?: readonly ServiceInfo[];
  /** Where rows are exchanged that a shuffle moves; absent when the plan moves none. */
  readonly exchange?: ExchangeInit;
  /** The processes among which they move, where these are on many machines. */
  readonly ring?: Ring;
}

/** The partitions between which rows move, and where they meet. */
export interface ExchangeInit {
  /** Directory of the sockets. */
  readonly dir: string;
  /** Number of peers. */
  readonly peers: number;
  /** Number of partitions of each peer. */
  readonly partitions: number;
}

/** Worker to head. */
export type FromPartition =
  /** Plugins are warm; of a partition that serves by itself, `services` can be reached. */
  | { readonly type: "ready"; readonly services?: readonly ServiceInfo[] }
  | { readonly type: "init_failed"; readonly error: ErrorMessage }
  | PartitionResult
  | { readonly type: "failed"; readonly seq: number; readonly error: ErrorMessage }
  /** Replies that need not wait for the rest of their batch. */
  | { readonly type: "replies"; readonly replies: readonly (readonly [string, Reply])[] }
  /** `busyForMs`: how long the batch at hand has been going on, in a partition that serves by itself. */
  | { readonly type: "pong"; readonly busyForMs: number }
  | { readonly type: "report"; readonly report: PartitionReport }
  | { readonly type: "drained" }
  /** The query cannot go on. */
  | { readonly type: "fatal"; readonly error: ErrorMessage }
  | {
    readonly type: "log";
    readonly level: LogLevel;
    readonly message: string;
    readonly properties: Record<string, unknown>;
  }
  /** Said just before the worker ends itself; not every runtime tells the head otherwise. */
  | { readonly type: "exiting"; readonly code: number }
  | { readonly type: "closed" };

/** What became of a batch. */
export interface PartitionResult {
  readonly type: "result";
  readonly seq: number;
  /** Which stage of the plan did it. */
  readonly stage: number;
  readonly batch: WireBatch;
  readonly failures?: readonly RowFailure[];
  readonly replies?: readonly (readonly [string, Reply])[];
  /** Counts of plugins since the last result. */
  readonly metrics?: Readonly<Record<string, number>>;
  /** Time in the transforms, in ms. */
  readonly ms: number;
}

/** What a partition that serves by itself has done since it said so last. */
export interface PartitionReport {
  /** When the first of the batches began, ms since 1970. */
  readonly began: number;
  readonly numBatches: number;
  readonly numInputRows: number;
  readonly numOutputRows: number;
  /** Most rows that waited. */
  readonly queueLength: number;
  /** Time in the transforms, summed over the batches, in ms. */
  readonly transformsMs: number;
  /** Time from the batches' beginnings to their ends in the sink, summed, in ms. */
  readonly batchMs: number;
  readonly metrics?: Readonly<Record<string, number>>;
}

/** An error as plain data. */
export interface ErrorMessage {
  readonly name: string;
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly stack?: string | undefined;
}

/** Levels of log lines. */
export type LogLevel = "debug" | "info" | "warn" | "error";
