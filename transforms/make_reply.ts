/**
 * The `make_reply` transform: a column as the response to each request.
 *
 * @module
 */
import * as v from "valibot";
import type { Batch, ColumnData, DataType, Field, Schema } from "../engine/batch.ts";
import type { CompiledExpression, Udfs } from "../engine/expressions/compile.ts";
import { outputName } from "../engine/expressions/expression.ts";
import { parseExpression } from "../engine/expressions/parser.ts";
import { defineTransform } from "../plugins/contract.ts";
import { columnsBefore, putColumn, refuseId } from "./columns.ts";
import {
  bindOption,
  columnsRead,
  expressionOption,
  loadOptionUdfs,
  nameOption,
} from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";
import {
  bindStatus,
  headersOf,
  refuseResponse,
  responseEntries,
  responseType,
} from "./response_options.ts";

const options = v.strictObject({
  col: v.pipe(
    expressionOption(),
    v.description("Column, or SQL expression, that makes the body of each reply."),
  ),
  name: v.pipe(v.optional(nameOption(), "reply"), v.description("Column to make.")),
  ...responseEntries,
  wrapScalars: v.pipe(
    v.optional(v.boolean(), false),
    v.description(
      "Whether a number, a boolean, a timestamp or a list of such is sent as a JSON object, with the " +
        "column's name for its key.",
    ),
  ),
});

/** Options of the `make_reply` transform, checked and complete. */
export type MakeReplyOptions = v.InferOutput<typeof options>;

export default defineTransform<MakeReplyOptions>({
  kind: "transform",
  name: "make_reply",
  summary: "Makes the reply column from another column.",
  description: [
    "The type decides the body: a string is sent as text, binary as bytes, all others as JSON. A scalar is",
    'bare JSON, `279186`, or an object with `wrapScalars`, `{"length":279186}`.',
    "",
    "A null value is 204 without a body, or the status that is given with an empty body. With",
    "`wrapScalars` it is an object with a null.",
    "",
    "A struct of `statusCode`, `entity` and maybe `headers` is a response of its own; it needs no",
    "`make_reply`.",
  ].join("\n"),
  options,
  examples: [
    { title: "A column as it is", options: { col: "prediction" } },
    {
      title: "Status and headers",
      options: {
        col: "body",
        statusCode: "case when length(body) > 0 then 200 else 422 end",
        headers: { "cache-control": "no-store" },
        contentType: "application/json",
      },
    },
  ],
  outputSchema: (options, input) => prepare(options, input).schema,
  requires: ({ col, name, statusCode }, needed) =>
    columnsBefore(needed, {
      made: [name],
      read: columnsRead(statusCode === undefined ? [col] : [col, statusCode])!,
    }),
  create: async (options, { input, baseUrl }) => {
    const { name } = options;
    const udfs = await loadOptionUdfs(
      [[["col"], options.col], [["statusCode"], options.statusCode]],
      baseUrl,
    );
    const makerFor = perSchema(input, (schema) => prepare(options, schema, udfs));
    return {
      transform: (batch) => {
        const { schema, make } = makerFor(batch.schema);
        return putColumn(batch, name, make(batch, Date.now()), schema);
      },
    };
  },
});

interface Maker {
  readonly schema: Schema;
  make(batch: Batch, now: number): ColumnData;
}

function prepare(options: MakeReplyOptions, input: Schema, udfs?: Udfs): Maker {
  const { col, name, wrapScalars } = options;
  refuseId("replace", name, input, ["name"]);
  const bound = bindOption(col, ["col"], input, udfs);
  const status = bindStatus(options, input, udfs);
  const headers = headersOf(options);
  const body = wrapScalars && isWrapped(bound.type)
    ? wrap(outputName(parseExpression(String(col))), bound)
    : { type: bound.type, nullable: bound.nullable, evaluate: bound.evaluate };
  if (status === undefined && headers === null) {
    return { schema: input.with(fieldFor(name, body)), make: body.evaluate };
  }
  refuseResponse(String(col), bound, ["col"]);
  const type = responseType(body.type);
  return {
    schema: input.with({ name, type, nullable: false }),
    make: (batch, now) => {
      const entities = body.evaluate(batch, now);
      const statuses = status?.evaluate(batch, now);
      const replies: unknown[] = new Array(batch.numRows);
      for (let row = 0; row < replies.length; row++) {
        const entity = entities[row];
        const given = statuses === undefined ? entity === null ? 204 : 200 : statuses[row];
        const statusCode = typeof given === "bigint" ? Number(given) : given;
        replies[row] = { statusCode, headers, entity };
      }
      return replies;
    },
  };
}

type Body = Pick<CompiledExpression, "type" | "nullable" | "evaluate">;

/** Spark's rule: what is neither text, bytes, a struct nor a list of structs goes into an object. */
function isWrapped(type: DataType): boolean {
  if (typeof type === "string") return type !== "string" && type !== "binary";
  if ("struct" in type) return false;
  return !("list" in type && typeof type.list !== "string" && "struct" in type.list);
}

/** Each value as a struct of one field. */
function wrap(key: string, { type, evaluate }: CompiledExpression): Body {
  return {
    type: { struct: [{ name: key, type }] },
    nullable: false,
    evaluate: (batch, now) => Array.from(evaluate(batch, now), (value) => ({ [key]: value })),
  };
}

function fieldFor(name: string, { type, nullable }: Body): Field {
  return { name, type, ...(nullable ? {} : { nullable: false }) };
}
