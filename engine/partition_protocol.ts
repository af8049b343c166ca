/**
 * The messages between the head and the worker of a partition: one each way per micro-batch.
 *
 * @module
 */
import type { Reply } from "../plugins/contract.ts";
import type { WireBatch } from "./batch.ts";
import type { RowFailure } from "./pipeline.ts";
import type { Plan } from "./plan.ts";

/** Head to worker. */
export type ToPartition =
  | PartitionInit
  | { readonly type: "batch"; readonly seq: number; readonly batch: WireBatch }
  | { readonly type: "ping" }
  | { readonly type: "close" };

/** The first message: what the partition is to run. */
export interface PartitionInit {
  readonly type: "init";
  readonly plan: Plan;
  readonly partition: number;
  readonly peer: number;
  /** The lowest level of log lines that are wanted. */
  readonly logLevel: string;
}

/** Worker to head. */
export type FromPartition =
  | { readonly type: "ready" }
  | { readonly type: "init_failed"; readonly error: ErrorMessage }
  | PartitionResult
  | { readonly type: "failed"; readonly seq: number; readonly error: ErrorMessage }
  /** Replies that need not wait for the rest of their batch. */
  | { readonly type: "replies"; readonly replies: readonly (readonly [string, Reply])[] }
  | { readonly type: "pong" }
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
  readonly batch: WireBatch;
  readonly failures?: readonly RowFailure[];
  readonly replies?: readonly (readonly [string, Reply])[];
  /** Counts of plugins since the last result. */
  readonly metrics?: Readonly<Record<string, number>>;
  /** Time in the transforms, in ms. */
  readonly ms: number;
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
