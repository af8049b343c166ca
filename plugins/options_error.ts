/**
 * Issues of valibot as errors that a user can act on.
 *
 * @module
 */
import type * as v from "valibot";
import { PlanError } from "./errors.ts";
import { nearest } from "./nearest.ts";

type Issue = v.BaseIssue<unknown>;

/**
 * The first issue as an error: its path leads to the culprit, its message says what was given and what
 * is allowed.
 * @param schema what the value was checked against
 * @param within where the value is, when it is not the options as a whole
 */
export function optionsError(
  issues: readonly Issue[],
  schema: v.GenericSchema,
  within: readonly string[] = [],
): PlanError {
  const issue = deepest(issues[0]!);
  const path = (issue.path ?? []).map(({ key }) => key as string | number);
  return new PlanError(describe(issue, path, schema, within), { path: [...within, ...path] });
}

/**
 * Where a value has a list in the place of a map, which valibot lets pass: an error, or undefined when
 * it nowhere has.
 */
export function listForMap(value: unknown, schema: v.GenericSchema): PlanError | undefined {
  const path = pathOfList(value, schema as Walkable);
  if (path === undefined) return undefined;
  const found = path.reduce<unknown>((here, key) => (here as Container)[key], value);
  return new PlanError(
    `Cannot use ${show(found)} for ${field(path)}: wanted a map of names to values`,
    { path },
  );
}

type Container = Readonly<Record<string | number, unknown>>;

function pathOfList(
  value: unknown,
  schema: Walkable | undefined,
): (string | number)[] | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (Array.isArray(value) && isMap(schema)) return [];
  for (const key of Object.keys(value)) {
    const step = Array.isArray(value) ? Number(key) : key;
    const path = pathOfList((value as Container)[key], at(schema, [step]));
    if (path !== undefined) return [step, ...path];
  }
  return undefined;
}

/** Whether nothing but a map will do. */
function isMap(schema: Walkable | undefined): boolean {
  const inner = unwrap(schema);
  if (inner?.options !== undefined) return inner.options.every(isMap);
  return MAPS.has(inner?.type ?? "");
}

const MAPS: ReadonlySet<string> = new Set(["strict_object", "object", "loose_object", "record"]);

function describe(
  issue: Issue,
  path: readonly (string | number)[],
  schema: v.GenericSchema,
  within: readonly string[],
): string {
  const name = field([...within, ...path]);
  if (issue.type === "strict_object" && issue.expected === "never") {
    const known = entryNames(at(schema, path.slice(0, -1)));
    return `Unknown option ${name}: ${nearest(String(path.at(-1)), known)}`;
  }
  if (issue.input === undefined) {
    return `Missing option ${name}: wanted ${wanted(missing(issue, at(schema, path)))}`;
  }
  return `Cannot use ${show(issue.input)} for ${name}: wanted ${wanted(issue)}`;
}

function field(path: readonly (string | number)[]): string {
  return path.length === 0 ? "options" : `"${fieldName(path)}"`;
}

/** `port`, `droppedReply.status`, `methods[0]`. */
function fieldName(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (name, key) =>
      typeof key === "number" ? `${name}[${key}]` : name === "" ? key : `${name}.${key}`,
    "",
  );
}

/** Of a union that fits nowhere, the issue that got furthest; its own where none did. */
function deepest(issue: Issue): Issue {
  const depth = ({ path }: Issue) => path?.length ?? 0;
  const nested = (issue.issues ?? []).map(deepest).filter((each) => depth(each) > 0);
  if (nested.length === 0) return issue;
  const best = nested.reduce((a, b) => depth(b) > depth(a) ? b : a);
  return { ...best, path: [...issue.path ?? [], ...best.path!] } as Issue;
}

/** Of an entry that is not there the object complains: what is wanted, the entry's schema knows. */
function missing(issue: Issue, schema: Walkable | undefined): Issue {
  const { type, expects } = objectOf(schema) ?? unwrap(schema) ?? {};
  return type === undefined || !issue.type.endsWith("object")
    ? issue
    : { ...issue, type, expected: expects ?? null } as Issue;
}

/** What is allowed, in words. A message of the schema's own wins. */
function wanted(issue: Issue): string {
  const { type, requirement, expected, message } = issue;
  // A message given in the schema replaces valibot's own "Invalid ...".
  if (!message.startsWith("Invalid ")) return message.replace(/^wanted /, "");
  switch (type) {
    case "min_value":
      return `at least ${requirement}`;
    case "max_value":
      return `at most ${requirement}`;
    case "integer":
      return "a whole number";
    case "non_empty":
      return "something that is not empty";
    case "min_length":
      return `at least ${count(requirement as number, issue.input)}`;
    case "max_length":
      return `at most ${count(requirement as number, issue.input)}`;
    case "strict_object":
    case "object":
    case "record":
      return "a map of names to values";
    case "array":
      return "a list";
    case "regex":
      return `text that matches ${requirement}`;
  }
  return expected === null || expected === undefined
    ? message
    : expected.replace(/^\((.*)\)$/, "$1").replaceAll(" | ", " or ").replaceAll("Object", "a map")
      .replaceAll("Array", "a list");
}

function count(length: number, input: unknown): string {
  const thing = typeof input === "string" ? "character" : "item";
  return `${length} ${thing}${length === 1 ? "" : "s"}`;
}

interface Walkable {
  readonly type?: string;
  readonly expects?: string | null;
  readonly entries?: Record<string, Walkable>;
  readonly wrapped?: Walkable;
  readonly item?: Walkable;
  readonly value?: Walkable;
  readonly options?: readonly Walkable[];
  readonly pipe?: readonly Walkable[];
}

/** The part of a schema that a path leads to. */
function at(schema: unknown, path: readonly (string | number)[]): Walkable | undefined {
  let here: Walkable | undefined = schema as Walkable;
  for (const key of path) {
    const entries: Record<string, Walkable> | undefined = objectOf(here)?.entries;
    here = entries?.[key] ?? unwrap(here)?.item ?? unwrap(here)?.value;
  }
  return here;
}

function entryNames(schema: Walkable | undefined): string[] {
  return Object.keys(objectOf(schema)?.entries ?? {});
}

/** The object schema behind pipes, defaults and unions. */
function objectOf(schema: Walkable | undefined): Walkable | undefined {
  const inner = unwrap(schema);
  return inner?.entries !== undefined
    ? inner
    : inner?.options?.map(objectOf).find((each) => each !== undefined);
}

function unwrap(schema: Walkable | undefined): Walkable | undefined {
  let here = schema;
  for (;;) {
    const next: Walkable | undefined = here?.wrapped ??
      (here?.pipe?.[0] === here ? undefined : here?.pipe?.[0]);
    if (next === undefined || here?.entries !== undefined) return here;
    here = next;
  }
}

function show(value: unknown): string {
  const text = typeof value === "number" ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
