/**
 * The `send_reply` transform: replies from the middle of a pipeline.
 *
 * @module
 */
import * as v from "valibot";
import type { Batch, ColumnData, Schema } from "../engine/batch.ts";
import type { CompiledExpression, Udfs } from "../engine/expressions/compile.ts";
import { replyEncoder } from "../engine/http/encode_reply.ts";
import { defineTransform, type Reply, type TransformContext } from "../plugins/contract.ts";
import { BatchError, PlanError } from "../plugins/errors.ts";
import { columnsBefore } from "./columns.ts";
import {
  bindCondition,
  bindOption,
  columnsRead,
  expressionOption,
  loadOptionUdfs,
  type Sql,
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
  when: v.pipe(
    expressionOption(),
    v.description("SQL condition; rows for which it is true are answered."),
  ),
  entity: v.pipe(
    v.optional(expressionOption()),
    v.description("SQL expression that makes the body; text stands in quotes. Default: no body."),
  ),
  ...responseEntries,
});

/** Options of the `send_reply` transform, checked. */
export type SendReplyOptions = v.InferOutput<typeof options>;

export default defineTransform<SendReplyOptions>({
  kind: "transform",
  name: "send_reply",
  summary: "Answers the rows for which a condition is true at once; they leave the pipeline.",
  description: [
    "Callers need not wait for the rest of the pipeline, and the transforms after this one do not see",
    "their rows. The body is made as `make_reply` does; the status is 200 unless `statusCode` says",
    "otherwise.",
  ].join("\n"),
  options,
  examples: [
    {
      title: "Refuse a body that is too long for the model",
      options: {
        when: "length(value) > 1000",
        statusCode: 422,
        entity: "'At most 1000 characters'",
      },
    },
    {
      title: "Answer in JSON",
      options: { when: "value = 'ping'", entity: "struct('pong' as answer, timestamp)" },
    },
  ],
  outputSchema: (options, input) => {
    prepare(options, input);
    return input;
  },
  requires: (options, needed) =>
    columnsBefore(needed, { read: columnsRead(expressionsOf(options))! }),
  create: async (options, context) => {
    const { when, entity, statusCode } = options;
    const udfs = await loadOptionUdfs(
      [[["when"], when], [["entity"], entity], [["statusCode"], statusCode]],
      context.baseUrl,
    );
    const replierFor = perSchema(context.input, (schema) => prepare(options, schema, udfs));
    return { transform: (batch) => answer(batch, replierFor(batch.schema), context) };
  },
});

interface Replier {
  readonly when: CompiledExpression;
  readonly replies: (answered: Batch, now: number) => Reply[];
}

function expressionsOf({ when, entity, statusCode }: SendReplyOptions): Sql[] {
  return [when, entity, statusCode].filter((sql) => sql !== undefined);
}

function prepare(options: SendReplyOptions, input: Schema, udfs?: Udfs): Replier {
  if (!input.has("id")) {
    throw new PlanError('Cannot reply: there is no column "id", so no requests wait for replies');
  }
  const when = bindCondition(options.when, ["when"], input, udfs);
  const entity = options.entity === undefined
    ? undefined
    : bindOption(options.entity, ["entity"], input, udfs);
  if (entity !== undefined) refuseResponse(String(options.entity), entity, ["entity"]);
  const status = bindStatus(options, input, udfs);
  const headers = headersOf(options);
  const encode = replyEncoder(responseType(entity?.type ?? "string"));
  return {
    when,
    replies: (answered, now) => {
      const entities = entity?.evaluate(answered, now);
      const statuses = status?.evaluate(answered, now);
      return mapRows(answered.numRows, (row) =>
        encode({
          statusCode: statuses === undefined ? 200 : statuses[row],
          headers,
          entity: entities === undefined ? null : entities[row],
        }));
    },
  };
}

function answer(batch: Batch, { when, replies }: Replier, { reply }: TransformContext): Batch {
  const now = Date.now();
  const mask = when.evaluate(batch, now);
  const rows = rowsWhere(mask);
  if (rows.length === 0) return batch;
  const answered = batch.take(rows);
  let made: Reply[];
  try {
    made = replies(answered, now);
  } catch (error) {
    throw renumbered(error, rows);
  }
  // None is sent before all are made: after an error the batch comes again without the guilty rows.
  const ids = answered.column("id");
  for (const [at, one] of made.entries()) reply(ids[at] as string, one);
  return batch.filter(Array.from(mask, (value) => value !== true));
}

function rowsWhere(mask: ColumnData): number[] {
  const rows: number[] = [];
  for (let row = 0; row < mask.length; row++) if (mask[row] === true) rows.push(row);
  return rows;
}

/** @throws {BatchError} naming the rows for which the function threw */
function mapRows<T>(numRows: number, f: (row: number) => T): T[] {
  const results: T[] = [];
  const wrong = new Map<number, Error>();
  for (let row = 0; row < numRows; row++) {
    try {
      results.push(f(row));
    } catch (error) {
      wrong.set(row, error as Error);
    }
  }
  if (wrong.size > 0) throw new BatchError(wrong);
  return results;
}

/** An error about some of the rows, as one about the batch they come from. */
function renumbered(error: unknown, rows: readonly number[]): unknown {
  return error instanceof BatchError
    ? new BatchError(new Map(Array.from(error.rows, ([at, cause]) => [rows[at]!, cause])))
    : error;
}
