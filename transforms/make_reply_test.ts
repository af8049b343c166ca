import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { replyEncoder } from "../engine/http/encode_reply.ts";
import type { Json, Reply } from "../plugins/contract.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import makeReply from "./make_reply.ts";

const schema = parseSchema(
  "id string, s string, n int, t timestamp, b binary, p struct<a: int>, l array<int>, " +
    "ps array<struct<a: int>>, code bigint, r struct<statusCode: int, entity: string>",
);
const input = Batch.fromRows(schema, [
  {
    id: "r0",
    s: "text",
    n: 5,
    t: 0,
    b: Uint8Array.of(1),
    p: { a: 1 },
    l: [1, 2],
    ps: [{ a: 1 }],
    code: 201n,
    r: { statusCode: 418, entity: "teapot" },
  },
  { id: "r1", code: 404n },
]);

/** The replies that the sink will send for both rows. */
async function sent(options: Json): Promise<Reply[]> {
  const { batch } = await tryTransform(makeReply, options, input);
  const encode = replyEncoder(batch.schema.field("reply").type);
  return Array.from(batch.column("reply"), encode);
}

const JSON_TYPE = [["content-type", "application/json"]];

Deno.test("without a status or headers the column itself is the reply", async () => {
  const { batch } = await tryTransform(makeReply, { col: "s", name: "answer" }, input);
  assert.equal(batch.column("answer"), input.column("s"));
  assert.deepEqual(batch.schema.names, [...schema.names, "answer"]);
  assert.deepEqual(await sent({ col: "n" }), [
    { status: 200, headers: JSON_TYPE, body: "5" },
    { status: 204, body: null },
  ]);
  assert.deepEqual((await sent({ col: "r" }))[0], { status: 418, body: "teapot" });
});

Deno.test("with wrapScalars, what is no text, bytes, struct or list of structs is an object", async () => {
  const cases: [col: string, body: unknown, other: unknown][] = [
    ["n", '{"n":5}', '{"n":null}'],
    ["n as count", '{"count":5}', '{"count":null}'],
    ["t", '{"t":"1970-01-01T00:00:00.000Z"}', '{"t":null}'],
    ["l", '{"l":[1,2]}', '{"l":null}'],
    ["s", "text", null],
    ["b", Uint8Array.of(1), null],
    ["p", '{"a":1}', null],
    ["ps", '[{"a":1}]', null],
  ];
  for (const [col, ...bodies] of cases) {
    const replies = await sent({ col, wrapScalars: true });
    assert.deepEqual(replies.map(({ body }) => body), bodies, col);
    assert.deepEqual(replies.map(({ status }) => status), [200, bodies[1] === null ? 204 : 200]);
  }
});

Deno.test("a status is a number or an expression, for every type of body", async () => {
  const cases: [col: string, headers: unknown, body: unknown][] = [
    ["s", undefined, "text"],
    ["b", [["content-type", "application/octet-stream"]], Uint8Array.of(1)],
    ["p", JSON_TYPE, '{"a":1}'],
    ["n", JSON_TYPE, "5"],
  ];
  for (const [col, headers, body] of cases) {
    const [reply, other] = await sent({ col, statusCode: "code" });
    assert.deepEqual(reply, { status: 201, body, ...(headers ? { headers } : {}) });
    assert.deepEqual(other, { status: 404, body: null });
    assert.deepEqual((await sent({ col, statusCode: 202 })).map(({ status }) => status), [
      202,
      202,
    ]);
  }
});

Deno.test("headers are sent, and contentType wins over that of the body's type", async () => {
  const [reply, other] = await sent({
    col: "n",
    headers: { "x-one": "1" },
    contentType: "text/plain; charset=UTF-8",
  });
  const headers = [["x-one", "1"], ["content-type", "text/plain; charset=UTF-8"]];
  assert.deepEqual(reply, { status: 200, body: "5", headers });
  assert.deepEqual(other, { status: 204, body: null, headers });
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const cases: [options: Json, error: RegExp][] = [
    [{ col: "x" }, /^col: .*no column "x"/],
    [{}, /^col: Missing option "col"/],
    [{ col: "n", name: "id" }, /^name: Cannot replace column "id"/],
    [{ col: "r", statusCode: 200 }, /^col: Cannot give "r" a status or headers: it is a response/],
    [{ col: "n", statusCode: 99 }, /^statusCode: .*wanted at least 200/],
    [{ col: "n", statusCode: true }, /^statusCode: .*wanted a status from 200 to 599, or a SQL/],
    [
      { col: "n", statusCode: "s" },
      /^statusCode: Cannot reply with status "s": it is string, wanted int32/,
    ],
    [{ col: "n", headers: { "a b": "c" } }, /^headers.a b: Cannot reply with header name "a b"/],
    [
      { col: "n", headers: { a: "b\r\nc: d" } },
      /^headers.a: Cannot reply with header "a" with value/,
    ],
    [
      { col: "n", headers: { "Content-Length": "1" } },
      /^headers.Content-Length: .*the server sets it/,
    ],
    [{ col: "n", headers: { a: "1", A: "2" } }, /^headers.A: Cannot reply with header "A" twice/],
    [
      { col: "n", headers: { "Content-Type": "a/b" }, contentType: "c/d" },
      /^contentType: Cannot reply with header "content-type" twice/,
    ],
    [{ col: "n", contentType: "a\nb" }, /^contentType: Cannot reply with header/],
  ];
  for (const [options, error] of cases) {
    assert.match(await refusal(makeReply, options, schema), error);
  }
});

Deno.test("it requires what it reads, and what is needed besides the reply", () => {
  assert.deepEqual(required(makeReply, { col: "n + m" }, ["reply", "x"]), ["id", "m", "n", "x"]);
  assert.deepEqual(
    required(makeReply, { col: "n", name: "n", statusCode: "code" }, ["n"]),
    ["code", "id", "n"],
  );
  assert.deepEqual(required(makeReply, { col: "n", statusCode: 201 }, []), ["id", "n"]);
  assert.equal(required(makeReply, { col: "n" }, "all"), "all");
});
