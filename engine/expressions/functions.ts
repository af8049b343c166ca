/**
 * All functions of the expression language, by name.
 *
 * @module
 */
import { CONDITION_FUNCTIONS } from "./functions/conditions.ts";
import { DATE_FUNCTIONS } from "./functions/dates.ts";
import type { FunctionSpec } from "./functions/define.ts";
import { LIST_FUNCTIONS } from "./functions/lists.ts";
import { NUMBER_FUNCTIONS } from "./functions/numbers.ts";
import { STRING_FUNCTIONS } from "./functions/strings.ts";

/** The functions, by their first name. `struct` and `udf` are the compiler's own. */
export const FUNCTIONS = {
  ...CONDITION_FUNCTIONS,
  ...STRING_FUNCTIONS,
  ...NUMBER_FUNCTIONS,
  ...LIST_FUNCTIONS,
  ...DATE_FUNCTIONS,
} satisfies Record<string, FunctionSpec>;

/** The name of a function. */
export type FunctionName = keyof typeof FUNCTIONS;

/** The first name of a function, given any of its names in any letter case; itself if unknown. */
export function canonicalName(name: string): string {
  const lower = name.toLowerCase();
  return FIRST_NAMES.get(lower) ?? lower;
}

/** The function of a first name. */
export function functionOf(name: string): FunctionSpec | undefined {
  return Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name as FunctionName] : undefined;
}

const FIRST_NAMES = new Map(
  Object.entries<FunctionSpec>(FUNCTIONS).flatMap(([name, { aliases = [] }]) =>
    aliases.map((alias) => [alias, name])
  ),
);
