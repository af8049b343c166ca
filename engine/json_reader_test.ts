import assert from "node:assert/strict";
import fc from "fast-check";
import { Batch, type DataType, type Field, mismatch, Schema } from "./batch.ts";
import { parseSchema } from "./expressions/parser.ts";
import { jsonWriter } from "./http/encode_reply.ts";
import { JsonReader, type ParsingCheck } from "./json_reader.ts";

/** What a body becomes: the row, or the error. */
function read(
  ddl: string | Schema,
  body: string | null | undefined,
  check: ParsingCheck = "full",
): Record<string, unknown> | string {
  const schema = typeof ddl === "string" ? parseSchema(ddl) : ddl;
  const reader = new JsonReader(schema, check);
  const columns = schema.fields.map((): unknown[] => []);
  const wrong = reader.read(body, columns, 0);
  if (wrong !== undefined) return wrong;
  const row = Object.fromEntries(schema.names.map((name, at) => [name, columns[at]![0]]));
  for (const { name, type } of schema.fields) assert.equal(mismatch(type, row[name]), undefined);
  return row;
}

const number = (json: string, type: string) => {
  const row = read(`v ${type}`, `{"v": ${json}}`);
  return typeof row === "string" ? row : row.v;
};

Deno.test("values of each type are read exactly", () => {
  const cases: [type: string, json: string, value: unknown][] = [
    ["string", '"h\\u00e9\\n"', "hé\n"],
    ["string", '""', ""],
    ["boolean", "false", false],
    ["int", "2147483647", 2147483647],
    ["int", "-2147483648", -2147483648],
    ["int", "1.0", 1],
    ["int", "2e3", 2000],
    ["int", "-0", 0],
    ["bigint", "1", 1n],
    ["bigint", "-0", 0n],
    ["bigint", "9007199254740993", 9007199254740993n],
    ["bigint", "-9007199254740993", -9007199254740993n],
    ["bigint", "9223372036854775807", 2n ** 63n - 1n],
    ["bigint", "-9223372036854775808", -(2n ** 63n)],
    ["bigint", "1e18", 10n ** 18n],
    ["bigint", "9.007199254740993e15", 9007199254740993n],
    ["bigint", "90071992547409930e-1", 9007199254740993n],
    ["float", "0.1", Math.fround(0.1)],
    ["double", "0.1", 0.1],
    ["double", "9007199254740993", 9007199254740992],
    ["double", "1e308", 1e308],
    ["timestamp", '"2024-05-06T07:08:09.5Z"', Date.UTC(2024, 4, 6, 7, 8, 9, 500)],
    ["timestamp", '"2024-05-06"', Date.UTC(2024, 4, 6)],
    ["timestamp", '"2024-05-06 07:08:09+02:00"', Date.UTC(2024, 4, 6, 5, 8, 9)],
    ["timestamp", "1714979289", 1714979289000],
    ["timestamp", "0.5", 500],
    ["binary", '"AQID"', Uint8Array.of(1, 2, 3)],
    ["binary", '"AQ=="', Uint8Array.of(1)],
    ["binary", '"AQ"', Uint8Array.of(1)],
    ["binary", '""', new Uint8Array()],
    ["array<bigint>", "[1, 9007199254740993]", [1n, 9007199254740993n]],
    ["array<array<int>>", "[[], [1]]", [[], [1]]],
    ["struct<a: struct<b: array<double>>>", '{"a": {"b": [1]}, "z": 0}', { a: { b: [1] } }],
    ["tensor<float32>[2, 2]", "[[1, 2], [3, 4.5]]", Float32Array.of(1, 2, 3, 4.5)],
    ["tensor<int64>[1]", "[9007199254740993]", BigInt64Array.of(9007199254740993n)],
    ["tensor<float64>[]", "1.5", Float64Array.of(1.5)],
  ];
  for (const [type, json, value] of cases) {
    assert.deepEqual(number(json, type), value, `${type} ${json}`);
  }
});

Deno.test("bytes have a buffer of their own, so that nothing else goes along to other threads", () => {
  for (const size of [1, 100, 5000, 100_000]) {
    const text = btoa("x".repeat(size));
    const bytes = number(JSON.stringify(text), "binary") as Uint8Array;
    assert.equal(bytes.constructor, Uint8Array);
    assert.equal(bytes.byteLength, size);
    assert.equal(bytes.buffer.byteLength, size);
  }
});

Deno.test("a value that does not fit is told with its path, the type wanted and a short form of it", () => {
  const cases: [ddl: string, body: string, error: string][] = [
    ["a int", '{"a": "abc"}', 'Cannot read field "a": wanted int32, given "abc"'],
    ["a int", '{"a": 1.5}', 'Cannot read field "a": wanted int32, given 1.5'],
    ["a int", '{"a": 2147483648}', 'Cannot read field "a": wanted int32, given 2147483648'],
    ["a int", '{"a": true}', 'Cannot read field "a": wanted int32, given true'],
    ["a int", '{"a": null}', 'Cannot read field "a": wanted int32, given null'],
    ["a int", "{}", 'Cannot read field "a": wanted int32, given nothing'],
    ["a int", '{"a": {"b": 1}}', 'Cannot read field "a": wanted int32, given an object'],
    ["a int", '{"a": [1, 2]}', 'Cannot read field "a": wanted int32, given a list of 2'],
    ["a string", '{"a": 5}', 'Cannot read field "a": wanted string, given 5'],
    ["a boolean", '{"a": "true"}', 'Cannot read field "a": wanted boolean, given "true"'],
    ["a double", '{"a": "1"}', 'Cannot read field "a": wanted float64, given "1"'],
    ["a double", '{"a": 1e999}', 'Cannot read field "a": wanted float64, given Infinity'],
    ["a float", '{"a": 1e39}', 'Cannot read field "a": wanted float32, given 1e+39'],
    ["a bigint", '{"a": 0.5}', 'Cannot read field "a": wanted int64, given 0.5'],
    [
      "a bigint",
      '{"a": 9007199254740993.5}',
      'Cannot read field "a": wanted int64, given 9007199254740994',
    ],
    [
      "a bigint",
      '{"a": 9223372036854775808}',
      'Cannot read field "a": wanted int64, given 9223372036854775808',
    ],
    ["a bigint", '{"a": "1"}', 'Cannot read field "a": wanted int64, given "1"'],
    ["a bigint", '{"a": 1e400}', 'Cannot read field "a": wanted int64, given Infinity'],
    [
      "a timestamp",
      '{"a": "tomorrow"}',
      'Cannot read field "a": wanted timestamp (ISO 8601 text, or seconds since 1970), given "tomorrow"',
    ],
    [
      "a timestamp",
      '{"a": 1e15}',
      'Cannot read field "a": wanted timestamp (ISO 8601 text, or seconds since 1970), given 1000000000000000',
    ],
    ["a binary", '{"a": "A"}', 'Cannot read field "a": wanted binary (base64 text), given "A"'],
    [
      "a binary",
      '{"a": "AQI=="}',
      'Cannot read field "a": wanted binary (base64 text), given "AQI=="',
    ],
    [
      "a binary",
      '{"a": "Ä€=="}',
      'Cannot read field "a": wanted binary (base64 text), given "Ä€=="',
    ],
    [
      "a struct<b: array<struct<c: int>>>",
      '{"a": {"b": [{"c": 1}, {"c": 2}, {"c": "x"}]}}',
      'Cannot read field "a.b[2].c": wanted int32, given "x"',
    ],
    [
      "a struct<b: int>",
      '{"a": [1]}',
      'Cannot read field "a": wanted an object, given a list of 1',
    ],
    ["a array<int>", '{"a": 1}', 'Cannot read field "a": wanted a list, given 1'],
    ["a array<int>", '{"a": [1, null]}', 'Cannot read field "a[1]": wanted int32, given null'],
    [
      "a array<array<int>>",
      '{"a": [[1], [2, "3"]]}',
      'Cannot read field "a[1][1]": wanted int32, given "3"',
    ],
    [
      "a tensor<float32>[2, 2]",
      '{"a": [[1, 2], [3]]}',
      'Cannot read field "a[1]": wanted a list of 2 (tensor<float32>[2, 2]), given a list of 1',
    ],
    ["a tensor<int32>[2]", '{"a": [1, 1.5]}', 'Cannot read field "a[1]": wanted int32, given 1.5'],
    [
      "a tensor<int32>[2]",
      '{"a": [1, null]}',
      'Cannot read field "a[1]": wanted int32, given null',
    ],
    ["a string", "[]", "Cannot read the body: wanted a JSON object, given a list"],
    ["a string", '"secret"', "Cannot read the body: wanted a JSON object, given text"],
    ["a string", "5", "Cannot read the body: wanted a JSON object, given a number"],
    ["a string", "true", "Cannot read the body: wanted a JSON object, given a boolean"],
    ["a string", "null", "Cannot read the body: wanted a JSON object, given null"],
    ["a string", "", "Cannot read the body: wanted a JSON object, given nothing"],
    ["a string", " \n", "Cannot read the body: wanted a JSON object, given nothing"],
    [
      "a string",
      "{",
      "Cannot read the body: wanted a JSON object, given text that is not JSON (at position 1)",
    ],
    [
      "a string",
      '{"a": "b"',
      "Cannot read the body: wanted a JSON object, given text that is not JSON (at position 9)",
    ],
  ];
  for (const [ddl, body, error] of cases) assert.equal(read(ddl, body), error, body);
});

Deno.test("a body is never sent back", () => {
  const secret = "SECRET-".repeat(20);
  const bodies = [
    secret,
    `"${secret}"`,
    `{"a": "${secret}"}`,
    `{"a": {"b": "${secret}"}}`,
    `[${secret}`,
  ];
  for (const body of bodies) {
    for (const type of ["int", "bigint", "binary", "timestamp", "array<int>", "struct<b: int>"]) {
      const error = read(`a ${type}`, body) as string;
      assert.ok(error.length < 200 && !error.includes("SECRET-".repeat(6)), error);
    }
  }
  assert.equal(
    read("a int", `{"a": "${secret}"}`),
    `Cannot read field "a": wanted int32, given "${secret.slice(0, 32)}"... (140 characters)`,
  );
  // A pair of surrogates may be cut in two: the rest must still be JSON.
  const cut = read("a int", JSON.stringify({ a: "x".repeat(31) + "😀".repeat(9) })) as string;
  assert.ok(cut.isWellFormed(), cut);
});

Deno.test("an integer that is long on purpose costs nothing", () => {
  const zeros = "0".repeat(200_000);
  const started = performance.now();
  assert.match(number(`9007199254740993${zeros}e-200000`, "bigint") as string, /wanted int64/);
  assert.match(number(`9007199254740993.${zeros}`, "bigint") as string, /wanted int64/);
  assert.ok(performance.now() - started < 1000);
});

Deno.test("fields are the object's own", () => {
  assert.equal(
    read("constructor string", "{}"),
    'Cannot read field "constructor": wanted string, given nothing',
  );
  assert.deepEqual(read("constructor string", "{}", "partial"), { constructor: null });
  assert.deepEqual(read("toString string", '{"toString": "x"}'), { toString: "x" });
  assert.equal(
    read("p struct<valueOf: int>", '{"p": {}}'),
    'Cannot read field "p.valueOf": wanted int32, given nothing',
  );
  assert.throws(() => read(new Schema([{ name: "__proto__", type: "string" }]), "{}"), {
    name: "PlanError",
  });
  assert.deepEqual(read("a int", '{"__proto__": {"a": 1}, "a": 2}'), { a: 2 });
});

Deno.test("a byte order mark is no part of the JSON", () => {
  assert.deepEqual(read("a int", '\ufeff{"a": 1}'), { a: 1 });
});

Deno.test("bytes that are no text are told so", () => {
  assert.equal(
    read("a int", undefined),
    "Cannot read the body: wanted a JSON object, given bytes that are not UTF-8",
  );
});

Deno.test("partial wants an object, and the fields that are not null; the others become null", () => {
  const ddl = "a int not null, b int, c array<int>, d struct<e: int not null, f: bigint>";
  const nulls = { b: null, c: null, d: null };
  const cases: [body: string, result: unknown][] = [
    ['{"a": 1}', { a: 1, ...nulls }],
    ['{"a": 1, "b": "x", "c": 5, "d": []}', { a: 1, ...nulls }],
    ['{"a": 1, "c": [1, null, "x"]}', { a: 1, ...nulls, c: [1, null, null] }],
    ['{"a": 1, "d": {"e": 2, "f": 9007199254740993}}', {
      a: 1,
      ...nulls,
      d: { e: 2, f: 9007199254740993n },
    }],
    ['{"a": 1, "d": {"e": 2, "f": "x"}}', { a: 1, ...nulls, d: { e: 2, f: null } }],
    ['{"a": 1, "d": {"f": 3}}', { a: 1, ...nulls }],
    ["{}", 'Cannot read field "a": wanted int32, given nothing'],
    ['{"a": null}', 'Cannot read field "a": wanted int32, given null'],
    ['{"a": "1"}', 'Cannot read field "a": wanted int32, given "1"'],
    ["[]", "Cannot read the body: wanted a JSON object, given a list"],
    ["?", "Cannot read the body: wanted a JSON object, given text that is not JSON"],
  ];
  for (const [body, result] of cases) assert.deepEqual(read(ddl, body, "partial"), result, body);
  assert.equal(
    read("d struct<e: int not null> not null", '{"d": {}}', "partial"),
    'Cannot read field "d.e": wanted int32, given nothing',
  );
});

Deno.test("none takes every body, with nulls for what does not fit", () => {
  const ddl = "a int not null, b bigint";
  const cases: [body: string | null | undefined, result: unknown][] = [
    ['{"a": 1, "b": 9007199254740993}', { a: 1, b: 9007199254740993n }],
    ['{"a": "x", "b": 2}', { a: null, b: 2n }],
    ["[]", { a: null, b: null }],
    ["?", { a: null, b: null }],
    [null, { a: null, b: null }],
    [undefined, { a: null, b: null }],
  ];
  for (const [body, result] of cases) assert.deepEqual(read(ddl, body, "none"), result);
});

Deno.test("a body that fails leaves nothing behind for the next one", () => {
  const schema = parseSchema("a int, b array<int>");
  const reader = new JsonReader(schema, "full");
  const columns: unknown[][] = [[], []];
  assert.match(reader.read('{"a": 1, "b": [1, [2]]}', columns, 0)!, /"b\[1\]"/);
  assert.equal(reader.read('{"a": 2, "b": [3]}', columns, 0), undefined);
  assert.match(reader.read("{}", columns, 1)!, /"a": wanted int32, given nothing/);
  assert.deepEqual(columns.map((column) => column[0]), [2, [3]]);
});

Deno.test("the schema says what the check makes sure of", () => {
  const schema = parseSchema("a struct<b: int, c: int not null>, d array<struct<e: int>>");
  const nullable = (check: ParsingCheck) =>
    JSON.stringify(new JsonReader(schema, check).schema).match(/"nullable":false/g)?.length ?? 0;
  assert.deepEqual([nullable("full"), nullable("partial"), nullable("none")], [5, 1, 0]);
  assert.ok(new JsonReader(schema, "full").schema.equals(schema));
});

/** Types, and values of them that JSON can carry. */
const typed: fc.Arbitrary<[DataType, unknown]> =
  fc.letrec<{ pair: [DataType, unknown] }>((tie) => ({
    pair: fc.oneof(
      { maxDepth: 3 },
      fc.tuple(fc.constant<DataType>("string"), fc.string({ unit: "grapheme" })),
      fc.tuple(fc.constant<DataType>("int32"), fc.integer()),
      fc.tuple(fc.constant<DataType>("int64"), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)),
      fc.tuple(
        fc.constant<DataType>("float32"),
        fc.float({ noNaN: true, noDefaultInfinity: true }),
      ),
      fc.tuple(
        fc.constant<DataType>("float64"),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
      ),
      fc.tuple(fc.constant<DataType>("boolean"), fc.boolean()),
      fc.tuple(fc.constant<DataType>("timestamp"), fc.integer({ min: 0, max: 4e12 })),
      fc.tuple(fc.constant<DataType>("binary"), fc.uint8Array({ maxLength: 40 })),
      fc.tuple(
        fc.constant<DataType>({ tensor: "int64", shape: [2, 1] }),
        fc.bigInt64Array({ minLength: 2, maxLength: 2 }),
      ),
      fc.tuple(tie("pair"), fc.nat({ max: 3 })).map(([[type, value], count]) => [
        { list: type },
        new Array(count).fill(value),
      ]),
      fc.array(tie("pair"), { maxLength: 3 }).map((pairs) => [
        { struct: pairs.map(([type], at): Field => ({ name: `f${at}`, type })) },
        Object.fromEntries(pairs.map(([, value], at) => [`f${at}`, value])),
      ]),
    ) as fc.Arbitrary<[DataType, unknown]>,
  })).pair;

Deno.test("what the reply encoder writes is read back as it was", () => {
  const zero = (value: unknown): unknown => Object.is(value, -0) ? 0 : value;
  fc.assert(fc.property(typed, ([type, value]) => {
    const schema = new Schema([{ name: "v", type }]);
    const row = read(schema, `{"v": ${jsonWriter(type)(value)}}`);
    assert.ok(typeof row === "object", String(row));
    // JSON has no -0 in the writer's form, nor a difference to make of it here.
    const plain = (given: unknown) =>
      JSON.stringify(
        given,
        (_, inner) =>
          typeof inner === "bigint"
            ? `${inner}n`
            : ArrayBuffer.isView(inner)
            ? Array.from(inner as Int32Array, String)
            : zero(inner),
      );
    assert.equal(plain(row.v), plain(value));
    Batch.fromRows(schema, [row]);
  }));
});

Deno.test("no JSON of any shape makes it throw, and every refusal is one short sentence", () => {
  const ddl = "a int, b struct<c: bigint, d: array<timestamp>>, e tensor<float32>[2], f binary";
  fc.assert(fc.property(
    fc.oneof(
      fc.json(),
      fc.string(),
      fc.record({ a: fc.jsonValue(), b: fc.jsonValue(), e: fc.jsonValue(), f: fc.string() }, {
        requiredKeys: [],
      }).map((value) => JSON.stringify(value)),
    ),
    fc.constantFrom<ParsingCheck>("none", "partial", "full"),
    (body, check) => {
      const result = read(ddl, body, check);
      if (typeof result === "string") {
        assert.match(result, /^Cannot read (the body|field "[\w.[\]]+"): wanted .+, given .+$/);
        assert.ok(result.length < 200);
        assert.notEqual(check, "none");
      }
    },
  ));
});
