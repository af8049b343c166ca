/**
 * The operators, each as a loop of its own over the columns.
 *
 * @module
 */
import { BatchError } from "../../plugins/errors.ts";
import { type ColumnData, isNumeric, pack, sameType } from "../batch.ts";
import { allocate } from "./columnar.ts";
import { comparator, hasSimpleEquality } from "./compare.ts";
import { accept, castTo, combine, combineRows, constant, type Node, sharing } from "./node.ts";
import { commonType, nameOf, type NumericType, widerNumber } from "./types.ts";

/**
 * `+ - * %`, in the wider of the two types; strings count as float64. Integers wrap. `%` has the
 * dividend's sign; by zero it is null.
 * @throws {TypeError}
 */
export function arithmetic(operator: "+" | "-" | "*" | "%", left: Node, right: Node): Node {
  const [a, b] = [accept(left, "number"), accept(right, "number")];
  const type = widerNumber(a.type as NumericType, b.type as NumericType);
  const [rows, columns] = type === "int64"
    ? [BIGINT_ROWS[operator], BIGINT_LOOPS[operator]]
    : type === "int32"
    ? [INT32_ROWS[operator], operator === "*" ? multiplyInt32 : NUMBER_LOOPS[operator]]
    : [
      type === "float32" ? rounded(FLOAT_ROWS[operator]) : FLOAT_ROWS[operator],
      NUMBER_LOOPS[operator],
    ];
  const args = [castTo(a, type)!, castTo(b, type)!];
  const nullable = operator === "%" || args.some((arg) => arg.nullable);
  return combine(type, args, ([x, y], numRows) => {
    if (columns !== undefined && !Array.isArray(x) && !Array.isArray(y)) {
      const output = allocate(type, numRows);
      // deno-lint-ignore no-explicit-any -- both are arrays of `type`
      columns(x as any, y as any, output as any);
      return output;
    }
    return pack(type, nullableRows(x!, y!, numRows, rows));
  }, nullable);
}

/** `/`: always float64; by zero it is null. */
export function divide(left: Node, right: Node): Node {
  const args = [accept(left, "float64"), accept(right, "float64")];
  return combineRows(
    "float64",
    args,
    (a: number, b: number) => b === 0 ? null : a / b,
    true,
  );
}

/** `div`: the whole part of the quotient, int64; by zero it is null. */
export function divideWhole(left: Node, right: Node): Node {
  const args = [left, right].map((arg) => castTo(accept(arg, "whole"), "int64")!);
  return combineRows(
    "int64",
    args,
    (a: bigint, b: bigint) => b === 0n ? null : BigInt.asIntN(64, a / b),
    true,
  );
}

/** `-x`. Integers wrap. */
export function negate(operand: Node): Node {
  const arg = accept(operand, "number");
  switch (arg.type) {
    case "int32":
      return combineRows(arg.type, [arg], (value: number) => -value | 0);
    case "int64":
      return combineRows(arg.type, [arg], (value: bigint) => BigInt.asIntN(64, -value));
    case "float32":
      return combineRows(arg.type, [arg], (value: number) => -value);
    default:
      return combineRows("float64", [arg], (value: number) => -value);
  }
}

/** A comparison's name. */
export type Comparison = "=" | "!=" | "<" | "<=" | ">" | ">=";

/**
 * A comparison in the common type of both sides. A string next to a number is compared as float64
 * (Spark casts it to the number's type, which would cut '3.5' to 3), next to a timestamp or a boolean
 * as one.
 */
export function compare(operator: Comparison, left: Node, right: Node): Node {
  const [a, b] = comparable(left, right);
  if (a.type === "void") return constant("boolean", null);
  const { type } = a;
  if (type !== "int64" && (type === "timestamp" || isNumeric(type))) {
    return booleans(a, b, NUMBER_COMPARISONS[operator]);
  }
  if (hasSimpleEquality(type) && (operator === "=" || operator === "!=")) {
    return booleans(a, b, operator === "=" ? equal : notEqual);
  }
  const test = ORDER_TESTS[operator];
  const order = comparator(type);
  return combineRows("boolean", [a, b], (x, y) => test(order(x, y)));
}

/** `<=>`: equality under which null equals null; never null itself. */
export function nullSafeEqual(left: Node, right: Node): Node {
  const [a, b] = comparable(left, right);
  if (a.type === "void") return constant("boolean", true);
  const order = comparator(a.type);
  return combine("boolean", [a, b], ([x, y], numRows) => {
    const output = new Array(numRows);
    for (let row = 0; row < numRows; row++) {
      const p = x![row], q = y![row];
      output[row] = p === null || q === null ? p === q : order(p, q) === 0;
    }
    return output;
  }, false);
}

/** `x in (...)`: null when nothing is equal but something is null. */
export function isIn(operand: Node, items: readonly Node[]): Node {
  const literals = items.every((item) => (item.literal?.value ?? null) !== null);
  const types = [operand, ...items].map((node) => node.type);
  const type = commonType(types);
  if (
    literals && typeof type === "string" && type !== "void" && hasSimpleEquality(type) &&
    types.every((each) => each === type)
  ) {
    const wanted = new Set(items.map((item) => item.literal!.value));
    return combineRows("boolean", [operand], (value) => wanted.has(value));
  }
  return sharing(operand, (shared) => items.map((item) => compare("=", shared, item)).reduce(or));
}

/** `x between low and high`: `x >= low and x <= high`. */
export function between(operand: Node, low: Node, high: Node): Node {
  return sharing(
    operand,
    (shared) => and(compare(">=", shared, low), compare("<=", shared, high)),
  );
}

/** Three-valued `and`: false wins over null. The right side runs code of the user's only where the left is not false. */
export function and(left: Node, right: Node): Node {
  return logical(left, right, false);
}

/** Three-valued `or`: true wins over null. */
export function or(left: Node, right: Node): Node {
  return logical(left, right, true);
}

/** Three-valued `not`. */
export function not(operand: Node): Node {
  return combineRows("boolean", [accept(operand, "boolean")], (value: boolean) => !value);
}

/** `x is null` and `x is not null`. */
export function nullTest(operand: Node, wanted: boolean): Node {
  return combine("boolean", [operand], ([column], numRows) => {
    const output = new Array(numRows);
    for (let row = 0; row < numRows; row++) output[row] = (column![row] === null) === wanted;
    return output;
  }, false);
}

/** Evaluates a node for some of the rows, in the order of their positions. */
export function evaluateAt(
  node: Node,
  batch: Parameters<Node["evaluate"]>[0],
  now: number,
  rows: readonly number[],
): ColumnData {
  if (rows.length === batch.numRows) return node.evaluate(batch, now);
  try {
    return node.evaluate(batch.take(rows), now);
  } catch (error) {
    if (!(error instanceof BatchError)) throw error;
    throw new BatchError(new Map([...error.rows].map(([at, cause]) => [rows[at]!, cause])));
  }
}

function logical(left: Node, right: Node, winner: boolean): Node {
  const a = accept(left, "boolean"), b = accept(right, "boolean");
  return {
    type: "boolean",
    nullable: a.nullable || b.nullable,
    throws: a.throws || b.throws,
    evaluate(batch, now) {
      const { numRows } = batch;
      const x = a.evaluate(batch, now);
      const output = new Array(numRows);
      if (!b.throws) {
        const y = b.evaluate(batch, now);
        for (let row = 0; row < numRows; row++) output[row] = decide(x[row], y[row], winner);
        return output;
      }
      const open: number[] = [];
      for (let row = 0; row < numRows; row++) {
        if (x[row] === winner) output[row] = winner;
        else open.push(row);
      }
      const y = evaluateAt(b, batch, now, open);
      for (const [at, row] of open.entries()) output[row] = decide(x[row], y[at], winner);
      return output;
    },
  };
}

function decide(x: unknown, y: unknown, winner: boolean): boolean | null {
  if (x === winner || y === winner) return winner;
  return x === null || y === null ? null : !winner;
}

function comparable(left: Node, right: Node): [Node, Node] {
  const [a, b] = [left.type, right.type];
  if (a !== "void" && b !== "void" && sameType(a, b)) return [left, right];
  let type = commonType([a, b]);
  if (type === "string") {
    const other = a === "string" ? b : a;
    if (other === "boolean" || other === "timestamp") type = other;
    else if (other !== "void" && isNumeric(other)) type = "float64";
  }
  if (type === "void") return [left, right];
  const both = type && [castTo(left, type), castTo(right, type)];
  if (both?.[0] === undefined || both[1] === undefined) {
    throw new TypeError(
      `wanted two values of comparable types, given ${nameOf(a)} and ${nameOf(b)}`,
    );
  }
  return [both[0], both[1]];
}

type Test = (a: ColumnData, b: ColumnData, output: boolean[]) => void;

function booleans(a: Node, b: Node, loop: Test): Node {
  return combine("boolean", [a, b], ([x, y], numRows) => {
    const output: (boolean | null)[] = new Array(numRows);
    loop(x!, y!, output as boolean[]);
    for (const column of [x!, y!]) {
      if (!Array.isArray(column)) continue;
      for (let row = 0; row < numRows; row++) if (column[row] === null) output[row] = null;
    }
    return output;
  });
}

function nullableRows(
  x: ColumnData,
  y: ColumnData,
  numRows: number,
  // deno-lint-ignore no-explicit-any -- numbers or bigints
  f: (a: any, b: any) => unknown,
): unknown[] {
  const output: unknown[] = new Array(numRows);
  for (let row = 0; row < numRows; row++) {
    const a = x[row], b = y[row];
    output[row] = a === null || b === null ? null : f(a, b);
  }
  return output;
}

/** With the precision of a float32, which a typed array would give by itself. */
function rounded(f: (a: number, b: number) => number | null): typeof f {
  return (a, b) => {
    const result = f(a, b);
    return result === null ? null : Math.fround(result);
  };
}

const ORDER_TESTS: Readonly<Record<Comparison, (order: number) => boolean>> = {
  "=": (order) => order === 0,
  "!=": (order) => order !== 0,
  "<": (order) => order < 0,
  "<=": (order) => order <= 0,
  ">": (order) => order > 0,
  ">=": (order) => order >= 0,
};

// The loops below are spelled out: one shared loop that calls a function is several times slower.

const equal: Test = (a, b, output) => {
  for (let row = 0; row < output.length; row++) output[row] = a[row] === b[row];
};
const notEqual: Test = (a, b, output) => {
  for (let row = 0; row < output.length; row++) output[row] = a[row] !== b[row];
};
// NaN equals NaN and is above all numbers.
const equalFloats: Test = (a, b, output) => {
  for (let row = 0; row < output.length; row++) {
    const x = a[row], y = b[row];
    output[row] = x === y || x !== x && y !== y;
  }
};
const notEqualFloats: Test = (a, b, output) => {
  for (let row = 0; row < output.length; row++) {
    const x = a[row], y = b[row];
    output[row] = x !== y && (x === x || y === y);
  }
};
const below: Test = (a, b, output) => {
  for (let row = 0; row < output.length; row++) {
    const x = a[row]!, y = b[row]!;
    output[row] = x < y || y !== y && x === x;
  }
};
const belowOrEqual: Test = (a, b, output) => {
  for (let row = 0; row < output.length; row++) {
    const x = a[row]!, y = b[row]!;
    output[row] = x <= y || y !== y;
  }
};
const NUMBER_COMPARISONS: Readonly<Record<Comparison, Test>> = {
  "=": equalFloats,
  "!=": notEqualFloats,
  "<": below,
  "<=": belowOrEqual,
  ">": (a, b, output) => below(b, a, output),
  ">=": (a, b, output) => belowOrEqual(b, a, output),
};

type Loop<Column> = (a: Column, b: Column, output: Column) => void;

const NUMBER_LOOPS: Partial<Record<string, Loop<Float64Array>>> = {
  "+": (a, b, output) => {
    for (let row = 0; row < output.length; row++) output[row] = a[row]! + b[row]!;
  },
  "-": (a, b, output) => {
    for (let row = 0; row < output.length; row++) output[row] = a[row]! - b[row]!;
  },
  "*": (a, b, output) => {
    for (let row = 0; row < output.length; row++) output[row] = a[row]! * b[row]!;
  },
};
const multiplyInt32: Loop<Int32Array> = (a, b, output) => {
  for (let row = 0; row < output.length; row++) output[row] = Math.imul(a[row]!, b[row]!);
};
const BIGINT_LOOPS: Partial<Record<string, Loop<BigInt64Array>>> = {
  "+": (a, b, output) => {
    for (let row = 0; row < output.length; row++) output[row] = a[row]! + b[row]!;
  },
  "-": (a, b, output) => {
    for (let row = 0; row < output.length; row++) output[row] = a[row]! - b[row]!;
  },
  "*": (a, b, output) => {
    for (let row = 0; row < output.length; row++) output[row] = a[row]! * b[row]!;
  },
};
const INT32_ROWS = {
  "+": (a: number, b: number) => a + b | 0,
  "-": (a: number, b: number) => a - b | 0,
  "*": Math.imul,
  "%": (a: number, b: number) => b === 0 ? null : a % b | 0,
};
const BIGINT_ROWS = {
  "+": (a: bigint, b: bigint) => BigInt.asIntN(64, a + b),
  "-": (a: bigint, b: bigint) => BigInt.asIntN(64, a - b),
  "*": (a: bigint, b: bigint) => BigInt.asIntN(64, a * b),
  "%": (a: bigint, b: bigint) => b === 0n ? null : a % b,
};
const FLOAT_ROWS = {
  "+": (a: number, b: number) => a + b,
  "-": (a: number, b: number) => a - b,
  "*": (a: number, b: number) => a * b,
  "%": (a: number, b: number) => b === 0 ? null : a % b,
};
