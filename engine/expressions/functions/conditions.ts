/**
 * The operators by name, and the functions that choose between values.
 *
 * @module
 */
import { type DataType, pack } from "../../batch.ts";
import { castTo, constant, type Node, sharing } from "../node.ts";
import {
  and,
  arithmetic,
  between,
  compare,
  divide,
  divideWhole,
  evaluateAt,
  isIn,
  negate,
  not,
  nullSafeEqual,
  nullTest,
  or,
} from "../operators.ts";
import { commonType, type MaybeType, nameOf } from "../types.ts";
import { checkCount, define, type FunctionSpec } from "./define.ts";
import { concat } from "./strings.ts";

/** What stands between, before or after its operands; `usage` shows how. */
export const OPERATORS: Readonly<Record<string, FunctionSpec>> = {
  "+": binary("a + b", "The sum.", (a, b) => arithmetic("+", a, b)),
  "-": binary("a - b", "The difference.", (a, b) => arithmetic("-", a, b)),
  "*": binary("a * b", "The product.", (a, b) => arithmetic("*", a, b)),
  "/": binary("a / b", "The quotient, float64; null by zero.", divide),
  "%": binary(
    "a % b",
    "The remainder, with the sign of a; null by zero.",
    (a, b) => arithmetic("%", a, b),
  ),
  div: binary("a div b", "The whole part of the quotient, int64; null by zero.", divideWhole),
  "||": binary("a || b", "As concat.", (a, b) => concat([a, b])),
  "=": binary("a = b", "Equal.", (a, b) => compare("=", a, b)),
  "!=": binary("a != b", "Not equal.", (a, b) => compare("!=", a, b)),
  "<": binary("a < b", "Less.", (a, b) => compare("<", a, b)),
  "<=": binary("a <= b", "Less or equal.", (a, b) => compare("<=", a, b)),
  ">": binary("a > b", "Greater.", (a, b) => compare(">", a, b)),
  ">=": binary("a >= b", "Greater or equal.", (a, b) => compare(">=", a, b)),
  "<=>": binary("a <=> b", "Equal, or both null.", nullSafeEqual),
  and: binary("a and b", "Both; false wins over null.", and),
  or: binary("a or b", "At least one; true wins over null.", or),
  not: unary("not a", "The opposite.", not),
  negative: unary("-a", "The negative.", negate),
  in: define(
    "a in (b, ...)",
    "Whether one of them is equal; null when unknown.",
    ([a, ...items]) => isIn(a!, items),
  ),
  between: define("a between b and c", "a >= b and a <= c.", (args) => {
    checkCount("a between b and c", args, 3, 3);
    return between(args[0]!, args[1]!, args[2]!);
  }),
};

export const CONDITION_FUNCTIONS = {
  isnull: unary("isnull(value)", "Whether it is null.", (value) => nullTest(value, true)),
  isnotnull: unary(
    "isnotnull(value)",
    "Whether it is not null.",
    (value) => nullTest(value, false),
  ),
  if: define("if(condition, value, otherwise)", "One value or the other.", (args) => {
    checkCount("if(condition, value, otherwise)", args, 3, 3);
    return caseWhen([{ when: args[0]!, then: args[1]! }], args[2]!);
  }),
  coalesce: define(
    "coalesce(value, ...)",
    "The first value that is not null.",
    (args) => {
      checkCount("coalesce(value, ...)", args, 1, Infinity);
      return choose(args.map((then) => ({ then })));
    },
    ["nvl", "ifnull"],
  ),
  nullif: define("nullif(a, b)", "a, or null when it is equal to b.", (args) => {
    checkCount("nullif(a, b)", args, 2, 2);
    const [a, b] = args as [Node, Node];
    return sharing(
      a,
      (shared) =>
        caseWhen([{ when: compare("=", shared, b), then: constant("void", null) }], shared),
    );
  }),
};

/** `case when ... then ... else ... end`. Code of the user's runs only for the rows that come to it. */
export function caseWhen(
  branches: readonly { readonly when: Node; readonly then: Node }[],
  otherwise: Node,
): Node {
  const checked = branches.map(({ when, then }) => {
    if (when.type !== "boolean" && when.type !== "void") {
      throw new TypeError(`wanted a condition of type boolean, given ${nameOf(when.type)}`);
    }
    return { when: castTo(when, "boolean")!, then };
  });
  return choose([...checked, { when: constant("boolean", true), then: otherwise }]);
}

/** The value of the first branch whose condition is true; without a condition, that is not null. */
function choose(branches: readonly { readonly when?: Node; readonly then: Node }[]): Node {
  const values = branches.map((branch) => branch.then);
  const type = resultType(values.map((value) => value.type));
  if (type === "void") return constant("void", null);
  const cast = branches.map(({ when, then }) => ({ when, then: castTo(then, type)! }));
  return {
    type,
    nullable: branches[0]!.when === undefined
      ? values.every((value) => value.nullable)
      : values.some((value) => value.nullable),
    throws: branches.some(({ when, then }) => when?.throws || then.throws),
    evaluate(batch, now) {
      const output: unknown[] = new Array(batch.numRows).fill(null);
      let open = Array.from(output.keys());
      // The values of a node for the rows in `rows`, and where the value of the n-th of them is.
      const read = (node: Node, rows: readonly number[]) =>
        node.throws
          ? { data: evaluateAt(node, batch, now, rows), sparse: true }
          : { data: node.evaluate(batch, now), sparse: false };
      for (const { when, then } of cast) {
        if (open.length === 0) break;
        let hits = open;
        const rest: number[] = [];
        if (when !== undefined) {
          const { data, sparse } = read(when, open);
          hits = [];
          for (let n = 0; n < open.length; n++) {
            const row = open[n]!;
            (data[sparse ? n : row] === true ? hits : rest).push(row);
          }
          if (hits.length === 0) continue;
        }
        const { data, sparse } = read(then, hits);
        for (let n = 0; n < hits.length; n++) {
          const row = hits[n]!;
          const value = output[row] = data[sparse ? n : row];
          if (when === undefined && value === null) rest.push(row);
        }
        open = rest;
      }
      return pack(type, output);
    },
  };
}

function resultType(types: readonly MaybeType[]): DataType | "void" {
  const type = commonType(types);
  if (type === undefined) {
    throw new TypeError(`wanted values of one type, given ${types.map(nameOf).join(", ")}`);
  }
  return type;
}

function unary(usage: string, summary: string, f: (a: Node) => Node): FunctionSpec {
  return define(usage, summary, (args) => {
    checkCount(usage, args, 1, 1);
    return f(args[0]!);
  });
}

function binary(usage: string, summary: string, f: (a: Node, b: Node) => Node): FunctionSpec {
  return define(usage, summary, (args) => {
    checkCount(usage, args, 2, 2);
    return f(args[0]!, args[1]!);
  });
}
