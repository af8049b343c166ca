import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import type { Json } from "../plugins/contract.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import sendReply from "./send_reply.ts";

const schema = parseSchema("id string, n int, s string, r struct<statusCode: int, entity: string>");
const input = Batch.fromRows(schema, [
  { id: "r0", n: 1, s: "one" },
  { id: "r1", n: null, s: "none" },
  { id: "r2", n: -2, s: null },
  { id: "r3", n: 3, s: "three" },
]);

Deno.test("rows for which the condition is true are answered, and leave the batch", async () => {
  const { batch, replies } = await tryTransform(
    sendReply,
    {
      when: "n > 0",
      statusCode: 422,
      entity: "concat(s, ' is too much')",
      contentType: "text/css",
    },
    input,
  );
  assert.deepEqual([...batch.column("id")], ["r1", "r2"]);
  const headers = [["content-type", "text/css"]];
  assert.deepEqual([...replies], [
    ["r0", { status: 422, headers, body: "one is too much" }],
    ["r3", { status: 422, headers, body: "three is too much" }],
  ]);
});

Deno.test("the body is by its type, the status 200 when nothing is said", async () => {
  const cases: [options: Json, reply: unknown][] = [
    [{ entity: "n" }, {
      status: 200,
      headers: [["content-type", "application/json"]],
      body: "1",
    }],
    [{ entity: "struct(s as name)", headers: { "x-a": "b" } }, {
      status: 200,
      headers: [["content-type", "application/json"], ["x-a", "b"]],
      body: '{"name":"one"}',
    }],
    [{}, { status: 200, body: null }],
    [{ statusCode: "400 + n" }, { status: 401, body: null }],
    [{ statusCode: 204, headers: { a: "b" } }, { status: 204, headers: [["a", "b"]], body: null }],
  ];
  for (const [options, reply] of cases) {
    const { replies } = await tryTransform(
      sendReply,
      { when: "n = 1", ...options as { [key: string]: Json } },
      input,
    );
    assert.deepEqual([...replies], [["r0", reply]]);
  }
});

Deno.test("a batch of which no row is answered is passed on as it is", async () => {
  const { batch, replies } = await tryTransform(sendReply, { when: "n > 9" }, input);
  assert.equal(batch, input);
  assert.equal(replies.size, 0);
});

Deno.test("a reply that cannot be made fails its own row, and no reply is sent before that", async () => {
  const module = "data:text/javascript," + encodeURIComponent(
    'export default (s) => { if (s === "three") throw new Error("no three"); return s; }',
  );
  const cases: [options: { [key: string]: Json }, message: RegExp][] = [
    [{ statusCode: "case when n = 3 then 999 else 400 end" }, /Cannot reply with status 999/],
    [{ entity: `udf('${module}', 'default', 'string', s)` }, /no three/],
  ];
  for (const [options, message] of cases) {
    const replies: string[] = [];
    await assert.rejects(
      () =>
        tryTransform(sendReply, { when: "n > 0", ...options }, input, {
          reply: (id) => replies.push(id),
        }),
      (error: { name: string; rows: Map<number, Error> }) => {
        assert.equal(error.name, "BatchError");
        assert.deepEqual([...error.rows.keys()], [3]);
        assert.match(error.rows.get(3)!.message, message);
        return true;
      },
    );
    assert.deepEqual(replies, []);
  }
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const noRequests = schema.without(["id"]);
  const cases: [options: Json, input: typeof schema, error: RegExp][] = [
    [{ when: "n" }, schema, /^when: Cannot use "n" as a condition: it is int32, wanted boolean/],
    [{ when: "m > 0" }, schema, /^when: .*no column "m"/],
    [{ when: "true", entity: "bad request" }, schema, /^entity: .*wanted a SQL expression/],
    [{ when: "true", entity: "r" }, schema, /^entity: Cannot give "r" a status or headers/],
    [{ when: "true", statusCode: "s" }, schema, /^statusCode: .*wanted int32/],
    [{ when: "true", headers: { "": "a" } }, schema, /^headers.: Cannot reply with header name ""/],
    [{ when: "true" }, noRequests, /^: Cannot reply: there is no column "id"/],
    [{}, schema, /^when: Missing option "when"/],
  ];
  for (const [options, input, error] of cases) {
    assert.match(await refusal(sendReply, options, input), error);
  }
});

Deno.test("it requires what it reads besides what is needed", () => {
  assert.deepEqual(
    required(sendReply, { when: "a > 0", entity: "b", statusCode: "c" }, ["x"]),
    ["a", "b", "c", "id", "x"],
  );
  assert.deepEqual(required(sendReply, { when: "true", statusCode: 400 }, []), ["id"]);
  assert.equal(required(sendReply, { when: "true" }, "all"), "all");
});
