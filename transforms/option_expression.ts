/**
 * SQL expressions among the options of transforms: how they are checked, compiled and read.
 *
 * @module
 */
import * as v from "valibot";
import { type Schema, typeName } from "../engine/batch.ts";
import {
  bindExpression,
  type CompiledExpression,
  loadUdfs,
  type Udfs,
} from "../engine/expressions/compile.ts";
import {
  parseExpression,
  parseSchema,
  parseType,
  referencedColumns,
} from "../engine/expressions/parser.ts";
import { PlanError } from "../plugins/errors.ts";
import { importModule } from "../plugins/loader.ts";

/** An expression as options carry it; YAML makes numbers and booleans of some. */
export type Sql = string | number | boolean;

/** Where an option is, inside the options. */
export type OptionPath = readonly (string | number)[];

/** An option that is a SQL expression. */
export function expressionOption() {
  return v.pipe(
    v.union([v.string(), v.number(), v.boolean()], "a SQL expression"),
    parses<Sql>(parseExpression, "a SQL expression"),
  );
}

/** An option that is a SQL expression as text: numbers and booleans are something else there. */
export function expressionText() {
  return v.pipe(v.string(), parses<string>(parseExpression, "a SQL expression"));
}

/** An option that is a type in DDL, such as `list<int32>`. */
export function typeOption() {
  return v.pipe(v.string(), parses<string>(parseType, "a type"));
}

/** An option that is a schema in DDL, such as `a int, b array<string>`. */
export function schemaOption() {
  const wanted = 'columns and their types, such as "a int, b array<string>"';
  return v.pipe(v.string(), parses<string>(parseSchema, wanted));
}

/** An option that is the name of a column. */
export function nameOption() {
  return v.pipe(v.string(), v.nonEmpty("the name of a column"));
}

/**
 * Compiles an expression of the options.
 * @throws {PlanError} whose path is the option's
 */
export function bindOption(
  sql: Sql,
  path: OptionPath,
  input: Schema,
  udfs?: Udfs,
): CompiledExpression {
  return at(path, () => bindExpression(String(sql), input, udfs));
}

/**
 * Compiles an expression of the options that must be true or false.
 * @throws {PlanError} whose path is the option's
 */
export function bindCondition(
  sql: Sql,
  path: OptionPath,
  input: Schema,
  udfs?: Udfs,
): CompiledExpression {
  const bound = bindOption(sql, path, input, udfs);
  if (bound.type === "boolean") return bound;
  throw new PlanError(
    `Cannot use "${sql}" as a condition: it is ${typeName(bound.type)}, wanted boolean`,
    { path },
  );
}

/**
 * Loads the functions that expressions of the options call.
 * @throws {PlanError} whose path is the option's
 */
export async function loadOptionUdfs(
  options: Iterable<readonly [path: OptionPath, sql: Sql | undefined]>,
  baseUrl: string,
): Promise<Udfs> {
  const udfs = new Map<string, (...values: unknown[]) => unknown>();
  for (const [path, sql] of options) {
    if (sql === undefined) continue;
    try {
      const loaded = await loadUdfs([String(sql)], importModule, baseUrl);
      for (const [key, f] of loaded) udfs.set(key, f);
    } catch (error) {
      throw error instanceof PlanError ? error.within(...path) : error;
    }
  }
  return udfs;
}

/** The columns that expressions read; undefined: all of them (`*`). */
export function columnsRead(expressions: readonly Sql[]): ReadonlySet<string> | undefined {
  const columns = new Set<string>();
  for (const sql of expressions) {
    const read = referencedColumns(String(sql));
    if (read === undefined) return undefined;
    for (const name of read) columns.add(name);
  }
  return columns;
}

/** Does work for one option, to which errors will lead. */
export function at<T>(path: OptionPath, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof PlanError ? error.within(...path) : error;
  }
}

/** A check that a text can be parsed; the message says where it cannot. */
function parses<T extends Sql>(parse: (text: string) => unknown, wanted: string) {
  return v.check<T, (issue: v.CheckIssue<T>) => string>(
    (given) => fault(parse, given) === undefined,
    ({ input }) => `${wanted}; ${fault(parse, input)}`,
  );
}

/** What the parser has against a text, without naming the text again. */
function fault(parse: (text: string) => unknown, given: Sql): string | undefined {
  const text = String(given);
  try {
    parse(text);
  } catch (error) {
    const { message } = error as Error;
    const quoted = `${JSON.stringify(text)}: `;
    const start = message.indexOf(quoted);
    return start < 0 ? message : message.slice(start + quoted.length);
  }
}
