/**
 * Counts rows by the column `key`, for `map_batches`: each gets the count so far, and where it was made.
 *
 * @module
 */
import type { Batch } from "../../engine/batch.ts";
import type { MapBatchesContext } from "../../transforms/map_batches.ts";

const counts = new Map<unknown, number>();

export default function (batch: Batch, { peer, partition }: MapBatchesContext): Batch {
  const numbers = Array.from(batch.column("key"), (key) => {
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count;
  });
  return batch.withColumn("count", "int32", numbers)
    .withColumn("place", "string", numbers.map(() => `${peer}/${partition}`));
}
