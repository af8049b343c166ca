/**
 * Loops over columns.
 *
 * @module
 */
import type { ColumnData, DataType } from "../batch.ts";

/** A column that can be written to. */
export type Output = unknown[] | Int32Array | BigInt64Array | Float32Array | Float64Array;

/** Storage for `length` values of a type, none of them null. */
export function allocate(type: DataType, length: number): Output {
  switch (type) {
    case "int32":
      return new Int32Array(length);
    case "int64":
      return new BigInt64Array(length);
    case "float32":
      return new Float32Array(length);
    case "float64":
    case "timestamp":
      return new Float64Array(length);
    default:
      return new Array(length);
  }
}

/** A column of one value. */
export function repeat(type: DataType, value: unknown, length: number): Output {
  const output = value === null ? new Array(length) : allocate(type, length);
  return (output as unknown[]).fill(value);
}

/**
 * Calls a function for every row. A null among the arguments makes the result null, without a call.
 * @param f returns a value of `type`, or null
 */
export function mapRows(
  type: DataType,
  numRows: number,
  columns: readonly ColumnData[],
  // deno-lint-ignore no-explicit-any -- the values are as varied as the columns
  f: (...values: any[]) => unknown,
): ColumnData {
  let output = allocate(type, numRows);
  const [a, b] = columns;
  if (columns.length === 1) {
    for (let row = 0; row < numRows; row++) {
      const x = a![row];
      const value = x === null ? null : f(x);
      if (value === null && !Array.isArray(output)) output = spill(output, row);
      output[row] = value as number;
    }
  } else if (columns.length === 2) {
    for (let row = 0; row < numRows; row++) {
      const x = a![row], y = b![row];
      const value = x === null || y === null ? null : f(x, y);
      if (value === null && !Array.isArray(output)) output = spill(output, row);
      output[row] = value as number;
    }
  } else {
    const values = new Array(columns.length);
    for (let row = 0; row < numRows; row++) {
      let known = true;
      for (let position = 0; position < columns.length; position++) {
        known &&= (values[position] = columns[position]![row]) !== null;
      }
      const value = known ? f(...values) : null;
      if (value === null && !Array.isArray(output)) output = spill(output, row);
      output[row] = value as number;
    }
  }
  return output;
}

/** Remembers the last result: patterns and the like are mostly the same in all rows. */
export function memoizeLast<Key, Result>(f: (key: Key) => Result): (key: Key) => Result {
  let last: { key: Key; result: Result } | undefined;
  return (key) => {
    if (last === undefined || last.key !== key) last = { key, result: f(key) };
    return last.result;
  };
}

/** The rows so far, in storage that has room for nulls. */
function spill(output: Exclude<Output, unknown[]>, rows: number): unknown[] {
  const spilled: unknown[] = new Array(output.length);
  for (let row = 0; row < rows; row++) spilled[row] = output[row];
  return spilled;
}
