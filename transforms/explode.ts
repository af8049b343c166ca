/**
 * The `explode` transform: one row for each item of a list.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, type DataType, pack, type Schema, typeName } from "../engine/batch.ts";
import { defineTransform } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { columnsBefore, columnsOf, fieldAt, refuseId } from "./columns.ts";
import { nameOption, type OptionPath } from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.union([
  v.pipe(nameOption(), v.description("Column that holds the lists.")),
  v.strictObject({
    column: v.pipe(nameOption(), v.description("Column that holds the lists.")),
    as: v.pipe(
      v.optional(nameOption()),
      v.description(
        "Column for the items; the lists then stay. Default: the items replace the lists.",
      ),
    ),
    outer: v.pipe(
      v.optional(v.boolean(), false),
      v.description("Whether a row whose list is empty or null stays, with a null item."),
    ),
    position: v.pipe(
      v.optional(nameOption()),
      v.description("Column for the position of each item in its list, from 0. Default: none."),
    ),
  }),
], "the name of a column, or a map with column, as, outer and position");

/** Options of the `explode` transform: the column alone, or with what to make of it. */
export type ExplodeOptions = v.InferOutput<typeof options>;

export default defineTransform<ExplodeOptions>({
  kind: "transform",
  name: "explode",
  summary: "Makes one row of each item of a list column.",
  description: [
    "All other columns are repeated, `id` too: of several rows with one `id`, the first that comes to the",
    "`http` sink answers. A row without items is dropped unless `outer` is set.",
  ].join("\n"),
  options,
  examples: [
    { title: "A row a tag", options: "tags" },
    {
      title: "Items beside their list, with their positions; no row is lost",
      options: { column: "tags", as: "tag", position: "rank", outer: true },
    },
  ],
  outputSchema: (options, input) => prepare(options, input).schema,
  requires: (options, needed) => {
    const { column, as, position } = complete(options);
    return columnsBefore(needed, {
      made: position === undefined ? [as] : [as, position],
      read: [column],
    });
  },
  create: (options, { input }) => {
    const explosionFor = perSchema(input, (schema) => prepare(options, schema));
    return { transform: (batch) => explode(batch, explosionFor(batch.schema)) };
  },
});

interface Explosion {
  readonly schema: Schema;
  readonly column: string;
  readonly as: string;
  readonly itemType: DataType;
  readonly outer: boolean;
  readonly position: string | undefined;
}

function complete(options: ExplodeOptions) {
  const { column, as, outer = false, position } = typeof options === "string"
    ? { column: options }
    : options;
  return { column, as: as ?? column, outer, position };
}

function prepare(options: ExplodeOptions, input: Schema): Explosion {
  const { column, as, outer, position } = complete(options);
  const at = (option: string): OptionPath => typeof options === "string" ? [] : [option];
  const { type } = fieldAt("explode", column, input, at("column"));
  if (typeof type === "string" || !("list" in type)) {
    throw new PlanError(
      `Cannot explode column "${column}": it is ${typeName(type)}, wanted a list`,
      { path: at("column") },
    );
  }
  refuseId("explode", column, input, at("column"));
  let schema = input;
  if (as !== column) refuseTaken(as, schema, at("as"));
  schema = schema.with({ name: as, type: type.list });
  if (position !== undefined) {
    refuseTaken(position, schema, at("position"));
    schema = schema.with({
      name: position,
      type: "int32",
      ...(outer ? {} : { nullable: false }),
    });
  }
  return { schema, column, as, itemType: type.list, outer, position };
}

function refuseTaken(name: string, schema: Schema, path: OptionPath): void {
  if (!schema.has(name)) return;
  throw new PlanError(`Cannot explode into column "${name}": there is one already`, { path });
}

function explode(
  batch: Batch,
  { schema, column, as, itemType, outer, position }: Explosion,
): Batch {
  const lists = batch.column(column) as readonly (ArrayLike<unknown> | null)[];
  const rows: number[] = [], items: unknown[] = [], positions: (number | null)[] = [];
  for (let row = 0; row < lists.length; row++) {
    const list = lists[row] ?? NOTHING;
    if (list.length === 0 && outer) {
      rows.push(row);
      items.push(null);
      positions.push(null);
    }
    for (let at = 0; at < list.length; at++) {
      rows.push(row);
      items.push(list[at]);
      positions.push(at);
    }
  }
  const columns = columnsOf(batch.take(rows));
  columns[schema.indexOf(as)] = pack(itemType, items);
  if (position !== undefined) columns[schema.indexOf(position)] = pack("int32", positions);
  return new Batch(schema, columns, rows.length);
}

const NOTHING: ArrayLike<unknown> = [];
