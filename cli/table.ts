/**
 * Tables of text.
 *
 * @module
 */
import Table from "cli-table3";

const NO_LINES = Object.fromEntries(
  [
    "top",
    "top-mid",
    "top-left",
    "top-right",
    "bottom",
    "bottom-mid",
    "bottom-left",
    "bottom-right",
    "left",
    "left-mid",
    "mid",
    "mid-mid",
    "right",
    "right-mid",
  ].map((part) => [part, ""]),
);

/** Fewest characters that the last column is given. */
const MIN_LAST = 30;

/**
 * Columns side by side, without lines. The last one is wrapped.
 * @param width of the whole table, in characters
 */
export function table(head: readonly string[], rows: readonly string[][], width: number): string {
  const widths = head.slice(0, -1).map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)) + 2
  );
  const left = width - widths.reduce((sum, each) => sum + each, 0);
  const longest = Math.max(0, ...rows.map((row) => row.at(-1)!.length));
  const made = new Table({
    head: [...head],
    chars: { ...NO_LINES, middle: "" },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0, compact: true },
    colWidths: [...widths, Math.min(Math.max(left, MIN_LAST), longest + 1)],
    wordWrap: true,
  });
  made.push(...rows);
  return made.toString().split("\n").map((line) => line.trimEnd()).join("\n");
}
