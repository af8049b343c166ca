import assert from "node:assert/strict";
import fc from "fast-check";
import { PlanError, RowError } from "../../plugins/errors.ts";
import type { DataType } from "../batch.ts";
import { HEADERS_TYPE, jsonWriter, replyEncoder } from "./encode_reply.ts";

const JSON_TYPE = [["content-type", "application/json"]];

function response(entity: DataType): DataType {
  return {
    struct: [
      { name: "statusCode", type: "int32" },
      { name: "headers", type: HEADERS_TYPE },
      { name: "entity", type: entity },
    ],
  };
}

const POINT: DataType = {
  struct: [{ name: "x", type: "int64" }, { name: "name", type: "string" }],
};

Deno.test("replyEncoder() chooses the reply by the column's type", () => {
  const bytes = Uint8Array.of(0, 13, 10, 255);
  const json = (body: string) => ({ status: 200, headers: JSON_TYPE, body });
  const cases: [DataType, unknown, unknown][] = [
    ["string", "grüß\n", { status: 200, body: "grüß\n" }],
    ["string", "", { status: 200, body: "" }],
    ["binary", bytes, {
      status: 200,
      headers: [["content-type", "application/octet-stream"]],
      body: bytes,
    }],
    ["int32", -5, json("-5")],
    ["int64", 9223372036854775807n, json("9223372036854775807")],
    ["float64", 0.1, json("0.1")],
    ["float64", NaN, json("null")],
    ["float32", -Infinity, json("null")],
    ["boolean", false, json("false")],
    ["timestamp", 1.5, json('"1970-01-01T00:00:00.001Z"')],
    ["timestamp", 1e300, json("null")],
    [
      POINT,
      { x: 2n ** 60n, name: 'a"\u2028' },
      json('{"x":1152921504606846976,"name":"a\\"\u2028"}'),
    ],
    [POINT, { name: undefined, extra: 1 }, json('{"x":null,"name":null}')],
    [POINT, new Map<string, unknown>([["x", 1n]]), json('{"x":1,"name":null}')],
    [{ struct: [] }, {}, json("{}")],
    [
      { struct: [{ name: "__proto__", type: "int32" }] },
      JSON.parse('{"__proto__":1}'),
      json('{"__proto__":1}'),
    ],
    [{ list: "string" }, ["a", null], json('["a",null]')],
    [{ list: "float64" }, [1, NaN, null], json("[1,null,null]")],
    [{ list: "float32" }, Float32Array.of(1, NaN), json("[1,null]")],
    [{ list: "int64" }, BigInt64Array.of(1n, -2n), json("[1,-2]")],
    [{ list: "int64" }, [], json("[]")],
    [
      { list: { list: POINT } },
      [[{ x: 1n, name: "n" }], null],
      json('[[{"x":1,"name":"n"}],null]'),
    ],
    [{ struct: [{ name: "b", type: "binary" }] }, { b: bytes }, json('{"b":"AA0K/w=="}')],
    [{ tensor: "float32", shape: [2, 2] }, Float32Array.of(1, 2, 3, NaN), json("[[1,2],[3,null]]")],
    [{ tensor: "int64", shape: [2] }, BigInt64Array.of(1n, 2n), json("[1,2]")],
    [{ tensor: "float64", shape: [] }, Float64Array.of(7), json("7")],
    [{ tensor: "int32", shape: [2, 0] }, Int32Array.of(), json("[[],[]]")],
  ];
  for (const [type, value, wanted] of cases) {
    assert.deepEqual(replyEncoder(type)(value), wanted);
    for (const absent of [null, undefined]) {
      assert.deepEqual(replyEncoder(type)(absent), { status: 204, body: null });
    }
  }
});

Deno.test("replyEncoder() sends a response struct whole", () => {
  const headers = [{ name: "X-A", value: "é\t1" }, { name: "x-a", value: "" }];
  const pairs = [["X-A", "é\t1"], ["x-a", ""]];
  const cases: [DataType, unknown, unknown][] = [
    ["string", { statusCode: 404, headers, entity: "no" }, {
      status: 404,
      headers: pairs,
      body: "no",
    }],
    ["string", { statusCode: 201, headers: [], entity: "" }, { status: 201, body: "" }],
    ["string", { statusCode: null, headers: null, entity: null }, { status: 200, body: null }],
    ["string", {}, { status: 200, body: null }],
    ["string", new Map([["entity", "in a map"]]), { status: 200, body: "in a map" }],
    [POINT, { statusCode: 400, headers, entity: { x: 1n } }, {
      status: 400,
      headers: [...JSON_TYPE, ...pairs],
      body: '{"x":1,"name":null}',
    }],
    ["binary", {
      statusCode: 599,
      headers: [{ name: "Content-Type", value: "image/png" }],
      entity: Uint8Array.of(1),
    }, { status: 599, headers: [["Content-Type", "image/png"]], body: Uint8Array.of(1) }],
    ["int32", { statusCode: 200, entity: 5 }, { status: 200, headers: JSON_TYPE, body: "5" }],
    // A response within a response is plain data.
    [response("string"), { entity: { statusCode: 201 } }, {
      status: 200,
      headers: JSON_TYPE,
      body: '{"statusCode":201,"headers":null,"entity":null}',
    }],
  ];
  for (const [entity, value, wanted] of cases) {
    assert.deepEqual(replyEncoder(response(entity))(value), wanted);
  }
  const short: DataType = {
    struct: [{ name: "entity", type: "string" }, { name: "statusCode", type: "int64" }],
  };
  assert.deepEqual(replyEncoder(short)({ statusCode: 418n, entity: "tea" }), {
    status: 418,
    body: "tea",
  });
  const other: DataType = {
    struct: [{ name: "statusCode", type: "string" }, { name: "entity", type: "string" }, {
      name: "more",
      type: "string",
    }],
  };
  assert.equal(replyEncoder(other)({ statusCode: "a" }).status, 200, "other fields: plain JSON");
});

Deno.test("replyEncoder() refuses what would break the response", () => {
  const encode = replyEncoder(response("string"));
  const headers = (name: unknown, value: unknown) => ({ headers: [{ name, value }], entity: "" });
  const cases: [unknown, RegExp][] = [
    [{ statusCode: 99 }, /Cannot reply with status 99: wanted 200 to 599/],
    [{ statusCode: 101 }, /status 101/],
    [{ statusCode: 600 }, /status 600/],
    [{ statusCode: 200.5 }, /status 200.5/],
    [
      headers("X-A", "a\r\nSet-Cookie: b"),
      /header "X-A" with value "a\\r\\nSet-Cookie: b": wanted/,
    ],
    [headers("X-A", "\0"), /header "X-A" with value/],
    [headers("X-A", "中"), /wanted Latin-1 text without line breaks/],
    [headers("X-A", null), /header "X-A" with value null/],
    [headers("X A", "1"), /header name "X A": wanted letters/],
    [headers("X-A:", "1"), /header name "X-A:"/],
    [headers("", "1"), /header name ""/],
    [headers(null, "1"), /header name null/],
    [{ headers: [null] }, /header name undefined/],
    [headers("Content-Length", "5"), /header "Content-Length": the server sets it; leave it out/],
    [headers("transfer-encoding", "chunked"), /the server sets it/],
  ];
  for (const [value, message] of cases) {
    assert.throws(() => encode(value), (error) => {
      assert(error instanceof RowError);
      assert.equal(error.status, 500);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("replyEncoder() refuses response structs of other types", () => {
  const struct = (statusCode: DataType, headers: DataType): DataType => ({
    struct: [
      { name: "statusCode", type: statusCode },
      { name: "headers", type: headers },
      { name: "entity", type: "string" },
    ],
  });
  for (
    const [type, message] of [
      [struct("string", HEADERS_TYPE), /statusCode is string: wanted int32/],
      [struct("int32", "string"), /headers are string: wanted list<struct<name: string/],
      [struct("int32", { list: "string" }), /headers are list<string>/],
      [struct("int32", { list: POINT }), /headers are list<struct<x: int64/],
    ] as const
  ) {
    assert.throws(() => replyEncoder(type), (error) => {
      assert(error instanceof PlanError);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("replyEncoder() makes headers that the platform takes", () => {
  const encode = replyEncoder(response("string"));
  fc.assert(fc.property(fc.string(), fc.string({ unit: "binary" }), (name, value) => {
    try {
      const { headers } = encode({ headers: [{ name, value }], entity: "" });
      new Headers(headers as [string, string][]);
    } catch (error) {
      assert(error instanceof RowError, String(error));
    }
  }));
});

Deno.test("jsonWriter() writes what JSON.parse reads back", () => {
  const type: DataType = {
    struct: [
      { name: "text ü", type: "string" },
      { name: "n", type: "int32" },
      { name: "items", type: { list: { struct: [{ name: "f", type: "float64" }] } } },
      { name: "flags", type: { list: "boolean" } },
    ],
  };
  const value = fc.record({
    "text ü": fc.option(fc.string({ unit: "binary" })),
    n: fc.option(fc.integer()),
    items: fc.array(fc.option(
      fc.record({ f: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })) }),
    )),
    flags: fc.array(fc.option(fc.boolean())),
  });
  const write = jsonWriter(type);
  fc.assert(fc.property(value, (value) => {
    // By way of JSON, which knows no -0.
    assert.deepEqual(JSON.parse(write(value)), JSON.parse(JSON.stringify(value)));
  }));
  fc.assert(fc.property(fc.bigInt(), (n) => {
    assert.equal(jsonWriter({ list: "int64" })([n]), `[${n}]`);
  }));
});
