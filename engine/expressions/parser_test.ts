import assert from "node:assert/strict";
import fc from "fast-check";
import { PlanError } from "../../plugins/errors.ts";
import type { DataType, Field } from "../batch.ts";
import {
  columnsOf,
  type Expression,
  negative,
  numberLiteral,
  outputName,
  print,
  printType,
  RESERVED,
} from "./expression.ts";
import { FUNCTIONS } from "./functions.ts";
import {
  canonical,
  checkGrammar,
  parseExpression,
  parseSchema,
  parseType,
  referencedColumns,
} from "./parser.ts";

Deno.test("The grammar has no conflict and no token that cannot be reached", () => {
  checkGrammar();
});

Deno.test("Operators bind as tightly as in Spark", () => {
  const cases: [sql: string, same: string][] = [
    ["a or b and c", "a or (b and c)"],
    ["a and b or c", "(a and b) or c"],
    ["not a and b", "(not a) and b"],
    ["not a = b", "not (a = b)"],
    ["not a is null", "not (a is null)"],
    ["! a = b", "not (a = b)"],
    ["a = b is null", "(a = b) is null"],
    ["a + b = c * d", "(a + b) = (c * d)"],
    ["a + b * c", "a + (b * c)"],
    ["a * b + c", "(a * b) + c"],
    ["a - b - c", "(a - b) - c"],
    ["a / b * c % d", "((a / b) * c) % d"],
    ["a div b div c", "(a div b) div c"],
    ["a || b + c", "(a || b) + c"],
    ["-a * b", "(-a) * b"],
    ["-a.b", "-(a.b)"],
    ["- -a", "-(-a)"],
    ["+a", "a"],
    ["-a::int", "-(a::int)"],
    ["a::int + b", "(a::int) + b"],
    ["a[0].b::int[1]", "((((a)[0]).b)::int)[1]"],
    ["a between b and c and d", "(a between b and c) and d"],
    ["a between b + 1 and c = d", "a between (b + 1) and (c = d)"],
    ["a not in (b, c)", "not (a in (b, c))"],
    ["a not between b and c or d", "(not (a between b and c)) or d"],
    ["a not like 'x'", "not (a like 'x')"],
    ["a is not null and b", "(a is not null) and b"],
    ["a < b is true", "(a < b) <=> true"],
    ["a is not false", "not (a <=> false)"],
    ["a is distinct from b", "not (a <=> b)"],
    ["a is not distinct from b", "a <=> b"],
    ["a <> b", "a != b"],
    ["a == b", "a = b"],
    ["case a when b then c end = d", "(case a when b then c end) = d"],
  ];
  for (const [sql, same] of cases) {
    assert.deepEqual(parseExpression(sql), parseExpression(same), sql);
  }
});

Deno.test("Every form of literal is read", () => {
  const literal = (value: unknown, type: DataType | undefined) => ({
    kind: "literal",
    value,
    type,
  });
  const cases: [sql: string, value: unknown, type: DataType | undefined][] = [
    ["null", null, undefined],
    ["NULL", null, undefined],
    ["true", true, "boolean"],
    ["False", false, "boolean"],
    ["0", 0, "int32"],
    ["007", 7, "int32"],
    ["-0", 0, "int32"],
    ["2147483647", 2147483647, "int32"],
    ["-2147483648", -2147483648, "int32"],
    ["2147483648", 2147483648n, "int64"],
    ["-2147483649", -2147483649n, "int64"],
    ["-2147483648L", -2147483648n, "int64"],
    ["-(2147483648)", -2147483648n, "int64"],
    ["5L", 5n, "int64"],
    ["5l", 5n, "int64"],
    ["9223372036854775807", 2n ** 63n - 1n, "int64"],
    ["-9223372036854775808", -(2n ** 63n), "int64"],
    ["1.5", 1.5, "float64"],
    ["1.", 1, "float64"],
    [".5", 0.5, "float64"],
    ["-0.0", -0, "float64"],
    ["1e3", 1000, "float64"],
    ["1E-3", 0.001, "float64"],
    ["2d", 2, "float64"],
    ["2.5D", 2.5, "float64"],
    ["0.1F", Math.fround(0.1), "float32"],
    ["3f", 3, "float32"],
    ["''", "", "string"],
    ["'a''b'", "a'b", "string"],
    [`"it's"`, "it's", "string"],
    [`"a""b"`, 'a"b', "string"],
    [String.raw`'\n\r\t\b\0\Z\\\'\"'`, "\n\r\t\b\0\x1a\\'\"", "string"],
    [String.raw`'\u00e9\u0041'`, "éA", "string"],
    [String.raw`'\\u0041'`, String.raw`\u0041`, "string"],
    [String.raw`'\d+\.\w'`, String.raw`\d+\.\w`, "string"],
    [String.raw`r'\n'`, String.raw`\n`, "string"],
    [String.raw`R"it's \d"`, String.raw`it's \d`, "string"],
    ["'two\nlines'", "two\nlines", "string"],
    ["'😀'", "😀", "string"],
    ["X''", new Uint8Array(), "binary"],
    ["x'00fF'", Uint8Array.of(0, 255), "binary"],
  ];
  for (const [sql, value, type] of cases) {
    assert.deepEqual(parseExpression(sql), literal(value, type), sql);
  }
  assert.equal(
    canonical("timestamp '2024-05-06'"),
    "cast('2024-05-06' as timestamp)",
  );
});

Deno.test("Names, calls and what stands around them are read", () => {
  const cases: [sql: string, text: string][] = [
    ["Value", "Value"],
    ["naïve_名前2", "naïve_名前2"],
    ["`a b`", "`a b`"],
    ["`a``b`", "`a``b`"],
    ["``", "``"],
    ["`plain`", "plain"],
    ["`End`", "`End`"],
    ["`Current_Timestamp`", "`Current_Timestamp`"],
    ["a.end", "a.`end`"],
    ["a.`b c`", "a.`b c`"],
    ["android or orbit", "android or orbit"],
    ["andé and inner", "andé and inner"],
    ["CURRENT_TIMESTAMP", "current_timestamp()"],
    ["now()", "current_timestamp()"],
    ["LENGTH(Value)", "length(Value)"],
    ["char_length(a)", "length(a)"],
    ["isnull(a)", "a is null"],
    ["regexp_like(a, 'b')", "a rlike 'b'"],
    ["nosuch()", "nosuch()"],
    ["constructor(a)", "constructor(a)"],
    ["negative(5)", "-5"],
    ["negative(a)", "-a"],
    ["a like 'b' escape '!'", "a like 'b' escape '!'"],
    ["a ILIKE b", "a ilike b"],
    ["struct(a, b as c, 1 AS `d e`)", "struct(a, b as c, 1 as `d e`)"],
    ["a as b", "a as b"],
    ["*", "*"],
    ["a -- rest\n + /* and\n */ b", "a + b"],
    ["case when a then b else c end", "case when a then b else c end"],
    ["CASE a WHEN 1 THEN 'x' WHEN 2 THEN 'y' END", "case a when 1 then 'x' when 2 then 'y' end"],
    ["cast(a as bigint)", "cast(a as int64)"],
    [
      "cast(a as struct<b: int, `c d` string not null>)",
      "cast(a as struct<b: int32, `c d`: string not null>)",
    ],
    ["a\u00a0+\u3000b", "a + b"],
  ];
  for (const [sql, text] of cases) {
    assert.equal(canonical(sql), text, sql);
  }
});

Deno.test("What is wrong is said with its position", () => {
  const cases: [sql: string, message: string][] = [
    ["", "it is empty"],
    ["  ", "it is empty"],
    ["a +", "it ends too early"],
    ["f(a,", "it ends too early"],
    ["a b", 'position 3: unexpected "b"'],
    ["a + * b", 'position 5: unexpected "*"'],
    ["(a]", 'position 3: unexpected "]", wanted ")"'],
    ["cast(a int)", 'position 8: unexpected "int", wanted "as"'],
    ["a in ()", 'position 7: unexpected ")"'],
    ["a between 1 or 2", 'position 13: unexpected "or", wanted "and"; "or" is reserved'],
    ["case a end", 'position 8: unexpected "end"'],
    [
      "end",
      'position 1: unexpected "end"; "end" is reserved: as a name it stands between backticks',
    ],
    ["a.1", 'position 2: unexpected ".1"'],
    ["1abc", 'position 2: unexpected "abc"'],
    ["a 'b'", "position 3: unexpected \"'b'\""],
    ['a "b"', 'position 3: unexpected "b"'],
    ["x'0'", "position 2: unexpected \"'0'\""],
    ["'abc", "position 1: ' is opened and never closed"],
    ["a + `b", "position 5: ` is opened and never closed"],
    ["a ? b", 'position 3: unexpected "?"'],
    ["a + 😀", 'position 5: unexpected "😀"'],
    ["1.5L", 'position 1: "1.5L" is no whole number'],
    ["a + 9223372036854775809", "position 5: 9223372036854775809 is out of the range of int64"],
    ["1e400", "position 1: 1e400 is out of the range of float64"],
    ["1e39F", "position 1: 1e39F is out of the range of float32"],
    ["cast(a as strng)", 'position 11: unknown type "strng"; did you mean "string"?'],
    ["cast(a as constructor)", 'position 11: unknown type "constructor"'],
    ["cast(a as array)", "position 11: wanted array<type>, given array"],
    ["cast(a as int<string>)", "position 11: wanted int alone"],
    ["cast(a as map<string, int>)", 'position 11: unknown type "map"'],
    ["cast(a as list<string, int>)", "position 11: wanted list<type>"],
    ["cast(a as struct<b: int, b: int>)", "position 11: a struct has two fields of the same name"],
    [
      "cast(a as tensor<string>[1])",
      "position 11: wanted tensor<int32, int64, float32 or float64>",
    ],
    ["cast(a as tensor<int>[1.5])", "position 11: wanted tensor<int32, int64, float32 or float64>"],
    ["a, b", 'position 2: unexpected ","'],
    ["sum(*)", 'position 5: unexpected "*"'],
  ];
  for (const [sql, message] of cases) {
    assert.throws(() => parseExpression(sql), (error: Error) => {
      assert(error instanceof PlanError);
      assert.equal(
        error.message.slice(0, `Cannot parse expression ${JSON.stringify(sql)}: ${message}`.length),
        `Cannot parse expression ${JSON.stringify(sql)}: ${message}`,
      );
      return true;
    });
  }
  // The parser is as good as new after an error.
  assert.equal(canonical("a + b"), "a + b");
});

Deno.test("Types and schemas are read in Spark's words and in ours", () => {
  assert.deepEqual(parseType("array<struct<a: int, b string not null>>"), {
    list: {
      struct: [{ name: "a", type: "int32" }, { name: "b", type: "string", nullable: false }],
    },
  });
  assert.deepEqual(parseType("Tensor<float>[3, 224]"), { tensor: "float32", shape: [3, 224] });
  assert.deepEqual(parseType("tensor<double>[]"), { tensor: "float64", shape: [] });
  assert.deepEqual(parseSchema("a int, `b c`: double not null, end list<bigint>").fields, [
    { name: "a", type: "int32" },
    { name: "b c", type: "float64", nullable: false },
    { name: "end", type: { list: "int64" } },
  ]);
  const wrong: [ddl: string, message: string][] = [
    ["", "it is empty"],
    ["a", "it ends too early"],
    ["a, b int", 'position 2: unexpected ",", wanted a name'],
    ["a int, a int", 'Cannot build a schema with column "a" twice'],
    ["a int b int", 'position 7: unexpected "b"'],
  ];
  for (const [ddl, message] of wrong) {
    assert.throws(
      () => parseSchema(ddl),
      (error: Error) =>
        error instanceof PlanError &&
        error.message.startsWith(`Cannot parse schema ${JSON.stringify(ddl)}: ${message}`),
      ddl,
    );
  }
});

Deno.test("The columns that an expression reads, and the name of what it makes", () => {
  assert.deepEqual(
    referencedColumns("case when a.b > c then d[e] else length(`f g`) end"),
    new Set(["a", "c", "d", "e", "f g"]),
  );
  assert.equal(columnsOf(parseExpression("*")), undefined);
  const names = ["a", "a.b", "a + 1 as c", "length( a )", "5"].map((sql) =>
    outputName(parseExpression(sql))
  );
  assert.deepEqual(names, ["a", "b", "c", "length(a)", "5"]);
});

const word = fc.oneof(
  fc.constantFrom(
    ...RESERVED,
    "a",
    "Value",
    "current_timestamp",
    "x y",
    "`",
    "",
    "1a",
    "é",
    "timestamp",
  ),
  fc.string({ unit: "binary", maxLength: 4 }),
);
const scalar = fc.constantFrom<DataType>(
  "string",
  "int32",
  "int64",
  "float32",
  "float64",
  "boolean",
  "timestamp",
  "binary",
);
const { type } = fc.letrec<{ type: DataType }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 2 },
    scalar,
    tie("type").map((list) => ({ list })),
    fc.uniqueArray(
      fc.record<Field>({ name: word, type: tie("type") }, { noNullPrototype: true }).chain(
        (field) => fc.boolean().map((must) => must ? { ...field, nullable: false } : field),
      ),
      { minLength: 1, maxLength: 3, selector: (field) => field.name },
    ).map((struct) => ({ struct })),
    fc.record({
      tensor: fc.constantFrom("int32", "int64", "float32", "float64"),
      shape: fc.array(fc.nat(300), { maxLength: 3 }),
    }, { noNullPrototype: true }) as fc.Arbitrary<DataType>,
  ),
}));
const literal: fc.Arbitrary<Expression> = fc.oneof(
  fc.constant<Expression>({ kind: "literal", value: null, type: undefined }),
  fc.boolean().map((value): Expression => ({ kind: "literal", value, type: "boolean" })),
  fc.integer().map(numberLiteral),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value): Expression => ({
    kind: "literal",
    value,
    type: "int64",
  })),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value): Expression => ({
    kind: "literal",
    value,
    type: "float64",
  })),
  fc.float({ noNaN: true, noDefaultInfinity: true }).map((value): Expression => ({
    kind: "literal",
    value,
    type: "float32",
  })),
  fc.string({ unit: "binary" }).map((value): Expression => ({
    kind: "literal",
    value,
    type: "string",
  })),
  fc.uint8Array({ maxLength: 4 }).map((value): Expression => ({
    kind: "literal",
    value: Uint8Array.from(value),
    type: "binary",
  })),
);
const call = (name: string, ...args: Expression[]): Expression => ({ kind: "call", name, args });
const FUNCTION_NAMES = Object.keys(FUNCTIONS).filter((name) =>
  !["like", "ilike", "rlike"].includes(name)
);
const { expression } = fc.letrec<{ expression: Expression }>((tie) => {
  const inner = tie("expression");
  const optional = fc.option(inner, { nil: undefined });
  return {
    expression: fc.oneof(
      { maxDepth: 4, depthIdentifier: "tree" },
      literal,
      word.map((name): Expression => ({ kind: "column", name })),
      fc.tuple(
        fc.constantFrom("+", "-", "*", "/", "%", "div", "||", "and", "or"),
        inner,
        inner,
      ).map(([name, a, b]) => call(name, a, b)),
      fc.tuple(fc.constantFrom("=", "!=", "<", "<=", ">", ">=", "<=>"), inner, inner)
        .map(([name, a, b]) => call(name, a, b)),
      fc.tuple(fc.constantFrom("not", "isnull", "isnotnull"), inner)
        .map(([name, a]) => call(name, a)),
      inner.map(negative),
      fc.tuple(fc.constantFrom("like", "ilike"), inner, inner, optional)
        .map(([name, a, b, escape]) => call(name, a, b, ...(escape ? [escape] : []))),
      fc.tuple(inner, inner).map(([a, b]) => call("rlike", a, b)),
      fc.tuple(inner, inner, inner).map(([a, b, c]) => call("between", a, b, c)),
      fc.tuple(inner, fc.array(inner, { minLength: 1, maxLength: 3 }))
        .map(([a, items]) => call("in", a, ...items)),
      fc.tuple(
        fc.constantFrom(...FUNCTION_NAMES, "udf", "nosuch"),
        fc.array(inner, { maxLength: 3 }),
      )
        .map(([name, args]) => call(name, ...args)),
      fc.array(fc.tuple(inner, fc.option(word, { nil: undefined })), { maxLength: 3 })
        .map((parts) =>
          call(
            "struct",
            ...parts.map(([of, name]): Expression =>
              name === undefined ? of : { kind: "alias", of, name }
            ),
          )
        ),
      fc.tuple(inner, word).map(([of, name]): Expression => ({ kind: "field", of, name })),
      fc.tuple(inner, inner).map(([of, index]): Expression => ({ kind: "item", of, index })),
      fc.tuple(inner, type).map(([of, type]): Expression => ({ kind: "cast", of, type })),
      fc.tuple(
        optional,
        fc.array(fc.record({ when: inner, then: inner }), { minLength: 1, maxLength: 2 }),
        optional,
      ).map(([operand, whens, otherwise]): Expression => ({
        kind: "case",
        ...(operand === undefined ? {} : { operand }),
        whens: whens.map(({ when, then }) => ({ when, then })),
        ...(otherwise === undefined ? {} : { otherwise }),
      })),
    ),
  };
});

Deno.test("Any type that is printed reads back as it was", () => {
  fc.assert(fc.property(type, (type) => assert.deepEqual(parseType(printType(type)), type)));
});

Deno.test("Any tree that is printed reads back as it was", () => {
  fc.assert(
    fc.property(
      fc.tuple(expression, fc.option(word, { nil: undefined })),
      ([of, name]) => {
        const tree: Expression = name === undefined ? of : { kind: "alias", of, name };
        assert.deepEqual(parseExpression(print(tree)), tree);
      },
    ),
    { numRuns: 500 },
  );
});
