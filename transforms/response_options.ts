/**
 * What transforms that make replies say about a response: its status and headers.
 *
 * @module
 */
import * as v from "valibot";
import { type DataType, type Schema, typeName } from "../engine/batch.ts";
import type { CompiledExpression, Udfs } from "../engine/expressions/compile.ts";
import {
  headerFault,
  type HeaderField,
  HEADERS_TYPE,
  isResponse,
} from "../engine/http/encode_reply.ts";
import { PlanError } from "../plugins/errors.ts";
import { bindOption, expressionText, type OptionPath } from "./option_expression.ts";

/** The entries of options that describe a response. */
export const responseEntries = {
  statusCode: v.pipe(
    v.optional(v.union([
      v.pipe(v.number(), v.integer(), v.minValue(200), v.maxValue(599)),
      expressionText(),
    ], "a status from 200 to 599, or a SQL expression")),
    v.description("HTTP status from 200 to 599, or a SQL expression that makes one."),
  ),
  headers: v.pipe(
    v.optional(v.record(v.string(), v.string(), "a map of names to text")),
    v.description("Headers by name."),
  ),
  contentType: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty())),
    v.description("Content type. Default: by the type of the value."),
  ),
};

/** Options of a response, checked. */
export type ResponseOptions = v.InferOutput<
  ReturnType<typeof v.strictObject<typeof responseEntries, undefined>>
>;

/** The type of a response with an entity of a type. */
export function responseType(entity: DataType): DataType {
  return {
    struct: [
      { name: "statusCode", type: "int32" },
      { name: "headers", type: HEADERS_TYPE },
      { name: "entity", type: entity },
    ],
  };
}

/**
 * The headers that the options ask for, or null for none.
 * @throws {PlanError} when one cannot be sent
 */
export function headersOf({ headers = {}, contentType }: ResponseOptions): HeaderField[] | null {
  const fields: HeaderField[] = [];
  const names = new Set<string>();
  const add = (name: string, value: string, path: OptionPath) => {
    const fault = headerFault(name, value);
    if (fault !== undefined) throw new PlanError(`Cannot reply with ${fault}`, { path });
    if (names.has(name.toLowerCase())) {
      throw new PlanError(`Cannot reply with header "${name}" twice: give it once`, { path });
    }
    names.add(name.toLowerCase());
    fields.push({ name, value });
  };
  for (const [name, value] of Object.entries(headers)) add(name, value, ["headers", name]);
  if (contentType !== undefined) add("content-type", contentType, ["contentType"]);
  return fields.length === 0 ? null : fields;
}

/**
 * The status as an expression, or undefined when the options say nothing of it.
 * @throws {PlanError} when it is no integer
 */
export function bindStatus(
  { statusCode }: ResponseOptions,
  input: Schema,
  udfs?: Udfs,
): CompiledExpression | undefined {
  if (statusCode === undefined) return undefined;
  const path = ["statusCode"];
  const bound = bindOption(statusCode, path, input, udfs);
  if (bound.type === "int32" || bound.type === "int64") return bound;
  throw new PlanError(
    `Cannot reply with status "${statusCode}": it is ${typeName(bound.type)}, wanted int32`,
    { path },
  );
}

/**
 * Refuses to wrap a response in a response.
 * @throws {PlanError}
 */
export function refuseResponse(what: string, { type }: CompiledExpression, path: OptionPath): void {
  if (!isResponse(type)) return;
  throw new PlanError(
    `Cannot give "${what}" a status or headers: it is a response already, with its own`,
    { path },
  );
}
