/**
 * The `rename` transform: columns under other names.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, Schema } from "../engine/batch.ts";
import { defineTransform } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { columnsBefore, columnsOf, fieldAt, refuseId } from "./columns.ts";
import { nameOption } from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.pipe(
  v.record(
    nameOption(),
    v.pipe(nameOption(), v.description("New name.")),
    "a map of old names to new ones",
  ),
  v.minEntries(1, "an old name and a new one"),
  v.description("New names by old ones."),
);

/** Options of the `rename` transform: new names by old ones. */
export type RenameOptions = v.InferOutput<typeof options>;

export default defineTransform<RenameOptions>({
  kind: "transform",
  name: "rename",
  summary: "Gives columns other names.",
  description: "All at once, so that two columns can swap their names. Order and types stay.",
  options,
  examples: [
    { title: "One column", options: { value: "body" } },
    { title: "Two columns that swap their names", options: { left: "right", right: "left" } },
  ],
  outputSchema: renamed,
  requires: (options, needed) =>
    columnsBefore(needed, { made: Object.values(options), read: Object.keys(options) }),
  create: (options, { input }) => {
    const schemaFor = perSchema(input, (schema) => renamed(options, schema));
    return {
      transform: (batch) => new Batch(schemaFor(batch.schema), columnsOf(batch), batch.numRows),
    };
  },
});

function renamed(options: RenameOptions, input: Schema): Schema {
  const names = new Map(Object.entries(options));
  for (const from of names.keys()) {
    refuseId("rename", from, input, [from]);
    fieldAt("rename", from, input, [from]);
  }
  const newNames = input.names.map((name) => names.get(name) ?? name);
  for (const [from, to] of names) {
    if (newNames.filter((name) => name === to).length > 1) {
      throw new PlanError(
        `Cannot rename column "${from}" to "${to}": another column has that name`,
        { path: [from] },
      );
    }
  }
  return new Schema(input.fields.map((field, at) => ({ ...field, name: newNames[at]! })));
}
