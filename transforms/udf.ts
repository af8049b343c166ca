/**
 * The `udf` transform: a column from a function of the user's, called for each row.
 *
 * @module
 */
import * as v from "valibot";
import type { Schema } from "../engine/batch.ts";
import {
  callRows,
  type CompiledExpression,
  loadFunction,
  type Udfs,
} from "../engine/expressions/compile.ts";
import { parseType } from "../engine/expressions/parser.ts";
import { defineTransform } from "../plugins/contract.ts";
import { importModule } from "../plugins/loader.ts";
import { columnsBefore, putColumn, refuseId } from "./columns.ts";
import {
  at,
  bindOption,
  columnsRead,
  expressionOption,
  loadOptionUdfs,
  nameOption,
  typeOption,
} from "./option_expression.ts";
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
  args: v.pipe(
    v.optional(v.array(expressionOption(), "a list of columns and expressions"), []),
    v.description(
      "Columns, or SQL expressions, whose values the function is given, in this order.",
    ),
  ),
  as: v.pipe(nameOption(), v.description("Column to make.")),
  returns: v.pipe(typeOption(), v.description("Type of the results, in DDL.")),
});

/** Options of the `udf` transform, checked and complete. */
export type UdfOptions = v.InferOutput<typeof options>;

export default defineTransform<UdfOptions>({
  kind: "transform",
  name: "udf",
  summary: "Makes a column by calling a function of yours for each row.",
  description: [
    "The function is given nulls too, and may return null. What else it returns must be of the type in",
    "`returns`: int64 is a bigint, timestamp is milliseconds since 1970, binary is a Uint8Array.",
    "",
    "Where it throws, that row alone fails, and its caller gets the error. It must return at once: for",
    "asynchronous work, and for work that is cheaper for many rows together, see `map_batches`.",
  ].join("\n"),
  options,
  examples: [
    {
      title: "A function of one column",
      options: {
        module: "./text.ts",
        export: "countVowels",
        args: ["value"],
        as: "vowels",
        returns: "int",
      },
    },
    {
      title: "The default export, of two values",
      options: {
        module: "./price.ts",
        args: ["amount", "coalesce(rate, 1.0)"],
        as: "price",
        returns: "double",
      },
    },
  ],
  outputSchema: (options, input) => prepare(options, input).schema,
  requires: ({ args, as }, needed) =>
    columnsBefore(needed, { made: [as], read: columnsRead(args)! }),
  create: async (options, { input, baseUrl }) => {
    const { module, as, args } = options;
    const f = synchronous(await loadFunction(module, options.export, importModule, baseUrl));
    const udfs = await loadOptionUdfs(args.map((sql, at) => [["args", at], sql]), baseUrl);
    const type = parseType(options.returns);
    const callFor = perSchema(input, (schema) => prepare(options, schema, udfs));
    return {
      transform: (batch) => {
        const now = Date.now();
        const { schema, values } = callFor(batch.schema);
        const columns = values.map((bound) => bound.evaluate(batch, now));
        return putColumn(batch, as, callRows(f, type, columns, batch.numRows), schema);
      },
    };
  },
});

interface Call {
  readonly schema: Schema;
  readonly values: readonly CompiledExpression[];
}

function prepare({ args, as, returns }: UdfOptions, input: Schema, udfs?: Udfs): Call {
  refuseId("replace", as, input, ["as"]);
  const type = at(["returns"], () => parseType(returns));
  const values = args.map((sql, at) => bindOption(sql, ["args", at], input, udfs));
  return { schema: input.with({ name: as, type }), values };
}

/** The function, throwing where it returns a promise. */
function synchronous(f: (...values: unknown[]) => unknown): (...values: unknown[]) => unknown {
  return (...values) => {
    const result = f(...values);
    if (!(result instanceof Promise)) return result;
    // Nobody waits for it, so a failure of its own must not end the worker.
    result.catch(() => {});
    throw new TypeError("The function returned a promise: use map_batches for asynchronous work");
  };
}
