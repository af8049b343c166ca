/**
 * Throws at batches that have a row of the key `bad`, for `map_batches`.
 *
 * @module
 */
import type { Batch } from "../../engine/batch.ts";

export default function (batch: Batch): Batch {
  if ((batch.column("key") as string[]).includes("bad")) throw new Error("I refuse bad ones");
  return batch;
}
