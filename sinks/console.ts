/**
 * The `console` sink: prints each batch as a table on stdout. For a first look; the sink of a service
 * is `http`.
 *
 * @module
 */
import Table from "cli-table3";
import * as v from "valibot";
import type { Batch, DataType } from "../engine/batch.ts";
import { valueCast } from "../engine/expressions/cast.ts";
import { defineSink } from "../plugins/contract.ts";

const options = v.strictObject({
  numRows: v.pipe(
    v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 20),
    v.description("Most rows printed of a batch; of the rest, the number."),
  ),
  truncate: v.pipe(
    v.optional(v.union([v.boolean(), v.pipe(v.number(), v.integer(), v.minValue(1))]), true),
    v.description("Most characters of a value; `true` for 20, `false` for all."),
  ),
});

/** Options of the `console` sink, checked and complete. */
export type ConsoleSinkOptions = v.InferOutput<typeof options>;

export default defineSink<ConsoleSinkOptions>({
  kind: "sink",
  name: "console",
  atLeastOnce: true,
  summary: "Prints each batch as a table.",
  description: "At least once: a batch done again after a crash is printed again.",
  options,
  examples: [
    { title: "The first 20 rows of each batch", options: {} },
    { title: "Five rows, values in full", options: { numRows: 5, truncate: false } },
  ],
  placement: "head",
  create: (options, { service }) => {
    const bounded = service.startsWith("batch-");
    return {
      addBatch: (batchId, batch) => {
        if (!bounded) console.log(`${RULE}\nBatch: ${batchId}\n${RULE}`);
        console.log(table(batch, options));
      },
    };
  },
});

const RULE = "-".repeat(43);
const CUT = 20;

/** The batch as a table, in the look of Spark's `show`. */
export function table(batch: Batch, { numRows, truncate }: ConsoleSinkOptions): string {
  const most = truncate === true ? CUT : truncate === false ? Infinity : truncate;
  const columns = batch.schema.fields.map(({ name, type }) => ({ name, text: textOf(type) }));
  const drawn = new Table({
    head: columns.map(({ name }) => cut(name, most)),
    colAligns: columns.map(() => "right" as const),
    style: { head: [], border: [], compact: true },
    chars: CHARS,
  });
  const shown = batch.slice(0, numRows);
  for (let row = 0; row < shown.numRows; row++) {
    drawn.push(columns.map(({ text }, position) => cut(text(shown.columnAt(position)[row]), most)));
  }
  const rest = batch.numRows - shown.numRows;
  return rest === 0 ? drawn.toString() : `${drawn.toString()}\nand ${rest} more`;
}

const CHARS = {
  "top": "-",
  "top-mid": "+",
  "top-left": "+",
  "top-right": "+",
  "bottom": "-",
  "bottom-mid": "+",
  "bottom-left": "+",
  "bottom-right": "+",
  "left": "|",
  "left-mid": "+",
  "mid": "-",
  "mid-mid": "+",
  "right": "|",
  "right-mid": "+",
  "middle": "|",
} as const;

// deno-lint-ignore no-explicit-any -- a value of the type
function textOf(type: DataType): (value: any) => string {
  const cast = type === "binary" ? hexadecimal : valueCast(type, "string");
  return (value) =>
    value === null || value === undefined ? "NULL" : String(cast ? cast(value) : value);
}

function hexadecimal(bytes: Uint8Array): string {
  return `[${
    Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join(" ")
  }]`;
}

function cut(text: string, most: number): string {
  const line = text.replaceAll("\r", "\\r").replaceAll("\n", "\\n");
  const chars = Array.from(line);
  if (chars.length <= most) return line;
  return most < 4 ? chars.slice(0, most).join("") : `${chars.slice(0, most - 3).join("")}...`;
}
