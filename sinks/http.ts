/**
 * The `http` sink: the reply column goes back to the callers, by the `id` of each row. A reply is sent
 * at most once; one whose caller has left or timed out is dropped.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, Schema } from "../engine/batch.ts";
import { JSON_HEADERS, replyEncoder } from "../engine/http/encode_reply.ts";
import { perSchema } from "../engine/per_schema.ts";
import { type Answer, defineSink, type Reply } from "../plugins/contract.ts";
import { BatchError, PlanError } from "../plugins/errors.ts";

const options = v.strictObject({
  name: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty())),
    v.description("The service to answer, as the source names it. Default: that of this query."),
  ),
  replyCol: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty()), "reply"),
    v.description("Column that holds the replies."),
  ),
  idCol: v.pipe(
    v.optional(v.literal("id"), "id"),
    v.description("Column that holds the origins; `id` always."),
  ),
});

/** Options of the `http` sink, checked and complete. */
export type HttpSinkOptions = v.InferOutput<typeof options>;

export default defineSink<HttpSinkOptions>({
  kind: "sink",
  name: "http",
  aliases: [
    "server",
    "distributed_http",
    "distributedServer",
    "org.apache.spark.sql.execution.streaming.HTTPSinkProvider",
    "org.apache.spark.sql.execution.streaming.DistributedHTTPSinkProvider",
    "org.apache.spark.sql.execution.streaming.continuous.HTTPSinkProviderV2",
  ],
  summary: "Sends the reply column back to the callers.",
  description: [
    "The column's type decides the reply: string → text/plain; number, boolean, struct, list →",
    "application/json; binary → application/octet-stream; a struct of `statusCode`, `headers` and",
    "`entity` (see `make_reply`) → that response; null → 204.",
    "",
    "At most one reply a request: where rows repeat an id, the first one answers.",
  ].join("\n"),
  options,
  examples: [{ title: "Answer with a column", options: { replyCol: "newCol" } }],
  placement: "head",
  perPartition: true,
  requires: ({ replyCol }) => new Set(["id", replyCol]),
  check: ({ replyCol }, input) => {
    if (input === undefined) return;
    for (const name of ["id", replyCol]) {
      if (input.has(name)) continue;
      const why = name === "id"
        ? "its source has no requests to answer"
        : `there are ${input.names.map((n) => `"${n}"`).join(", ")}`;
      throw new PlanError(`Cannot reply with column "${name}": no such column; ${why}`, {
        path: name === "id" ? [] : ["replyCol"],
      });
    }
  },
  prepare: ({ replyCol }, { input }) => {
    const encoderOf = perSchema(input, (schema) => replyEncoder(schema.field(replyCol).type));
    return { transform: (batch) => encode(batch, replyCol, encoderOf(batch.schema)) };
  },
  create: ({ name }, { replies }) => {
    const answer = replies.claim(name);
    return { addBatch: (_batchId, batch) => send(batch, answer) };
  },
});

const ID = { name: "id", type: "string" } as const;
const TEXT = { name: "text", type: "string" } as const;
const PLAIN = new Schema([ID, TEXT]);
const JSON_TEXT = new Schema([ID, { name: "json", type: "string" }]);
const WHOLE = new Schema([
  ID,
  TEXT,
  { name: "bytes", type: "binary" },
  { name: "status", type: "int32" },
  { name: "headers", type: { list: { list: "string" } } },
]);

/**
 * Replies as columns, made in the partitions: `id` and `text` when all are plain text with status 200,
 * `id` and `json` when all are JSON with status 200, else `id`, `text`, `bytes`, `status` and `headers`.
 * @throws {BatchError} naming the rows whose reply is not one
 */
function encode(batch: Batch, replyCol: string, encodeOne: (value: unknown) => Reply): Batch {
  const { numRows } = batch;
  const ids = batch.column("id");
  const values = batch.column(replyCol);
  const replies: Reply[] = new Array(numRows);
  const wrong = new Map<number, Error>();
  let plain = true, json = true;
  for (let row = 0; row < numRows; row++) {
    try {
      const reply = replies[row] = encodeOne(values[row]);
      const { headers } = reply;
      const text = reply.status === 200 && typeof reply.body === "string";
      plain &&= text && headers === undefined;
      json &&= text && headers === JSON_HEADERS;
    } catch (error) {
      wrong.set(row, error instanceof Error ? error : new Error(String(error)));
    }
  }
  if (wrong.size > 0) throw new BatchError(wrong);
  if (plain || json) {
    return new Batch(plain ? PLAIN : JSON_TEXT, [ids, replies.map(({ body }) => body)], numRows);
  }
  return new Batch(WHOLE, [
    ids,
    replies.map(({ body }) => typeof body === "string" ? body : null),
    replies.map(({ body }) => typeof body === "string" ? null : body),
    Int32Array.from(replies, ({ status }) => status),
    replies.map(({ headers }) => headers ?? null),
  ], numRows);
}

/** Sends what {@linkcode encode} made. */
function send(batch: Batch, answer: Answer): void {
  const ids = batch.column("id") as string[];
  const second = batch.columnAt(1) as (string | null)[];
  if (!batch.schema.has("status")) {
    const headers = batch.schema.has("json") ? { headers: JSON_HEADERS } : {};
    for (let row = 0; row < ids.length; row++) {
      answer(ids[row]!, { status: 200, body: second[row]!, ...headers });
    }
    return;
  }
  const bytes = batch.column("bytes") as (Uint8Array | null)[];
  const status = batch.column("status") as Int32Array;
  const headers = batch.column("headers") as (Reply["headers"] | null)[];
  for (let row = 0; row < ids.length; row++) {
    const body = second[row] ?? bytes[row] ?? null;
    const names = headers[row];
    answer(ids[row]!, { status: status[row]!, body, ...(names ? { headers: names } : {}) });
  }
}
