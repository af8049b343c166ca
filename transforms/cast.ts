/**
 * The `cast` transform: columns as other types.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, type DataType, Schema } from "../engine/batch.ts";
import { bindExpression, type CompiledExpression } from "../engine/expressions/compile.ts";
import { parseType } from "../engine/expressions/parser.ts";
import { defineTransform } from "../plugins/contract.ts";
import { columnsBefore, columnsOf, fieldAt, fieldOf, packed, refuseId } from "./columns.ts";
import { at, nameOption, typeOption } from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.pipe(
  v.record(
    nameOption(),
    v.pipe(
      typeOption(),
      v.description("Type in DDL, such as `int`, `timestamp`, `list<float32>`."),
    ),
    "a map of columns to types",
  ),
  v.minEntries(1, "a column and its type"),
  v.description("Types by column."),
);

/** Options of the `cast` transform: types by column. */
export type CastOptions = v.InferOutput<typeof options>;

export default defineTransform<CastOptions>({
  kind: "transform",
  name: "cast",
  summary: "Turns columns into other types.",
  description: [
    "By the rules of SQL's `cast`: a text that is not of the type becomes null, integers wrap, fractions",
    "are cut off. Types are int32 (int), int64 (bigint), float32 (float), float64 (double), string,",
    "boolean, timestamp, binary, list (array) and struct.",
  ].join("\n"),
  options,
  examples: [
    { title: "A text as a number", options: { value: "double" } },
    { title: "Two columns", options: { size: "bigint", scores: "list<float32>" } },
  ],
  outputSchema: (options, input) => bindAll(options, input).schema,
  requires: (options, needed) => columnsBefore(needed, { read: Object.keys(options) }),
  create: (options, { input }) => {
    const castsFor = perSchema(input, (schema) => bindAll(options, schema));
    return {
      transform: (batch) => {
        const now = Date.now();
        const { schema, casts } = castsFor(batch.schema);
        const columns = columnsOf(batch);
        for (const { position, bound } of casts) {
          columns[position] = packed(bound.type, bound.evaluate(batch, now));
        }
        return new Batch(schema, columns, batch.numRows);
      },
    };
  },
});

interface Casts {
  readonly schema: Schema;
  readonly casts: readonly { readonly position: number; readonly bound: CompiledExpression }[];
}

function bindAll(options: CastOptions, input: Schema): Casts {
  const fields = [...input.fields];
  const casts = Object.entries(options).map(([name, ddl]) => {
    const type = at([name], () => parseType(ddl));
    refuseId("cast", name, input, [name]);
    fieldAt("cast", name, input, [name]);
    const bound = bindCast(name, type, input);
    const position = input.indexOf(name);
    fields[position] = fieldOf(name, bound);
    return { position, bound };
  });
  return { schema: new Schema(fields), casts };
}

function bindCast(name: string, type: DataType, input: Schema): CompiledExpression {
  const of = { kind: "column", name } as const;
  return at([name], () => bindExpression({ kind: "cast", of, type }, input));
}
