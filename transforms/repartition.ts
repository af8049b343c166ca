/**
 * The `repartition` transform: rows move to the partition that has their key.
 *
 * @module
 */
import * as v from "valibot";
import { defineTransform } from "../plugins/contract.ts";
import { columnsBefore } from "./columns.ts";
import { bindOption, columnsRead, expressionOption } from "./option_expression.ts";

const options = v.strictObject({
  keys: v.pipe(
    v.optional(
      v.array(
        v.pipe(expressionOption(), v.description("Column, or SQL expression.")),
        "a list of columns or SQL expressions",
      ),
      [],
    ),
    v.description(
      "What rows are moved by: those for which all keys are equal meet in one partition. Default: none, " +
        "and rows are dealt out in turn.",
    ),
  ),
  partitions: v.pipe(
    v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
    v.description(
      "Number of partitions that get rows. Default, and at most: all partitions of all peers.",
    ),
  ),
});

/** Options of the `repartition` transform, checked and complete. */
export type RepartitionOptions = v.InferOutput<typeof options>;

export default defineTransform<RepartitionOptions>({
  kind: "transform",
  name: "repartition",
  summary: "Moves rows between partitions and peers, by key or in turn.",
  description: [
    "What comes after it sees all rows of a key in one place, in the order in which each partition sent",
    "them: a `map_batches` that counts by key counts right with any number of partitions. Null is a key",
    "too; numbers that are equal are one key, whatever their types.",
    "",
    "Replies find their callers wherever a row ends up. When a partition is lost, the callers of rows that",
    "were there on their way get 503 (`distributed_http`), or the rows are done again by its successor",
    "(other sources). State that a transform keeps in memory is lost with its worker.",
    "",
    "Moving rows costs: without it, rows stay in the partition that took them.",
  ].join("\n"),
  options,
  examples: [
    { title: "All rows of a user in one place", options: { keys: ["user"] } },
    {
      title: "By an expression, over four partitions",
      options: { keys: ["lower(value)"], partitions: 4 },
    },
    { title: "Evenly", options: {} },
  ],
  outputSchema: ({ keys }, input) => {
    for (const [position, key] of keys.entries()) bindOption(key, ["keys", position], input);
    return input;
  },
  requires: ({ keys }, needed) => {
    const read = columnsRead(keys);
    return read === undefined ? "all" : columnsBefore(needed, { read });
  },
  shuffle: ({ keys, partitions }) => ({ keys: keys.map(String), partitions }),
  create: () => ({ transform: (batch) => batch }),
});
