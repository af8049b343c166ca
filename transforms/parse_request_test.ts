import assert from "node:assert/strict";
import { Batch } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { REQUEST_SCHEMA } from "../engine/http/service.ts";
import type { Json } from "../plugins/contract.ts";
import { refusal, required, tryTransform } from "../tests/try_transform.ts";
import parseRequest from "./parse_request.ts";

const encode = (text: string) => new TextEncoder().encode(text);

const requests = (...bodies: string[]) =>
  Batch.fromRows(
    REQUEST_SCHEMA,
    bodies.map((value, at) => ({
      id: `r${at}`,
      value,
      request: { method: "POST", path: "/", query: "", headers: [], body: encode(value) },
      timestamp: at,
    })),
  );

const body = (reply: { body: unknown } | undefined) => JSON.parse(reply!.body as string);

Deno.test("bodies become columns, which replace all others but id", async () => {
  const { batch, replies, metrics } = await tryTransform(
    parseRequest,
    { schema: "a int, b struct<c: array<string>>" },
    requests('{"a": 1, "b": {"c": ["x"]}, "extra": 0}', '{"a": 2, "b": {"c": []}}'),
  );
  assert.equal(String(batch.schema), "id string, a int32, b struct<c: list<string>>");
  assert.deepEqual(batch.rows(), [
    { id: "r0", a: 1, b: { c: ["x"] } },
    { id: "r1", a: 2, b: { c: [] } },
  ]);
  assert.ok(batch.column("a") instanceof Int32Array);
  assert.equal(batch.schema.field("a").nullable, false);
  assert.equal(replies.size, 0);
  assert.deepEqual(metrics, {});
});

Deno.test("a body that does not fit gets 400 at once, and the rows beside it go on", async () => {
  const { batch, replies, metrics } = await tryTransform(
    parseRequest,
    { schema: "a int", keep: ["timestamp"] },
    requests("{}", '{"a": 1}', "no JSON", '{"a": null}', '{"a": 2}'),
  );
  assert.deepEqual(batch.rows(), [
    { id: "r1", timestamp: 1, a: 1 },
    { id: "r4", timestamp: 4, a: 2 },
  ]);
  assert.deepEqual([...replies.keys()], ["r0", "r2", "r3"]);
  assert.deepEqual(body(replies.get("r0")), {
    error: 'Cannot read field "a": wanted int32, given nothing',
  });
  assert.deepEqual(body(replies.get("r2")), {
    error: "Cannot read the body: wanted a JSON object, given text that is not JSON",
  });
  for (const reply of replies.values()) {
    assert.equal(reply.status, 400);
    assert.deepEqual(reply.headers, [["content-type", "application/json"]]);
  }
  assert.deepEqual(metrics, { refusedBodies: 3 });
});

Deno.test("a batch of which no body fits is empty, with the columns it should have", async () => {
  const { batch, replies } = await tryTransform(
    parseRequest,
    { schema: "a int" },
    requests("", "[]"),
  );
  assert.equal(String(batch.schema), "id string, a int32");
  assert.equal(batch.numRows, 0);
  assert.equal(replies.size, 2);
});

Deno.test("the check decides which bodies pass", async () => {
  const bodies = ['{"a": 1, "b": "x"}', '{"a": 1}', '{"b": "x"}', "[]", "?"];
  const schema = "a int not null, b string";
  const cases: [parsingCheck: string, passed: unknown[]][] = [
    ["full", [["r0", 1, "x"]]],
    ["partial", [["r0", 1, "x"], ["r1", 1, null]]],
    ["none", [["r0", 1, "x"], ["r1", 1, null], ["r2", null, "x"], ["r3", null, null], [
      "r4",
      null,
      null,
    ]]],
  ];
  for (const [parsingCheck, passed] of cases) {
    const { rows, replies } = await tryTransform(
      parseRequest,
      { schema, parsingCheck },
      requests(...bodies),
    );
    assert.deepEqual(rows.map(({ id, a, b }) => [id, a, b]), passed, parsingCheck);
    assert.equal(replies.size, bodies.length - passed.length);
  }
});

Deno.test("columns are kept by name, or all but those that the schema replaces", async () => {
  const input = requests('{"value": 1, "method": "x"}');
  const keep = async (keep: Json) =>
    String(
      (await tryTransform(parseRequest, { schema: "value int, method string", keep }, input)).batch
        .schema.names,
    );
  assert.equal(await keep(false), "id,value,method");
  assert.equal(await keep(["timestamp", "id"]), "id,timestamp,value,method");
  assert.equal(await keep(true), "id,request,timestamp,value,method");
});

Deno.test("bodies are read from text, bytes, or the body of a struct", async () => {
  const text = '{"a": "hé"}';
  const cases: [ddl: string, value: unknown, column?: string][] = [
    ["id string, value string", { value: text }],
    ["id string, value binary", { value: encode(text) }],
    ["id string, request struct<body: binary>", { request: { body: encode(text) } }, "request"],
    ["id string, request struct<body: string>", { request: { body: text } }, "request"],
    ["id string, event string, value string", { event: text, value: "?" }, "event"],
    ["id string, value string, request struct<body: binary>", {
      value: "?",
      request: { body: encode(text) },
    }, "request"],
  ];
  for (const [ddl, value, column] of cases) {
    const input = Batch.fromRows(parseSchema(ddl), [{ id: "r", ...(value as object) }]);
    const options = { schema: "a string", ...(column === undefined ? {} : { column }) };
    assert.deepEqual((await tryTransform(parseRequest, options, input)).rows, [{
      id: "r",
      a: "hé",
    }]);
  }
});

Deno.test("bytes that are no text, and bodies that are not there, get 400", async () => {
  const input = Batch.fromRows(parseSchema("id string, request struct<body: binary>"), [
    { id: "r0", request: { body: Uint8Array.of(0x22, 0xff, 0x22) } },
    { id: "r1", request: { body: null } },
    { id: "r2", request: null },
  ]);
  const options = { schema: "a string", column: "request" };
  const { batch, replies } = await tryTransform(parseRequest, options, input);
  assert.equal(batch.numRows, 0);
  assert.match(body(replies.get("r0")).error, /bytes that are not UTF-8/);
  assert.match(body(replies.get("r1")).error, /given nothing/);
  assert.match(body(replies.get("r2")).error, /given nothing/);
});

Deno.test("a schema of binary gives the bytes as they are", async () => {
  const { batch, replies } = await tryTransform(
    parseRequest,
    { schema: "binary" },
    requests("no JSON", ""),
  );
  assert.equal(String(batch.schema), "id string, bytes binary");
  assert.deepEqual(batch.column("bytes"), [encode("no JSON"), encode("")]);
  assert.equal(replies.size, 0);
  const missing = Batch.fromRows(parseSchema("id string, value binary"), [
    { id: "r0", value: null },
    { id: "r1", value: Uint8Array.of(255) },
  ]);
  const options = { schema: "binary", column: "value" };
  const full = await tryTransform(parseRequest, options, missing);
  assert.deepEqual(full.rows, [{ id: "r1", bytes: Uint8Array.of(255) }]);
  assert.equal(full.replies.get("r0")?.status, 400);
  const none = await tryTransform(
    parseRequest,
    { ...options, parsingCheck: "none" },
    missing,
  );
  assert.deepEqual(none.rows.map(({ bytes }) => bytes), [null, Uint8Array.of(255)]);
});

Deno.test("without ids there is nobody to answer, so the rows fail", async () => {
  const input = requests("{}", '{"a": 1}', "?").select(["value"]);
  await assert.rejects(
    () => tryTransform(parseRequest, { schema: "a int" }, input),
    (error: { name: string; rows: Map<number, { name: string; status: number }> }) => {
      assert.equal(error.name, "BatchError");
      assert.deepEqual([...error.rows.keys()], [0, 2]);
      assert.equal(error.rows.get(0)!.name, "RowError");
      assert.equal(error.rows.get(0)!.status, 400);
      return true;
    },
  );
  const { rows } = await tryTransform(parseRequest, { schema: "a int" }, input.slice(1, 2));
  assert.deepEqual(rows, [{ a: 1 }]);
});

Deno.test("what does not fit is refused, and the path leads to it", async () => {
  const text = parseSchema("id string, value string");
  const cases: [options: Json, input: typeof text, error: RegExp][] = [
    [{ schema: "a int, id string" }, text, /^schema: Cannot make column "id" from the body/],
    [{ schema: "a integre" }, text, /^schema: .*wanted columns and their types/],
    [{ schema: "a int, a int" }, text, /^schema: .*"a" twice/],
    [{ schema: "`__proto__` int" }, text, /^schema: Cannot read a field named "__proto__"/],
    [{ schema: "" }, text, /^schema: .*it is empty/],
    [{}, text, /^schema: Missing option "schema"/],
    [
      { schema: "a int", parsingCheck: "strict" },
      text,
      /^parsingCheck: .*"none" or "partial" or "full"/,
    ],
    [{ schema: "a int", keep: ["a", "valeu"] }, text, /^keep.0: Cannot keep column "a"/],
    [{ schema: "a int", keep: ["valeu"] }, text, /^keep.0: .*no such column; did you mean "value"/],
    [
      { schema: "value int", keep: ["value"] },
      text,
      /^keep.0: Cannot keep column "value": the schema/,
    ],
    [
      { schema: "a int", column: "body" },
      text,
      /^column: Cannot parse column "body": no such column/,
    ],
    [
      { schema: "binary", column: "value" },
      text,
      /^column: Cannot take bytes .* "value": it is text/,
    ],
    [{ schema: "binary" }, text, /^: Cannot parse column "request": no such column/],
    [
      { schema: "a int" },
      parseSchema("id string, x int"),
      /^: Cannot parse column "value": no such column/,
    ],
    [
      { schema: "a int" },
      parseSchema("id string, value int"),
      /^column: .*it is int32, wanted string/,
    ],
    [
      { schema: "a int", column: "request" },
      parseSchema("id string, request struct<path: string>"),
      /^column: Cannot parse column "request": it is struct<path: string>/,
    ],
    [{ schema: "a int" }, parseSchema("id int, value string"), /^: .*column "id" is int32/],
  ];
  for (const [options, input, error] of cases) {
    assert.match(await refusal(parseRequest, options, input), error);
  }
});

Deno.test("it requires the bodies and what is kept", () => {
  const schema = "a int, b int";
  assert.deepEqual(required(parseRequest, { schema }, ["a", "x"]), ["id", "value"]);
  assert.deepEqual(required(parseRequest, { schema }, "all"), ["id", "value"]);
  assert.deepEqual(required(parseRequest, { schema: "binary" }, "all"), ["id", "request"]);
  assert.deepEqual(required(parseRequest, { schema, column: "event" }, []), ["event", "id"]);
  assert.deepEqual(required(parseRequest, { schema, keep: ["x"] }, []), ["id", "value", "x"]);
  assert.deepEqual(required(parseRequest, { schema, keep: true }, ["a", "x"]), [
    "id",
    "value",
    "x",
  ]);
  assert.equal(required(parseRequest, { schema, keep: true }, "all"), "all");
});
