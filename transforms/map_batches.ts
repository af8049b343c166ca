/**
 * The `map_batches` transform: batches through a function of the user's.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, Schema } from "../engine/batch.ts";
import { loadFunction } from "../engine/expressions/compile.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { defineTransform, type Json, type TransformContext } from "../plugins/contract.ts";
import { importModule } from "../plugins/loader.ts";
import { at, schemaOption } from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.strictObject({
  module: v.pipe(
    v.string(),
    v.nonEmpty(),
    v.description("Module that has the function: a path, a URL or an npm package."),
  ),
  export: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty()), "default"),
    v.description("The function's name in the module."),
  ),
  schema: v.pipe(
    v.optional(schemaOption()),
    v.description(
      "Columns of the batches it returns, in DDL; `id` may be left out. Default: only the data can tell, " +
        "so the columns after it are not checked before the query starts.",
    ),
  ),
  options: v.pipe(
    v.optional(v.unknown() as v.GenericSchema<Json>),
    v.description("What the function finds in `options`; any JSON."),
  ),
});

/** Options of the `map_batches` transform, checked and complete. */
export type MapBatchesOptions = v.InferOutput<typeof options>;

/** What the function is given besides the batch. */
export interface MapBatchesContext extends TransformContext {
  /** The `options` of the transform; null when there are none. */
  readonly options: Json;
}

/** A function for `map_batches`. */
export type MapBatches = (batch: Batch, context: MapBatchesContext) => Batch | Promise<Batch>;

export default defineTransform<MapBatchesOptions>({
  kind: "transform",
  name: "map_batches",
  summary: "Hands batches to a function of yours, which returns other batches.",
  description: [
    "The function is called with `(batch, context)`; `context` has `Batch`, `Schema`, `options`, `logger`,",
    "`metrics`, `signal`, `partition` and `reply(id, reply)`, so the module needs no import. It may be",
    "asynchronous. It must keep the `id` of the rows it keeps.",
    "",
    "When it throws, the batch is split until the guilty rows are found; an error named `BatchError` with",
    "`rows` (a Map of positions to errors) saves the search.",
  ].join("\n"),
  options,
  examples: [
    {
      title: "A function that says what it returns",
      options: { module: "./score.ts", schema: "score double" },
    },
    {
      title: "One of several functions, with options",
      options: { module: "./features.ts", export: "scale", options: { factor: 0.5 } },
    },
  ],
  outputSchema: (options, input) => declared(options, input),
  create: async (options, context) => {
    const f = await loadFunction(
      options.module,
      options.export,
      importModule,
      context.baseUrl,
    ) as MapBatches;
    const declaredFor = perSchema(context.input, (schema) => declared(options, schema));
    const given: MapBatchesContext = { ...context, options: options.options ?? null };
    return {
      transform: (batch) => {
        const output = f(batch, given);
        const schema = declaredFor(batch.schema);
        return output instanceof Promise
          ? output.then((output) => inOrder(output, schema))
          : inOrder(output, schema);
      },
    };
  },
});

function declared({ schema }: MapBatchesOptions, input: Schema): Schema | undefined {
  if (schema === undefined) return undefined;
  const output = at(["schema"], () => parseSchema(schema));
  const id = input.find("id");
  return id === undefined || output.has("id") ? output : new Schema([id, ...output.fields]);
}

/** The batch with its columns in the declared order; one that has other columns as it is, for the engine to refuse. */
function inOrder(output: Batch, schema: Schema | undefined): Batch {
  if (!(output instanceof Batch) || schema === undefined || output.schema.equals(schema)) {
    return output;
  }
  const { names } = schema;
  return names.length === output.schema.fields.length &&
      names.every((name) => output.schema.has(name))
    ? output.select(names)
    : output;
}
