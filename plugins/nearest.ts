/**
 * What to say of a name that is not known.
 *
 * @module
 */
// The package by its ES module: its CommonJS one takes 30 ms more to load, in every worker.
import { closest } from "fastest-levenshtein/esm/mod.js";

/** The end of a message about an unknown name: the nearest known one and, if few, all of them. */
export function nearest(name: string, known: readonly string[]): string {
  if (known.length === 0) return "there are none";
  const list = known.map((each) => `"${each}"`).join(", ");
  return `did you mean "${closest(name, known)}"?` + (known.length > 40 ? "" : ` Known: ${list}`);
}
