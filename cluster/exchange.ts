/**
 * How rows move between partitions, of this process or of others: a micro-batch goes to the partition
 * that has its keys, and what becomes of its rows comes back along the same call.
 *
 * @module
 */
import type { Reply } from "../plugins/contract.ts";
import type { Batch } from "../engine/batch.ts";
import type { RowFailure } from "../engine/pipeline.ts";

/** A partition of a peer, both counted from 0. */
export interface PartitionAddress {
  readonly peer: number;
  readonly partition: number;
}

/** Rows for a stage of the plan. */
export interface StageRequest {
  /** Which stage: 1 is the one after the first shuffle. */
  readonly stage: number;
  readonly batch: Batch;
}

/** What became of the rows; those of which nothing is said were dropped, or had their reply before. */
export interface StageResponse {
  readonly replies: readonly (readonly [id: string, reply: Reply])[];
  readonly failures: readonly RowFailure[];
}

/** Runs rows that come from elsewhere; it resolves when they are done. */
export type ExchangeHandler = (
  request: StageRequest,
  from: PartitionAddress,
) => Promise<StageResponse>;

/** A partition's end of the exchange. */
export interface Exchange {
  /** Starts to receive. Resolves when others can call. */
  open(handler: ExchangeHandler): Promise<void>;
  /**
   * Has a micro-batch done elsewhere. Batches for one partition arrive there in the order of the calls.
   * @returns what became of it, when it is done there
   * @throws {ExchangeError} when the partition is lost
   */
  call(to: PartitionAddress, request: StageRequest): Promise<StageResponse>;
  /** Answers the calls that are being served, then gives up its own. Safe unopened and twice. */
  close(): Promise<void>;
}

/** A call was cut off: nobody knows how far the rows came. Their callers may try again. */
export class ExchangeError extends Error {
  override readonly name = "ExchangeError";
}

/** What calls are told that an exchange cannot take any more, or lets go when it closes. */
export function exchangeClosed(): ExchangeError {
  return new ExchangeError("the exchange is closed");
}
