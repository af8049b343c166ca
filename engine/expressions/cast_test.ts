import assert from "node:assert/strict";
import fc from "fast-check";
import { Batch, type DataType, typeName } from "../batch.ts";
import { columnCast, formatDouble, valueCast } from "./cast.ts";
import { bindExpression } from "./compile.ts";
import { parseSchema, parseType } from "./parser.ts";

const NONE = Batch.fromRows(parseSchema("a int"), [{ a: 1 }]);

Deno.test("Casts give what Spark gives outside ANSI mode", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const cases: [from: string, value: unknown, to: string, result: unknown][] = [
    // To whole numbers.
    ["string", "12", "int", 12],
    ["string", " \t-12\n", "int", -12],
    ["string", "+12", "int", 12],
    ["string", "1.9", "int", 1],
    ["string", "-1.9", "bigint", -1n],
    ["string", "1.", "int", 1],
    ["string", ".5", "int", 0],
    ["string", "", "int", null],
    ["string", "-", "int", null],
    ["string", "1e3", "int", null],
    ["string", "1 2", "int", null],
    ["string", "abc", "int", null],
    ["string", "\u00a012", "int", null],
    ["string", "2147483647", "int", 2147483647],
    ["string", "2147483648", "int", null],
    ["string", "9223372036854775807", "bigint", 2n ** 63n - 1n],
    ["string", "9223372036854775808", "bigint", null],
    ["double", 1.9, "int", 1],
    ["double", -1.9, "int", -1],
    ["double", -0.5, "int", 0],
    ["double", 3e9, "int", 2147483647],
    ["double", -Infinity, "int", -2147483648],
    ["double", NaN, "int", 0],
    ["double", 1e19, "bigint", 2n ** 63n - 1n],
    ["double", -1e19, "bigint", -(2n ** 63n)],
    ["double", NaN, "bigint", 0n],
    ["float", 1.5, "int", 1],
    ["bigint", 2n ** 32n + 5n, "int", 5],
    ["bigint", 2n ** 31n, "int", -2147483648],
    ["int", -5, "bigint", -5n],
    ["boolean", true, "int", 1],
    ["boolean", false, "bigint", 0n],
    ["timestamp", -1, "int", -1],
    ["timestamp", 1999, "bigint", 1n],
    // To floats.
    ["string", "1.5", "double", 1.5],
    ["string", " 1e3 ", "double", 1000],
    ["string", "1.5d", "double", 1.5],
    ["string", "-.5", "double", -0.5],
    ["string", "NaN", "double", NaN],
    ["string", "-infinity", "double", -Infinity],
    ["string", "+Inf", "double", Infinity],
    ["string", "-nan", "double", null],
    ["string", "", "double", null],
    ["string", "1,5", "double", null],
    ["string", "0.1", "float", Math.fround(0.1)],
    ["double", 0.1, "float", Math.fround(0.1)],
    ["double", 1e300, "float", Infinity],
    ["float", Math.fround(0.1), "double", Math.fround(0.1)],
    ["bigint", 9007199254740993n, "double", 9007199254740992],
    ["bigint", 16777217n, "float", 16777216],
    ["int", 16777217, "float", 16777216],
    ["boolean", true, "double", 1],
    ["timestamp", 1500, "double", 1.5],
    // To booleans.
    ["string", "T", "boolean", true],
    ["string", " yes ", "boolean", true],
    ["string", "0", "boolean", false],
    ["string", "n", "boolean", false],
    ["string", "on", "boolean", null],
    ["string", "constructor", "boolean", null],
    ["int", 2, "boolean", true],
    ["bigint", 0n, "boolean", false],
    ["double", 0, "boolean", false],
    ["double", NaN, "boolean", true],
    ["timestamp", 0, "boolean", false],
    // To text.
    ["int", -5, "string", "-5"],
    ["bigint", 2n ** 62n, "string", "4611686018427387904"],
    ["double", 1, "string", "1.0"],
    ["double", -0, "string", "-0.0"],
    ["double", 0.001, "string", "0.001"],
    ["double", 0.0001, "string", "1.0E-4"],
    ["double", 1234567.5, "string", "1234567.5"],
    ["double", 1e7, "string", "1.0E7"],
    ["double", 1.5e300, "string", "1.5E300"],
    ["double", NaN, "string", "NaN"],
    ["double", -Infinity, "string", "-Infinity"],
    ["float", Math.fround(0.1), "string", "0.1"],
    ["float", Math.fround(3.4028235e38), "string", "3.4028235E38"],
    ["float", 16777216, "string", "1.6777216E7"],
    ["boolean", true, "string", "true"],
    ["timestamp", 0, "string", "1970-01-01 00:00:00"],
    ["timestamp", Date.UTC(2024, 1, 29, 1, 2, 3, 120), "string", "2024-02-29 01:02:03.12"],
    ["timestamp", -0.5, "string", "1969-12-31 23:59:59.9995"],
    ["binary", bytes("é😀"), "string", "é😀"],
    ["array<double>", [1, null], "string", "[1.0, null]"],
    ["struct<a: int, b: string>", { a: 1, b: null }, "string", "{1, null}"],
    // To timestamps and binary.
    ["string", "2024", "timestamp", Date.UTC(2024, 0)],
    ["string", "2024-5", "timestamp", Date.UTC(2024, 4)],
    ["string", "2024-05-06", "timestamp", Date.UTC(2024, 4, 6)],
    ["string", " 2024-05-06 07:08 ", "timestamp", Date.UTC(2024, 4, 6, 7, 8)],
    ["string", "2024-05-06T07:08:09Z", "timestamp", Date.UTC(2024, 4, 6, 7, 8, 9)],
    ["string", "2024-05-06T07:08:09.5+02:00", "timestamp", Date.UTC(2024, 4, 6, 5, 8, 9, 500)],
    ["string", "2024-05-06 07:08:09 -0130", "timestamp", Date.UTC(2024, 4, 6, 8, 38, 9)],
    ["string", "2023-02-29", "timestamp", null],
    ["string", "2024-05-06 24:00:00", "timestamp", null],
    ["string", "tomorrow", "timestamp", null],
    ["string", "", "timestamp", null],
    ["int", 1, "timestamp", 1000],
    ["bigint", -1n, "timestamp", -1000],
    ["bigint", 2n ** 62n, "timestamp", null],
    ["double", 1.5, "timestamp", 1500],
    ["double", NaN, "timestamp", null],
    ["double", Infinity, "timestamp", null],
    ["boolean", true, "timestamp", 0.001],
    ["string", "é", "binary", bytes("é")],
    // Nested.
    ["array<string>", ["1", "x", null], "array<int>", [1, null, null]],
    ["struct<a: string, b: int>", { a: "1", b: 2 }, "struct<x: int, y: string>", { x: 1, y: "2" }],
    ["array<struct<a: int>>", [{ a: 1 }, null], "array<struct<a: double>>", [{ a: 1 }, null]],
  ];
  for (const [from, value, to, result] of cases) {
    const schema = parseSchema(`v ${from}`);
    const batch = Batch.fromRows(schema, [{ v: value }, { v: null }, { v: value }]);
    const cast = bindExpression(`cast(v as ${to})`, schema);
    assert.deepEqual(cast.type, parseType(to));
    const what = `cast(${String(value)} as ${to})`;
    assert.deepEqual(Array.from(cast.evaluate(batch)), [result, null, result], what);
    // Without nulls, where the column may be a typed array.
    assert.deepEqual(Array.from(cast.evaluate(batch.take([0, 2]))), [result, result], what);
  }
});

Deno.test("A cast that there is not is refused", () => {
  const cases: [from: string, to: string][] = [
    ["int", "binary"],
    ["binary", "int"],
    ["boolean", "binary"],
    ["timestamp", "binary"],
    ["string", "array<string>"],
    ["array<int>", "int"],
    ["array<int>", "array<array<int>>"],
    ["struct<a: int>", "struct<a: int, b: int>"],
    ["struct<a: int>", "array<int>"],
    ["tensor<float>[2]", "string"],
    ["string", "tensor<float>[2]"],
  ];
  for (const [from, to] of cases) {
    assert.equal(valueCast(parseType(from), parseType(to)), undefined);
    assert.equal(columnCast(parseType(from), parseType(to)), undefined);
    assert.throws(
      () => bindExpression(`cast(v as ${to})`, parseSchema(`v ${from}`)),
      new RegExp(
        `there is no cast from ${typeName(parseType(from)).replace(/[[\]<>]/g, "\\$&")} to `,
      ),
    );
  }
});

Deno.test("null has every type, and a literal's cast is done once", () => {
  for (const type of ["int", "string", "array<int>", "struct<a: int>", "tensor<float>[2]"]) {
    const cast = bindExpression(`cast(null as ${type})`, NONE.schema);
    assert.deepEqual(cast.evaluate(NONE), [null]);
  }
  const literal = bindExpression("cast('2024-05-06' as timestamp)", NONE.schema);
  assert.equal(literal.nullable, false);
});

Deno.test("What is written as text is read back as it was", () => {
  const same = (type: DataType, value: unknown) => {
    const text = valueCast(type, "string")!(value);
    const back = valueCast("string", type)!(text);
    assert(Object.is(back, value), `${String(value)} -> ${text} -> ${String(back)}`);
  };
  fc.assert(fc.property(fc.double(), (value) => same("float64", value)));
  fc.assert(fc.property(fc.float(), (value) => same("float32", value)));
  fc.assert(fc.property(fc.integer(), (value) => same("int32", value)));
  fc.assert(
    fc.property(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      (value) => same("int64", value),
    ),
  );
  fc.assert(
    fc.property(
      fc.date({ min: new Date("1000-01-01"), max: new Date("9999-12-31"), noInvalidDate: true }),
      (date) => same("timestamp", date.getTime()),
    ),
  );
  assert.equal(formatDouble(123456789), "1.23456789E8");
});
