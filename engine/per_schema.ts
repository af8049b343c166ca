/**
 * What a plugin prepares for the columns it is given.
 *
 * @module
 */
import type { Schema } from "./batch.ts";

/**
 * Prepares once for each schema that comes; that is mostly one in a plugin's life.
 * @param input the schema that is known already, if any: the work for it is done at once
 * @param prepare may throw; it is then called again for the next batch
 */
export function perSchema<T>(
  input: Schema | undefined,
  prepare: (schema: Schema) => T,
): (schema: Schema) => T {
  let last = input && { schema: input, prepared: prepare(input) };
  return (schema) => {
    if (last === undefined || last.schema !== schema) {
      const known = last !== undefined && isSame(last.schema, schema);
      last = { schema, prepared: known ? last!.prepared : prepare(schema) };
    }
    return last.prepared;
  };
}

/** Unlike `equals`, this heeds whether values may be null: expressions are compiled by that. */
function isSame(a: Schema, b: Schema): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
