/**
 * The `select` transform: columns by name or expression, and no others.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, type Field, Schema } from "../engine/batch.ts";
import type { CompiledExpression, Udfs } from "../engine/expressions/compile.ts";
import { outputName } from "../engine/expressions/expression.ts";
import { parseExpression } from "../engine/expressions/parser.ts";
import { defineTransform } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { columnsBefore, fieldOf, packed, refuseId } from "./columns.ts";
import { bindOption, columnsRead, expressionOption, loadOptionUdfs } from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.pipe(
  v.array(
    v.pipe(
      expressionOption(),
      v.description("A column, `*` for all, or an expression with `as` and a name."),
    ),
    "a list of columns and expressions",
  ),
  v.minLength(1, "a column or more"),
  v.description("Columns to keep or make, in this order."),
);

/** Options of the `select` transform. */
export type SelectOptions = v.InferOutput<typeof options>;

export default defineTransform<SelectOptions>({
  kind: "transform",
  name: "select",
  summary: "Keeps and makes columns by name or SQL expression, and drops the others.",
  description: [
    "`id` is kept where there is one, also when it is not named: replies are routed by it.",
    "",
    "An expression without `as` makes a column that is named after its text.",
  ].join("\n"),
  options,
  examples: [
    { title: "One column", options: ["value"] },
    { title: "All there are, and one more", options: ["*", "length(value) as size"] },
  ],
  outputSchema: (options, input) => bindAll(options, input).schema,
  requires: (options, needed) => {
    const expressions = options.map((sql) => parseExpression(String(sql)));
    const read = columnsRead(options.filter((_, at) => expressions[at]!.kind !== "star"))!;
    return expressions.some(({ kind }) => kind === "star")
      ? columnsBefore(needed, { made: expressions.map(outputName), read })
      : new Set(["id", ...read]);
  },
  create: async (options, { input, baseUrl }) => {
    const udfs = await loadOptionUdfs(options.map((sql, at) => [[at], sql]), baseUrl);
    const selectionFor = perSchema(input, (schema) => bindAll(options, schema, udfs));
    return {
      transform: (batch) => {
        const now = Date.now();
        const { schema, made } = selectionFor(batch.schema);
        const columns = made.map((bound) => packed(bound.type, bound.evaluate(batch, now)));
        return new Batch(schema, columns, batch.numRows);
      },
    };
  },
});

interface Selection {
  readonly schema: Schema;
  /** What makes each column. */
  readonly made: readonly CompiledExpression[];
}

function bindAll(options: SelectOptions, input: Schema, udfs?: Udfs): Selection {
  const fields: Field[] = [];
  const made: CompiledExpression[] = [];
  const add = (field: Field, bound: CompiledExpression, at: number) => {
    if (fields.some(({ name }) => name === field.name)) {
      throw new PlanError(
        `Cannot select column "${field.name}" twice: give one of them another name by "as"`,
        { path: [at] },
      );
    }
    fields.push(field);
    made.push(bound);
  };
  for (const [at, sql] of options.entries()) {
    const expression = parseExpression(String(sql));
    if (expression.kind === "star") {
      for (const field of input.fields) add(field, columnAsIs(field), at);
      continue;
    }
    const name = outputName(expression);
    const isColumn = expression.kind === "column";
    if (!isColumn) refuseId("replace", name, input, [at]);
    const bound = bindOption(sql, [at], input, udfs);
    add(isColumn ? input.field(name) : fieldOf(name, bound), bound, at);
  }
  const id = input.find("id");
  if (id !== undefined && !fields.some(({ name }) => name === "id")) {
    fields.unshift(id);
    made.unshift(columnAsIs(id));
  }
  return { schema: new Schema(fields), made };
}

function columnAsIs({ name, type, nullable }: Field): CompiledExpression {
  return {
    type,
    nullable: nullable !== false,
    columns: new Set([name]),
    evaluate: (batch) => batch.column(name),
  };
}
