import assert from "node:assert/strict";
import fc from "fast-check";
import { PlanError } from "../../plugins/errors.ts";
import * as api from "./column.ts";
import {
  array,
  coalesce,
  col,
  Column,
  concat_ws,
  current_timestamp,
  date_trunc,
  expr,
  get_json_object,
  greatest,
  length,
  like,
  lit,
  locate,
  log,
  named_struct,
  not,
  regexp_replace,
  round,
  struct,
  substring,
  trim,
  udf,
  unix_timestamp,
  upper,
  when,
} from "./column.ts";
import { FUNCTIONS } from "./functions.ts";
import type { FunctionSpec } from "./functions/define.ts";
import { parseExpression } from "./parser.ts";

const a = col("a"), b = col("b"), c = col("c");

Deno.test("The Column API builds the trees that the parser reads", () => {
  const cases: [column: Column, sql: string][] = [
    [a.plus(1).minus(b).multiply(2).divide(c).mod(3), "(a + 1 - b) * 2 / c % 3"],
    [a.equalTo("x").or(a.notEqual(b)), "a = 'x' or a != b"],
    [a.lt(1).and(a.leq(2)).and(a.gt(3)).and(a.geq(4)), "a < 1 and a <= 2 and a > 3 and a >= 4"],
    [a.or(b).and(c), "(a or b) and c"],
    [a.eqNullSafe(null), "a <=> null"],
    [a.not(), "not a"],
    [not(a.equalTo(b)), "not a = b"],
    [a.negate(), "-a"],
    [lit(5).negate(), "-5"],
    [a.isNull().and(b.isNotNull()), "a is null and b is not null"],
    [a.isNaN(), "isnan(a)"],
    [a.isin(1, 2), "a in (1, 2)"],
    [a.isin(["x", b]), "a in ('x', b)"],
    [a.isin(), "false"],
    [a.between(1, b), "a between 1 and b"],
    [a.like("x%"), "a like 'x%'"],
    [a.ilike("x%"), "a ilike 'x%'"],
    [a.rlike("\\d+"), "a rlike '\\d+'"],
    [a.contains("x"), "contains(a, 'x')"],
    [a.startsWith("x").or(a.endsWith(b)), "startswith(a, 'x') or endswith(a, b)"],
    [a.substr(1, 2), "substring(a, 1, 2)"],
    [a.cast("bigint"), "a::bigint"],
    [a.cast({ list: "string" }), "cast(a as array<string>)"],
    [a.plus(b).as("sum of both"), "a + b as `sum of both`"],
    [a.alias("x").plus(1), "a + 1"],
    [a.as("x").as("y"), "a as y"],
    [a.getField("b").getItem(0).getItem("c d"), "a.b[0]['c d']"],
    [a.getItem(-1), "a[-1]"],
    [
      when(a.gt(1), "x").when(b, c).otherwise(null),
      "case when a > 1 then 'x' when b then c else null end",
    ],
    [when(a, 1), "case when a then 1 end"],
    [struct("a", b.as("x"), lit(1)), "struct(a, b as x, 1)"],
    [expr("a + 1 as x"), "a + 1 as x"],
    [col("*"), "*"],
    [col("a.b"), "a.b"],
    [col("`a.b`.`c``d`.e f"), "`a.b`.`c``d`.`e f`"],
    [col("my col"), "`my col`"],
    [lit(1), "1"],
    [lit(-2147483648), "-2147483648"],
    [lit(2147483648), "2147483648.0"],
    [lit(1.5), "1.5"],
    [lit(-0), "-0.0"],
    [lit(NaN), "cast('NaN' as double)"],
    [lit(-Infinity), "cast('-Infinity' as double)"],
    [lit(5n), "5L"],
    [lit("it's"), "'it''s'"],
    [lit(true), "true"],
    [lit(null), "null"],
    [lit(Uint8Array.of(1, 255)), "X'01ff'"],
    [lit(new Date(Date.UTC(2024, 4, 6, 7, 8, 9, 120))), "timestamp '2024-05-06 07:08:09.12'"],
    [lit([1, b, ["x"]]), "array(1, b, array('x'))"],
    [lit(a), "a"],
    [length(a), "length(a)"],
    [upper("a"), "upper(a)"],
    [coalesce("a", lit("-")), "coalesce(a, '-')"],
    [concat_ws("-", "a", b), "concat_ws('-', a, b)"],
    [regexp_replace("a", "\\s+", " "), "regexp_replace(a, '\\s+', ' ')"],
    [substring("a", 2), "substring(a, 2)"],
    [substring("a", 2, 3), "substring(a, 2, 3)"],
    [trim("a"), "trim(a)"],
    [trim("a", lit("x")), "trim(a, 'x')"],
    [like("a", "b", "!"), "a like b escape '!'"],
    [locate("x", "a", 2), "locate('x', a, 2)"],
    [log("a"), "log(a)"],
    [log(2, "a"), "log(2, a)"],
    [round(a.divide(3), 2), "round(a / 3, 2)"],
    [greatest("a", "b"), "greatest(a, b)"],
    [array("a", lit(1)), "array(a, 1)"],
    [named_struct("x", "a", "y", lit(1)), "named_struct('x', a, 'y', 1)"],
    [get_json_object("a", "$.b"), "get_json_object(a, '$.b')"],
    [current_timestamp(), "current_timestamp"],
    [date_trunc("day", "a"), "date_trunc('day', a)"],
    [unix_timestamp(), "unix_timestamp()"],
    [unix_timestamp("a", "yyyy"), "unix_timestamp(a, 'yyyy')"],
    [api.if(a.gt(1), lit("x"), b), "if(a > 1, 'x', b)"],
    [api.left("a", 3), "left(a, 3)"],
    [
      udf("./double.ts", "double", "bigint")("a", b.plus(1)),
      "udf('./double.ts', 'double', 'int64', a, b + 1)",
    ],
    [udf(new URL("file:///x.ts"), "default")(), "udf('file:///x.ts', 'default', 'string')"],
  ];
  for (const [column, sql] of cases) {
    assert.deepEqual(column.expression, parseExpression(sql), sql);
    assert.deepEqual(parseExpression(String(column)), column.expression, sql);
  }
});

Deno.test("Every function of the language is exported under each of its names, and makes its call", () => {
  const exports = api as unknown as Record<string, (...args: unknown[]) => Column>;
  for (const [name, { aliases = [] }] of Object.entries<FunctionSpec>(FUNCTIONS)) {
    for (const exported of [name, ...aliases]) {
      const make = exports[exported];
      assert(make !== undefined, `${exported} is not exported`);
      const args = Array.from({ length: 3 }, (_, n) => col(`c${n}`)).slice(0, make.length || 2);
      const { expression } = make(...(name === "current_timestamp" ? [] : args));
      assert(expression.kind === "call" && expression.name === name, exported);
      assert.deepEqual(parseExpression(String(new Column(expression))), expression);
    }
  }
});

Deno.test("A column name of any kind is read back from its text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (name) => {
    const { expression } = col(`\`${name.replaceAll("`", "``")}\``.replace(/^``$/, ""));
    assert.deepEqual(expression, { kind: "column", name });
    assert.deepEqual(parseExpression(String(new Column(expression))), expression);
  }));
});

Deno.test("Wrong use is refused with what is wanted", () => {
  assert.throws(() => col("a..b"), /Cannot read the column name "a\.\.b": wanted names with dots/);
  assert.throws(() => col("a."), TypeError);
  assert.throws(() => col("`a"), TypeError);
  assert.throws(() => lit(2n ** 63n), RangeError);
  assert.throws(() => lit(undefined as unknown as null), /Cannot use undefined as a value: wanted/);
  assert.throws(() => lit({} as unknown as null), TypeError);
  assert.throws(() => lit(new Date(NaN)), TypeError);
  assert.throws(() => a.cast("strng"), PlanError);
  assert.throws(() => udf("m", "f", "strng"), PlanError);
  assert.throws(() => expr("a +"), PlanError);
  assert.throws(() => a.when(b, c), /Cannot call when on "a": it must follow when\(\.\.\.\)/);
  assert.throws(() => a.otherwise(c), TypeError);
  assert.throws(() => expr("case a when 1 then 2 end").otherwise(3), TypeError);
  const closed = when(a, 1).otherwise(2);
  assert.throws(() => closed.otherwise(3), /otherwise\(\.\.\.\) was the last/);
  assert.throws(() => closed.when(a, 3), /otherwise\(\.\.\.\) was the last/);
});
