/**
 * Functions of numbers. What has no result (a logarithm of 0, say) is null, as in Spark.
 *
 * @module
 */
import type { ColumnData, DataType } from "../../batch.ts";
import { pack } from "../../batch.ts";
import { toInt64 } from "../cast.ts";
import { comparator } from "../compare.ts";
import { accept, castTo, combine, combineRows, constant, type Node } from "../node.ts";
import { arithmetic } from "../operators.ts";
import { commonType, nameOf, type NumericType } from "../types.ts";
import { checkCount, define, type FunctionSpec, rowwise } from "./define.ts";

export const NUMBER_FUNCTIONS = {
  abs: define("abs(number)", "Without the sign. The least integers have none other.", (args) => {
    checkCount("abs(number)", args, 1, 1);
    const number = accept(args[0]!, "number");
    const type = number.type as DataType;
    return combineRows(type, [number], ABS[type as NumericType]);
  }),
  round: define(
    "round(number[, digits])",
    "Rounded to so many digits (0) after the point, or before it if negative; halves away from 0.",
    round,
  ),
  floor: whole("floor", "The greatest whole number that is not above it, int64.", Math.floor),
  ceil: whole("ceil", "The least whole number that is not below it, int64.", Math.ceil, [
    "ceiling",
  ]),
  sqrt: double("sqrt", "The square root; NaN below 0.", Math.sqrt),
  exp: double("exp", "e to the power.", Math.exp),
  ln: double("ln", "The natural logarithm; null unless above 0.", positive(Math.log)),
  log: define(
    "log([base, ]number)",
    "The logarithm to a base, the natural one without; null unless above 0.",
    (args) => {
      checkCount("log([base, ]number)", args, 1, 2);
      const numbers = args.map((arg) => accept(arg, "float64"));
      const f = args.length === 1
        ? positive(Math.log)
        : (base: number, value: number) =>
          base <= 0 || value <= 0 ? null : Math.log(value) / Math.log(base);
      return combineRows("float64", numbers, f, true);
    },
  ),
  log10: double("log10", "The logarithm to base 10; null unless above 0.", positive(Math.log10)),
  log2: double("log2", "The logarithm to base 2; null unless above 0.", positive(Math.log2)),
  power: rowwise(
    "power(base, exponent)",
    "The base to the power of the exponent.",
    ["float64", "float64"],
    "float64",
    Math.pow,
    { aliases: ["pow"] },
  ),
  sign: double("sign", "-1.0, 0.0 or 1.0.", Math.sign, ["signum"]),
  mod: define("mod(dividend, divisor)", "As %.", (args) => {
    checkCount("mod(dividend, divisor)", args, 2, 2);
    return arithmetic("%", args[0]!, args[1]!);
  }),
  isnan: define("isnan(number)", "Whether it is NaN; false for null.", (args) => {
    checkCount("isnan(number)", args, 1, 1);
    return combine("boolean", [accept(args[0]!, "float64")], ([numbers], numRows) => {
      const output: boolean[] = new Array(numRows);
      for (let row = 0; row < numRows; row++) output[row] = Number.isNaN(numbers![row]);
      return output;
    }, false);
  }),
  greatest: extreme("greatest", "The greatest value; nulls are skipped.", 1),
  least: extreme("least", "The least value; nulls are skipped.", -1),
};

const ABS = {
  int32: (value: number) => Math.abs(value) | 0,
  int64: (value: bigint) => BigInt.asIntN(64, value < 0n ? -value : value),
  float32: Math.abs,
  float64: Math.abs,
};

function double(
  name: string,
  summary: string,
  f: (value: number) => number | null,
  aliases: readonly string[] = [],
): FunctionSpec {
  const nullable = summary.includes("null");
  return rowwise(`${name}(number)`, summary, ["float64"], "float64", f, { aliases, nullable });
}

function whole(
  name: string,
  summary: string,
  f: (value: number) => number,
  aliases: readonly string[] = [],
): FunctionSpec {
  return rowwise(
    `${name}(number)`,
    summary,
    ["number"],
    "int64",
    (value: number | bigint) => typeof value === "bigint" ? value : toInt64(f(value)),
    { aliases },
  );
}

function positive(f: (value: number) => number): (value: number) => number | null {
  return (value) => value <= 0 ? null : f(value);
}

function round(args: readonly Node[]): Node {
  checkCount("round(number[, digits])", args, 1, 2);
  const number = accept(args[0]!, "number");
  const type = number.type as DataType;
  const numbers = args.length === 1 ? [number] : [number, accept(args[1]!, "int32")];
  switch (type) {
    case "int64":
      return combineRows(
        type,
        numbers,
        (value: bigint, digits = 0) => BigInt.asIntN(64, roundWhole(value, digits)),
      );
    case "int32":
      return combineRows(
        type,
        numbers,
        (value: number, digits = 0) => Number(BigInt.asIntN(32, roundWhole(BigInt(value), digits))),
      );
    case "float32":
      return combineRows(
        type,
        numbers,
        (value: number, digits = 0) => Math.fround(roundDecimal(value, digits)),
      );
    default:
      return combineRows("float64", numbers, roundDecimal);
  }
}

/** Rounds the decimal text of a number, so that 2.675 to 2 digits is 2.68. */
function roundDecimal(value: number, digits = 0): number {
  if (!Number.isFinite(value)) return value;
  const [mantissa, exponent] = Math.abs(value).toExponential().split("e");
  const text = mantissa!.replace(".", "");
  // How many digits of the text stay.
  const keep = Number(exponent) + 1 + digits;
  if (keep >= text.length) return value === 0 ? 0 : value;
  if (keep < 0) return 0;
  const kept = BigInt(text.slice(0, keep)) + (text[keep]! >= "5" ? 1n : 0n);
  const rounded = Number(`${kept}e${-digits}`);
  return value < 0 && rounded !== 0 ? -rounded : rounded;
}

function roundWhole(value: bigint, digits: number): bigint {
  if (digits >= 0) return value;
  if (digits < -20) return 0n;
  const unit = 10n ** BigInt(-digits);
  const size = value < 0n ? -value : value;
  const rounded = (size + unit / 2n) / unit * unit;
  return value < 0n ? -rounded : rounded;
}

function extreme(name: string, summary: string, direction: 1 | -1): FunctionSpec {
  const usage = `${name}(value, value, ...)`;
  return define(usage, summary, (args) => {
    checkCount(usage, args, 2, Infinity);
    const type = commonType(args.map((arg) => arg.type));
    if (type === "void") return constant("void", null);
    const nodes = type === undefined ? undefined : args.map((arg) => castTo(arg, type));
    if (nodes === undefined || nodes.includes(undefined)) {
      throw new TypeError(
        `wanted values of one type, given ${args.map((arg) => nameOf(arg.type)).join(", ")}`,
      );
    }
    const common = type as DataType;
    const order = comparator(common);
    return combine(common, nodes as Node[], (columns: ColumnData[], numRows) => {
      const output: unknown[] = new Array(numRows).fill(null);
      for (const column of columns) {
        for (let row = 0; row < numRows; row++) {
          const value = column[row], best = output[row];
          if (value !== null && (best === null || order(value, best) * direction > 0)) {
            output[row] = value;
          }
        }
      }
      return pack(common, output);
    }, args.every((arg) => arg.nullable));
  });
}
