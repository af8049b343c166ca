/**
 * Columns in the hands of transforms: which are needed, which may be made, and how they are put
 * together.
 *
 * @module
 */
import {
  Batch,
  type ColumnData,
  type DataType,
  type Field,
  pack,
  type Schema,
} from "../engine/batch.ts";
import type { CompiledExpression } from "../engine/expressions/compile.ts";
import type { Columns } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { nearest } from "../plugins/nearest.ts";
import type { OptionPath } from "./option_expression.ts";

/**
 * The columns needed before a transform: those needed after it, without the ones it makes, and the ones
 * it reads. `id` is always among them.
 */
export function columnsBefore(
  needed: Columns,
  { made = [], read }: { readonly made?: Iterable<string>; readonly read: Iterable<string> },
): Columns {
  if (needed === "all") return "all";
  const columns = new Set(needed);
  for (const name of made) columns.delete(name);
  for (const name of read) columns.add(name);
  return columns.add("id");
}

/**
 * Refuses to touch the column by which replies are routed.
 * @param attempt what is tried, such as `make`
 * @throws {PlanError} when the name is `id`, and there is such a column
 */
export function refuseId(attempt: string, name: string, input: Schema, path: OptionPath): void {
  if (name === "id" && input.has("id")) {
    throw new PlanError(
      `Cannot ${attempt} column "id": replies are routed by it; choose another name`,
      { path },
    );
  }
}

/**
 * The field of a column that an option names.
 * @param attempt what is tried, such as `cast`
 * @throws {PlanError} with the nearest known name
 */
export function fieldAt(attempt: string, name: string, input: Schema, path: OptionPath): Field {
  const field = input.find(name);
  if (field === undefined) {
    throw new PlanError(
      `Cannot ${attempt} column "${name}": no such column; ${nearest(name, input.names)}`,
      { path },
    );
  }
  return field;
}

/** The field of a column that is made by an expression. */
export function fieldOf(name: string, { type, nullable }: CompiledExpression): Field {
  return { name, type, ...(nullable ? {} : { nullable: false }) };
}

/** All columns of a batch. */
export function columnsOf(batch: Batch): ColumnData[] {
  return batch.schema.fields.map((_, position) => batch.columnAt(position));
}

/** A batch with one column put in the place that a schema made by `with` has for it. */
export function putColumn(
  batch: Batch,
  name: string,
  data: ColumnData,
  schema: Schema,
): Batch {
  const columns = columnsOf(batch);
  const position = schema.indexOf(name);
  columns[position] = packed(schema.fields[position]!.type, data);
  return new Batch(schema, columns, batch.numRows);
}

/** The column in the storage that its type asks for. */
export function packed(type: DataType, data: ColumnData): ColumnData {
  return Array.isArray(data) ? pack(type, data) : data;
}
