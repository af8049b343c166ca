/**
 * The `with_column` transform: columns from expressions.
 *
 * @module
 */
import * as v from "valibot";
import type { Schema } from "../engine/batch.ts";
import type { CompiledExpression, Udfs } from "../engine/expressions/compile.ts";
import { defineTransform } from "../plugins/contract.ts";
import { columnsBefore, fieldOf, putColumn, refuseId } from "./columns.ts";
import {
  bindOption,
  columnsRead,
  expressionOption,
  loadOptionUdfs,
  nameOption,
} from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.pipe(
  v.record(
    nameOption(),
    v.pipe(expressionOption(), v.description("SQL expression that makes the column.")),
    "a map of column names to expressions",
  ),
  v.minEntries(1, "a column and its expression"),
  v.description("Columns to make, by name. One may read those before it."),
);

/** Options of the `with_column` transform. */
export type WithColumnOptions = v.InferOutput<typeof options>;

export default defineTransform<WithColumnOptions>({
  kind: "transform",
  name: "with_column",
  summary: "Adds columns made by SQL expressions, or puts them in the place of others.",
  description: [
    "Several columns are made in the order in which they are written; a later expression may read the",
    "columns of earlier ones. A new column goes to the end, one that replaces another takes its place.",
  ].join("\n"),
  options,
  examples: [
    { title: "The length of the body", options: { newCol: "length(value)" } },
    {
      title: "Two columns, the second from the first",
      options: { words: "split(value, ' ')", count: "size(words)" },
    },
  ],
  outputSchema: (options, input) => bindAll(options, input).at(-1)!.schema,
  requires: (options, needed) => {
    // What an earlier expression makes is not read from the input by a later one.
    const made = new Set<string>(), read = new Set<string>();
    for (const [name, sql] of Object.entries(options)) {
      for (const column of columnsRead([sql])!) if (!made.has(column)) read.add(column);
      made.add(name);
    }
    return columnsBefore(needed, { made, read });
  },
  create: async (options, { input, baseUrl }) => {
    const udfs = await loadOptionUdfs(
      Object.entries(options).map(([name, sql]) => [[name], sql]),
      baseUrl,
    );
    const stepsFor = perSchema(input, (schema) => bindAll(options, schema, udfs));
    return {
      transform: (batch) => {
        const now = Date.now();
        for (const { name, bound, schema } of stepsFor(batch.schema)) {
          batch = putColumn(batch, name, bound.evaluate(batch, now), schema);
        }
        return batch;
      },
    };
  },
});

interface Step {
  readonly name: string;
  readonly bound: CompiledExpression;
  /** The columns after it. */
  readonly schema: Schema;
}

function bindAll(options: WithColumnOptions, input: Schema, udfs?: Udfs): Step[] {
  let schema = input;
  return Object.entries(options).map(([name, sql]) => {
    refuseId("replace", name, input, [name]);
    const bound = bindOption(sql, [name], schema, udfs);
    schema = schema.with(fieldOf(name, bound));
    return { name, bound, schema };
  });
}
