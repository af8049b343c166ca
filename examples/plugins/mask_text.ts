/**
 * A transform that hides text but for its last characters: `4000-1234` becomes `*****1234`.
 *
 * It needs nothing of Millrace at run time; what is imported here are types, and these vanish.
 *
 * @module
 */
import type { Columns, Schema, TransformPlugin } from "@millrace/millrace";

interface MaskTextOptions {
  readonly columns: readonly string[];
  readonly keep: number;
  readonly mask: string;
}

const plugin: TransformPlugin<MaskTextOptions> = {
  kind: "transform",
  name: "mask_text",
  summary: "Hides text but for its last characters.",
  description: "Nulls stay null. The progress has the number of values hidden as `maskedValues`.",
  options: (v) =>
    v.strictObject({
      columns: v.pipe(
        v.pipe(v.array(v.pipe(v.string(), v.nonEmpty())), v.minLength(1)),
        v.description("Columns of text to hide."),
      ),
      keep: v.pipe(
        v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
        v.description("How many characters at the end stay as they are."),
      ),
      mask: v.pipe(
        v.optional(v.pipe(v.string(), v.nonEmpty()), "*"),
        v.description("What stands in the place of each hidden character."),
      ),
    }),
  examples: [
    { title: "All of it", options: { columns: ["name"] } },
    {
      title: "All but the last four characters of two columns",
      options: { columns: ["card", "phone"], keep: 4, mask: "#" },
    },
  ],
  // Called before anything runs: what does not fit is told with its place in the config.
  outputSchema: ({ columns }, input) => columns.reduce(withMasked, input),
  // The columns after it that are needed, and its own.
  requires: ({ columns }, needed): Columns =>
    needed === "all" ? "all" : new Set(["id", ...needed, ...columns]),
  create: ({ columns, keep, mask }, { metrics }) => ({
    transform: (batch) => {
      for (const name of columns) {
        const values = batch.column(name) as readonly (string | null)[];
        // A batch is shared: a changed column is a new one.
        batch = batch.withColumn(name, "string", values.map((text) => hide(text, keep, mask)));
      }
      metrics.add("maskedValues", batch.numRows * columns.length);
      return batch;
    },
  }),
};
export default plugin;

function withMasked(schema: Schema, name: string): Schema {
  const field = schema.find(name);
  if (field?.type !== "string") {
    const why = field === undefined ? "there is no such column" : "it is not text";
    throw new Error(`Cannot mask column "${name}": ${why}; wanted a column of type string`);
  }
  return schema.with({ name, type: "string" });
}

function hide(text: string | null, keep: number, mask: string): string | null {
  if (text === null) return null;
  const characters = Array.from(text);
  const hidden = Math.max(0, characters.length - keep);
  return mask.repeat(hidden) + characters.slice(hidden).join("");
}
