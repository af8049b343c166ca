/**
 * Functions of lists, structs and JSON.
 *
 * @module
 */
import type { ColumnData, DataType } from "../../batch.ts";
import { memoizeLast } from "../columnar.ts";
import { comparator } from "../compare.ts";
import { jsonPath, jsonWriter } from "../json_path.ts";
import { accept, castTo, combine, combineRows, type Node } from "../node.ts";
import { commonType, nameOf } from "../types.ts";
import { acceptAt, checkCount, define, rowwise } from "./define.ts";

const pathOf = memoizeLast(jsonPath);

export const LIST_FUNCTIONS = {
  size: define(
    "size(list)",
    "Number of items; -1 for null, as in Spark.",
    (args) => {
      checkCount("size(list)", args, 1, 1);
      return combine("int32", [acceptAt(0, args[0]!, "list")], ([lists], numRows) => {
        const output = new Int32Array(numRows);
        for (let row = 0; row < numRows; row++) {
          output[row] = (lists![row] as ArrayLike<unknown> | null)?.length ?? -1;
        }
        return output;
      }, false);
    },
    ["cardinality"],
  ),
  array_size: rowwise("array_size(list)", "Number of items; null for null.", ["list"], "int32", (
    list: ArrayLike<unknown>,
  ) => list.length),
  element_at: define(
    "element_at(list, place)",
    "The item at a place, from 1, or from the end if negative; null when there is none.",
    (args) => {
      checkCount("element_at(list, place)", args, 2, 2);
      if (args[1]!.literal?.value === 0) throw new RangeError("places start at 1, given 0");
      return itemAt(args[0]!, args[1]!, (place, length) => place > 0 ? place - 1 : length + place);
    },
  ),
  array: define("array(value, ...)", "A list of the values.", (args) => {
    const type = commonType(args.map((arg) => arg.type));
    const item = type === "void" ? "string" : type;
    const nodes = item === undefined ? undefined : args.map((arg) => castTo(arg, item));
    if (item === undefined || nodes!.includes(undefined)) {
      throw new TypeError(`wanted values of one type, given ${typesOf(args)}`);
    }
    return combine({ list: item }, nodes as Node[], gather, false);
  }),
  array_contains: define(
    "array_contains(list, value)",
    "Whether a value is in a list; null when it is not but a null is.",
    (args) => {
      checkCount("array_contains(list, value)", args, 2, 2);
      const list = acceptAt(0, args[0]!, "list");
      const item = commonType([(list.type as { list: DataType }).list, args[1]!.type]);
      const lists = item && item !== "void" ? castTo(list, { list: item }) : undefined;
      const values = item && item !== "void" ? castTo(args[1]!, item) : undefined;
      if (lists === undefined || values === undefined) {
        throw new TypeError(`wanted a list and a value of its type, given ${typesOf(args)}`);
      }
      const order = comparator(item as DataType);
      return combineRows("boolean", [lists, values], (items: ArrayLike<unknown>, value) => {
        let unknown = false;
        for (let index = 0; index < items.length; index++) {
          if (items[index] === null) unknown = true;
          else if (order(items[index], value) === 0) return true;
        }
        return unknown ? null : false;
      }, true);
    },
  ),
  array_join: define(
    "array_join(list, separator[, null text])",
    "The items as text with a separator between; nulls are skipped without a text for them.",
    (args) => {
      checkCount("array_join(list, separator[, null text])", args, 2, 3);
      const list = castTo(acceptAt(0, args[0]!, "list"), { list: "string" });
      if (list === undefined) {
        throw new TypeError(`argument 1: wanted a list of text, given ${nameOf(args[0]!.type)}`);
      }
      const texts = args.slice(1).map((arg, at) => acceptAt(at + 1, arg, "string"));
      return combineRows(
        "string",
        [list, ...texts],
        (items: readonly (string | null)[], separator: string, nullText?: string) =>
          items.map((item) => item ?? nullText).filter((item) => item !== undefined)
            .join(separator),
      );
    },
  ),
  named_struct: define(
    "named_struct(name, value, ...)",
    "A struct of these fields; names are text literals.",
    (args) => {
      if (args.length === 0 || args.length % 2 !== 0) {
        throw new TypeError(
          `it is called named_struct(name, value, ...), given ${args.length} arguments`,
        );
      }
      const values = args.filter((_, position) => position % 2 === 1)
        .map((value) => accept(value, "any"));
      const names = args.filter((_, position) => position % 2 === 0).map((name) => {
        if (typeof name.literal?.value !== "string") {
          throw new TypeError(`wanted names that are text literals, given ${nameOf(name.type)}`);
        }
        return name.literal.value;
      });
      return structOf(names, values);
    },
  ),
  get_json_object: rowwise(
    "get_json_object(json, path)",
    "What is at a path such as $.a[0].b of JSON text, as text; null when there is nothing.",
    ["string", "string"],
    "string",
    (json: string, path: string) => pathOf(path)(json),
    { nullable: true, check: (_, path) => void (path !== undefined && jsonPath(path)) },
  ),
  to_json: define("to_json(value)", "As JSON text; null fields are left out.", (args) => {
    checkCount("to_json(value)", args, 1, 1);
    const value = accept(args[0]!, "any");
    return combineRows("string", [value], jsonWriter(value.type as DataType));
  }),
};

/** A struct of values under names. */
export function structOf(names: readonly string[], values: readonly Node[]): Node {
  const twice = names.find((name, position) => names.indexOf(name) < position);
  if (twice !== undefined) throw new TypeError(`field "${twice}" is given twice`);
  const type = {
    struct: names.map((name, position) => ({ name, type: values[position]!.type as DataType })),
  };
  return combine(type, values, (columns, numRows) => {
    const output: unknown[] = new Array(numRows);
    for (let row = 0; row < numRows; row++) {
      const struct: Record<string, unknown> = {};
      for (let at = 0; at < names.length; at++) struct[names[at]!] = columns[at]![row];
      output[row] = struct;
    }
    return output;
  }, false);
}

/**
 * The item of a list at a place.
 * @param position of a place in a list of some length; places outside give null
 */
export function itemAt(
  list: Node,
  place: Node,
  position: (place: number, length: number) => number,
): Node {
  const lists = acceptAt(0, list, "list");
  const places = acceptAt(1, place, "whole");
  return combineRows(
    (lists.type as { list: DataType }).list,
    [lists, places],
    (items: ArrayLike<unknown>, at: number | bigint) =>
      items[position(Number(at), items.length)] ?? null,
    true,
  );
}

function gather(columns: ColumnData[], numRows: number): ColumnData {
  const output: unknown[] = new Array(numRows);
  for (let row = 0; row < numRows; row++) output[row] = columns.map((column) => column[row]);
  return output;
}

function typesOf(args: readonly Node[]): string {
  return args.map((arg) => nameOf(arg.type)).join(", ");
}
