/**
 * The order of values, Spark's: NaN equals NaN and is above all numbers, -0 equals 0, strings go by
 * code points, binary by unsigned bytes, structs and lists by their parts with nulls first.
 *
 * @module
 */
import { type DataType, isNumeric } from "../batch.ts";

/** Negative, zero or positive: `a` is below, the same as, or above `b`. */
// deno-lint-ignore no-explicit-any -- values of one type
export type Comparator = (a: any, b: any) => number;

/** The order of the values of a type that are not null. */
export function comparator(type: DataType): Comparator {
  if (type === "string") return compareStrings;
  if (type === "binary") return compareBytes;
  if (type === "int64" || type === "boolean") return (a, b) => a < b ? -1 : a > b ? 1 : 0;
  if (type === "timestamp" || isNumeric(type)) return compareNumbers;
  if ("list" in type) return compareLists(nullsFirst(comparator(type.list)));
  if ("tensor" in type) {
    return compareLists(type.tensor === "int64" ? comparator("int64") : compareNumbers);
  }
  const fields = type.struct.map((field) => ({
    name: field.name,
    compare: nullsFirst(comparator(field.type)),
  }));
  return (a, b) => {
    for (const { name, compare } of fields) {
      const order = compare(a[name] ?? null, b[name] ?? null);
      if (order !== 0) return order;
    }
    return 0;
  };
}

/** Whether `===` tells whether two values of the type are equal. */
export function hasSimpleEquality(type: DataType): boolean {
  return type === "string" || type === "boolean" || type === "int32" || type === "int64";
}

function compareNumbers(a: number, b: number): number {
  if (a < b) return -1;
  if (a > b) return 1;
  return a === b ? 0 : Number(a !== a) - Number(b !== b);
}

/** By code points: UTF-16 sorts surrogates below U+E000, code points do not. */
function compareStrings(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const x = a.charCodeAt(index), y = b.charCodeAt(index);
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

function codePointRank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x10000 : unit;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    if (a[index] !== b[index]) return a[index]! - b[index]!;
  }
  return a.length - b.length;
}

function compareLists(compare: Comparator): Comparator {
  return (a: ArrayLike<unknown>, b: ArrayLike<unknown>) => {
    const length = Math.min(a.length, b.length);
    for (let index = 0; index < length; index++) {
      const order = compare(a[index], b[index]);
      if (order !== 0) return order;
    }
    return a.length - b.length;
  };
}

function nullsFirst(compare: Comparator): Comparator {
  return (a, b) => {
    if (a === null || b === null) return Number(b === null) - Number(a === null);
    return compare(a, b);
  };
}
