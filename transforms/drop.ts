/**
 * The `drop` transform: all columns but some.
 *
 * @module
 */
import * as v from "valibot";
import type { Schema } from "../engine/batch.ts";
import { defineTransform } from "../plugins/contract.ts";
import { refuseId } from "./columns.ts";
import { nameOption } from "./option_expression.ts";

const options = v.union([
  v.pipe(nameOption(), v.description("Column to drop.")),
  v.pipe(
    v.array(nameOption()),
    v.minLength(1, "a column or more"),
    v.description("Columns to drop."),
  ),
], "the name of a column, or a list of them");

/** Options of the `drop` transform: one column or several. */
export type DropOptions = v.InferOutput<typeof options>;

export default defineTransform<DropOptions>({
  kind: "transform",
  name: "drop",
  summary: "Drops columns.",
  description: [
    "Names of columns that are not there are ignored. `id` cannot be dropped where requests wait for",
    "their replies.",
  ].join("\n"),
  options,
  examples: [
    { title: "One column", options: "request" },
    { title: "Several columns", options: ["request", "timestamp"] },
  ],
  outputSchema: (options, input) => {
    checkNames(options, input);
    return input.without(namesOf(options));
  },
  requires: (options, needed) => {
    if (needed === "all") return "all";
    const dropped = new Set(namesOf(options));
    return new Set(["id", ...needed].filter((name) => name === "id" || !dropped.has(name)));
  },
  create: (options, { input }) => {
    if (input !== undefined) checkNames(options, input);
    const names = namesOf(options);
    return { transform: (batch) => batch.drop(names) };
  },
});

function namesOf(options: DropOptions): readonly string[] {
  return typeof options === "string" ? [options] : options;
}

function checkNames(options: DropOptions, input: Schema): void {
  for (const [at, name] of namesOf(options).entries()) {
    refuseId("drop", name, input, typeof options === "string" ? [] : [at]);
  }
}
