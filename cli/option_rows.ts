/**
 * Options as rows: name, type, default, description; made from their JSON Schema.
 *
 * @module
 */
import type { JsonSchema } from "./plugins.ts";

/** One option. */
export interface OptionRow {
  /** `droppedReply.status` inside a map; `<name>` for any name; `(options)` for options without names. */
  readonly name: string;
  readonly type: string;
  /** JSON; empty when there is none. */
  readonly default: string;
  readonly isRequired: boolean;
  readonly description: string;
}

/** The options of a plugin, in the order of its schema. */
export function optionRows(schema: JsonSchema): OptionRow[] {
  return rowsOf(schema, "");
}

/** The alternatives of a schema, those inside alternatives among them. */
export function alternatives(schema: JsonSchema): readonly JsonSchema[] {
  return schema.anyOf === undefined ? [schema] : schema.anyOf.flatMap(alternatives);
}

/** A schema's type in words: `integer, 0 to 65535`, `list of string`, `"full" or "none"`. */
export function typeText(schema: JsonSchema): string {
  if (schema.anyOf !== undefined) {
    return [...new Set(alternatives(schema).map(typeText))].join(" or ");
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) {
    return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  }
  switch (schema.type) {
    case "array": {
      const item = typeText(schema.items ?? {});
      return `list of ${item.includes(" or ") ? `(${item})` : item}`;
    }
    case "object":
      return "map";
    case "number":
    case "integer":
      return `${schema.type}${range(schema)}`;
    case undefined:
      return "any";
    default:
      return schema.type;
  }
}

function rowsOf(schema: JsonSchema, prefix: string): OptionRow[] {
  const all = alternatives(schema);
  const maps = all.filter(({ properties }) => properties !== undefined);
  const inMaps = maps.flatMap((map) =>
    Object.entries(map.properties!).flatMap(([name, property]) => {
      const isRequired = map.required?.includes(name) ?? false;
      return [
        rowOf(property, prefix + name, isRequired),
        ...rowsOf(property, `${prefix}${name}.`),
      ];
    })
  );
  // What else an option may be, its own row has said.
  if (prefix !== "") return inMaps;
  const anyName = all.flatMap(({ additionalProperties, description }) =>
    typeof additionalProperties === "object"
      ? [rowOf({ description: description ?? "", ...additionalProperties }, "<name>", false)]
      : []
  );
  const plain = all.filter(({ type }) => type !== "object");
  if (plain.length === 0) return [...anyName, ...inMaps];
  const description = schema.description ?? plain.find((each) => each.description)?.description ??
    schema.anyOf?.find((each) => each.description)?.description ?? "";
  return [rowOf({ anyOf: plain, description }, "(options)", false), ...anyName, ...inMaps];
}

function rowOf(schema: JsonSchema, name: string, isRequired: boolean): OptionRow {
  const value = schema.default;
  const isEmptyMap = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.keys(value).length === 0;
  return {
    name,
    type: typeText(schema),
    default: value === undefined || isEmptyMap ? "" : JSON.stringify(value),
    isRequired,
    description: schema.description ?? "",
  };
}

function range({ minimum, maximum }: JsonSchema): string {
  if (minimum !== undefined && maximum !== undefined) return `, ${minimum} to ${maximum}`;
  if (minimum !== undefined) return `, ${minimum} or more`;
  return maximum === undefined ? "" : `, ${maximum} or less`;
}
