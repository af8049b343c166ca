/**
 * The `filter` transform: rows by a condition.
 *
 * @module
 */
import * as v from "valibot";
import { defineTransform } from "../plugins/contract.ts";
import { columnsBefore } from "./columns.ts";
import {
  bindCondition,
  columnsRead,
  expressionOption,
  loadOptionUdfs,
  type OptionPath,
  type Sql,
} from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.union([
  v.pipe(expressionOption(), v.description("SQL condition.")),
  v.strictObject({
    condition: v.pipe(
      expressionOption(),
      v.description("SQL condition; rows for which it is false or null are dropped."),
    ),
  }),
], "a SQL condition");

/** Options of the `filter` transform: the condition, bare or by name. */
export type FilterOptions = v.InferOutput<typeof options>;

export default defineTransform<FilterOptions>({
  kind: "transform",
  name: "filter",
  summary: "Keeps the rows for which a SQL condition is true.",
  description: [
    "A condition that is null drops the row, as SQL's `where` does. The caller of a dropped row gets the",
    "`droppedReply` of the source, 404 by default; to answer such callers otherwise, see `send_reply`.",
  ].join("\n"),
  options,
  examples: [
    { title: "Bodies that are not empty", options: { condition: "length(value) > 0" } },
    { title: "The same, written shorter", options: "length(value) > 0" },
  ],
  outputSchema: (options, input) => {
    const { sql, path } = conditionOf(options);
    bindCondition(sql, path, input);
    return input;
  },
  requires: (options, needed) =>
    columnsBefore(needed, { read: columnsRead([conditionOf(options).sql])! }),
  create: async (options, { input, baseUrl }) => {
    const { sql, path } = conditionOf(options);
    const udfs = await loadOptionUdfs([[path, sql]], baseUrl);
    const conditionFor = perSchema(input, (schema) => bindCondition(sql, path, schema, udfs));
    return {
      transform: (batch) => batch.filter(conditionFor(batch.schema).evaluate(batch)),
    };
  },
});

interface Condition {
  readonly sql: Sql;
  readonly path: OptionPath;
}

function conditionOf(options: FilterOptions): Condition {
  return typeof options === "object"
    ? { sql: options.condition, path: ["condition"] }
    : { sql: options, path: [] };
}
