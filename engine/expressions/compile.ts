/**
 * Expressions to functions over batches.
 *
 * @module
 */
import { BatchError, PlanError } from "../../plugins/errors.ts";
import { nearest } from "../../plugins/nearest.ts";
import {
  type Batch,
  type ColumnData,
  type DataType,
  mismatch,
  pack,
  type Schema,
  typeName,
} from "../batch.ts";
import { childrenOf, columnsOf, type Expression, outputName, print } from "./expression.ts";
import { functionOf, FUNCTIONS } from "./functions.ts";
import { caseWhen, OPERATORS } from "./functions/conditions.ts";
import { itemAt, structOf } from "./functions/lists.ts";
import { accept, castTo, combineRows, constant, type Node, sharing } from "./node.ts";
import { compare } from "./operators.ts";
import { parseExpression, parseType } from "./parser.ts";
import { nameOf } from "./types.ts";

/** An expression made for the batches of one schema. */
export interface CompiledExpression {
  readonly type: DataType;
  /** Whether there may be nulls. */
  readonly nullable: boolean;
  /** The columns it reads. */
  readonly columns: ReadonlySet<string>;
  /**
   * One value a row. The column of a bare name is the batch's own, not a copy.
   * @param now the time of the batch in ms since 1970; give expressions of one batch the same
   * @throws {BatchError} naming the rows for which a function of the user's threw
   */
  evaluate(batch: Batch, now?: number): ColumnData;
}

/** Loads a module; `specifier` is as the user wrote it. */
export type ImportModule = (
  specifier: string,
  baseUrl: string,
) => Promise<Record<string, unknown>>;

/** Functions of the user's that were loaded; see {@linkcode loadUdfs}. */
export type Udfs = ReadonlyMap<string, (...values: unknown[]) => unknown>;

/** What {@linkcode compileExpression} needs when the expression calls a `udf`. */
export interface CompileOptions {
  readonly importModule?: ImportModule;
  /** What the modules of `udf` are relative to; ends in `/`. */
  readonly baseUrl?: string;
}

/**
 * Loads the functions it calls and compiles an expression.
 * @throws {PlanError}
 */
export async function compileExpression(
  sql: string | Expression,
  input: Schema,
  { importModule, baseUrl = "" }: CompileOptions = {},
): Promise<CompiledExpression> {
  const expression = toExpression(sql);
  return bindExpression(
    expression,
    input,
    importModule && await loadUdfs([expression], importModule, baseUrl),
  );
}

/**
 * Compiles an expression. Without `udfs` its types are checked all the same, but a call of a `udf`
 * throws when it is evaluated.
 * @throws {PlanError} naming the function, what it wants and what it is given
 */
export function bindExpression(
  sql: string | Expression,
  input: Schema,
  udfs: Udfs = new Map(),
): CompiledExpression {
  const expression = toExpression(sql);
  let node: Node;
  try {
    node = accept(new Binder(input, udfs).bind(expression), "any");
  } catch (error) {
    throw new PlanError(`Cannot compile "${print(expression)}": ${(error as Error).message}`, {
      cause: error,
    });
  }
  return {
    type: node.type as DataType,
    nullable: node.nullable,
    columns: columnsOf(expression)!,
    evaluate: (batch, now = Date.now()) => node.evaluate(batch, now),
  };
}

/**
 * Loads the functions that expressions call by `udf(module, export, type, ...)`.
 * @throws {PlanError} when a module or export is missing, or is no function
 */
export async function loadUdfs(
  expressions: readonly (string | Expression)[],
  importModule: ImportModule,
  baseUrl: string,
): Promise<Udfs> {
  const udfs = new Map<string, (...values: unknown[]) => unknown>();
  for (const call of expressions.flatMap((sql) => udfCalls(toExpression(sql)))) {
    const { module, name } = udfHead(call);
    udfs.set(udfKey(module, name), await loadFunction(module, name, importModule, baseUrl));
  }
  return udfs;
}

/** Whether an expression calls a `udf`. */
export function callsUdf(expression: Expression): boolean {
  return udfCalls(expression).length > 0;
}

/**
 * Loads one function of a module.
 * @throws {PlanError}
 */
export async function loadFunction(
  module: string,
  name: string,
  importModule: ImportModule,
  baseUrl: string,
): Promise<(...values: unknown[]) => unknown> {
  let exports: Record<string, unknown>;
  try {
    exports = await importModule(module, baseUrl);
  } catch (cause) {
    throw cause instanceof PlanError ? cause : new PlanError(
      `Cannot load "${module}": ${(cause as Error).message}`,
      { cause },
    );
  }
  const value = Object.hasOwn(exports, name) ? exports[name] : undefined;
  if (typeof value !== "function") {
    const functions = Object.keys(exports).filter((key) => typeof exports[key] === "function");
    throw new PlanError(
      `Cannot use "${name}" of "${module}": it exports no such function; ` +
        nearest(name, functions),
    );
  }
  return value as (...values: unknown[]) => unknown;
}

/**
 * Calls a function of the user's for every row, nulls included. undefined is null.
 * @throws {BatchError} naming the rows for which it threw or gave a value of another type
 */
export function callRows(
  f: (...values: unknown[]) => unknown,
  type: DataType,
  columns: readonly ColumnData[],
  numRows: number,
): ColumnData {
  const output: unknown[] = new Array(numRows);
  const failed = new Map<number, Error>();
  for (let row = 0; row < numRows; row++) {
    try {
      output[row] = checkResult(type, f(...columns.map((column) => column[row])));
    } catch (error) {
      failed.set(row, error instanceof Error ? error : new Error(String(error)));
    }
  }
  if (failed.size > 0) throw new BatchError(failed);
  return pack(type, output);
}

/** A result of a function of the user's, null in place of undefined. */
export function checkResult(type: DataType, value: unknown): unknown {
  const wrong = mismatch(type, value);
  if (wrong !== undefined) throw new TypeError(`The function's result does not fit: ${wrong}`);
  return value ?? null;
}

class Binder {
  readonly #input: Schema;
  readonly #udfs: Udfs;

  constructor(input: Schema, udfs: Udfs) {
    this.#input = input;
    this.#udfs = udfs;
  }

  bind(expression: Expression): Node {
    switch (expression.kind) {
      case "literal":
        if (expression.value === 2n ** 63n) {
          throw new RangeError(`${expression.value} is out of the range of int64`);
        }
        return constant(expression.type ?? "void", expression.value);
      case "column":
        return this.#column(expression.name);
      case "field":
        return fieldOf(this.bind(expression.of), expression.name);
      case "item": {
        const of = this.bind(expression.of);
        const { index } = expression;
        if (
          typeof of.type === "object" && "struct" in of.type && index.kind === "literal" &&
          typeof index.value === "string"
        ) return fieldOf(of, index.value);
        return naming("[]", () => itemAt(of, this.bind(index), (at) => at));
      }
      case "cast": {
        const of = this.bind(expression.of);
        const cast = castTo(of, expression.type);
        if (cast === undefined) {
          throw new TypeError(
            `there is no cast from ${nameOf(of.type)} to ${typeName(expression.type)}`,
          );
        }
        return cast;
      }
      case "case":
        return this.#case(expression);
      case "alias":
        return this.bind(expression.of);
      case "star":
        throw new SyntaxError("* stands for columns, it has no value");
      case "call":
        return this.#call(expression);
    }
  }

  #column(name: string): Node {
    const field = this.#input.find(name);
    if (field === undefined) {
      throw new RangeError(`there is no column "${name}"; ${nearest(name, this.#input.names)}`);
    }
    return {
      type: field.type,
      nullable: field.nullable !== false,
      throws: false,
      evaluate: (batch) => batch.column(name),
    };
  }

  #case({ operand, whens, otherwise }: Extract<Expression, { kind: "case" }>): Node {
    const branches = whens.map(({ when, then }) => ({
      when: this.bind(when),
      then: this.bind(then),
    }));
    const last = otherwise === undefined ? constant("void", null) : this.bind(otherwise);
    if (operand === undefined) return naming("case", () => caseWhen(branches, last));
    const value = this.bind(operand);
    return naming("case", () =>
      sharing(value, (shared) =>
        caseWhen(
          branches.map(({ when, then }) => ({ when: compare("=", shared, when), then })),
          last,
        )));
  }

  #call(call: Call): Node {
    const { name } = call;
    if (name === "udf") return this.#udf(call);
    const args = call.args.map((arg) => this.bind(arg));
    if (name === "struct") {
      const names = call.args.map((arg, at) =>
        arg.kind === "alias" || arg.kind === "column" || arg.kind === "field"
          ? outputName(arg)
          : `col${at + 1}`
      );
      return naming(name, () => structOf(names, args.map((arg) => accept(arg, "any"))));
    }
    const spec = (Object.hasOwn(OPERATORS, name) ? OPERATORS[name] : undefined) ??
      functionOf(name);
    if (spec === undefined) {
      const known = [...Object.keys(FUNCTIONS), "struct", "udf"];
      throw new RangeError(`there is no function "${name}"; ${nearest(name, known)}`);
    }
    return naming(name, () => spec.bind(args));
  }

  #udf(call: Call): Node {
    const { module, name, returns } = udfHead(call);
    const args = call.args.slice(3).map((arg) => accept(this.bind(arg), "any"));
    const f = this.#udfs.get(udfKey(module, name));
    return {
      type: returns,
      nullable: true,
      throws: true,
      evaluate(batch, now) {
        if (f === undefined) throw new Error(`"${name}" of "${module}" is not loaded`);
        return callRows(
          f,
          returns,
          args.map((arg) => arg.evaluate(batch, now)),
          batch.numRows,
        );
      },
    };
  }
}

type Call = Extract<Expression, { kind: "call" }>;

/** Says which function an error is about. */
function naming(name: string, bind: () => Node): Node {
  try {
    return bind();
  } catch (error) {
    const { message } = error as Error;
    throw new TypeError(message.startsWith("in ") ? message : `in ${name}: ${message}`, {
      cause: error,
    });
  }
}

/** A field of a struct; of a list of structs, the list of their fields. */
function fieldOf(of: Node, name: string): Node {
  const { type } = of;
  const struct = typeof type !== "object"
    ? undefined
    : "struct" in type
    ? type.struct
    : "list" in type && typeof type.list === "object" && "struct" in type.list
    ? type.list.struct
    : undefined;
  if (struct === undefined) {
    throw new TypeError(`cannot read field "${name}" of ${nameOf(type)}: wanted a struct`);
  }
  const field = struct.find((each) => each.name === name);
  if (field === undefined) {
    throw new RangeError(
      `there is no field "${name}"; ${nearest(name, struct.map((each) => each.name))}`,
    );
  }
  const read = (value: Record<string, unknown>) => value[name] ?? null;
  if (typeof type === "object" && "struct" in type) {
    return combineRows(field.type, [of], read, of.nullable || field.nullable !== false);
  }
  return combineRows(
    { list: field.type },
    [of],
    (items: ArrayLike<Record<string, unknown> | null>) =>
      Array.from(items, (item) => item === null ? null : read(item)),
  );
}

function udfCalls(expression: Expression): Call[] {
  const inner = childrenOf(expression).flatMap(udfCalls);
  return expression.kind === "call" && expression.name === "udf" ? [expression, ...inner] : inner;
}

function udfHead({ args }: Call): { module: string; name: string; returns: DataType } {
  const [module, name, returns] = args.slice(0, 3).map((arg) =>
    arg.kind === "literal" && typeof arg.value === "string" ? arg.value : undefined
  );
  if (module === undefined || name === undefined || returns === undefined) {
    throw new PlanError(
      "Cannot use udf: it is called udf('module', 'export', 'type', value, ...) " +
        "with text literals for the first three",
    );
  }
  return { module, name, returns: parseType(returns) };
}

function udfKey(module: string, name: string): string {
  return JSON.stringify([module, name]);
}

function toExpression(sql: string | Expression): Expression {
  return typeof sql === "string" ? parseExpression(sql) : sql;
}
