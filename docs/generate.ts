/**
 * Writes the pages of `docs/reference/` from what the code says of itself: `deno task docs`.
 *
 * @module
 */
import { createProgram, runCli } from "../cli/cli.ts";
import { exampleYaml } from "../cli/describe.ts";
import type { Io } from "../cli/io.ts";
import { type OptionRow, optionRows } from "../cli/option_rows.ts";
import { allPlugins, jsonSchemaOf, KINDS, optionsJsonSchema } from "../cli/plugins.ts";
import { SCALAR_TYPES } from "../engine/batch.ts";
import { CLUSTER_SCHEMA } from "../cluster/cluster_options.ts";
import { CONFIG_KEYS, SERVICE_KEYS } from "../engine/config.ts";
import { RESERVED } from "../engine/expressions/expression.ts";
import { CONDITION_FUNCTIONS, OPERATORS } from "../engine/expressions/functions/conditions.ts";
import { DATE_FUNCTIONS } from "../engine/expressions/functions/dates.ts";
import type { FunctionSpec } from "../engine/expressions/functions/define.ts";
import { LIST_FUNCTIONS } from "../engine/expressions/functions/lists.ts";
import { NUMBER_FUNCTIONS } from "../engine/expressions/functions/numbers.ts";
import { STRING_FUNCTIONS } from "../engine/expressions/functions/strings.ts";
import { TYPE_NAMES } from "../engine/expressions/types.ts";
import { ENGINE_SCHEMA } from "../engine/make_plan.ts";
import { session } from "../engine/session.ts";
import type { Plugin, PluginKind } from "../plugins/contract.ts";
import type { Registry } from "../plugins/registry.ts";

/** Where the pages go. */
export const REFERENCE: URL = new URL("./reference/", import.meta.url);

const NOTE = "<!-- Written by `deno task docs`. Do not edit: change the code and run it again. -->";

/** Characters of help texts a line. */
const HELP_WIDTH = 96;

/** What an expression may be made of besides functions and operators: how it is written, and what it is. */
export const SYNTAX: readonly (readonly [sql: string, meaning: string])[] = [
  ["`value`", "A column. Names are case-sensitive; one with other characters stands in backticks."],
  ["request.method", "A field of a struct."],
  ["tags[0]", "An item of a list, from 0; null when there is none. Also a struct's field by name."],
  ["'it''s'", "Text, also in double quotes. `\\n`, `\\t`, `\\\\`, `\\'`, `\\u00e9` are escapes."],
  [
    "r'\\d+'",
    "Text without escapes. In other text, too, a backslash that begins no escape stays.",
  ],
  ["42", "int32; int64 beyond its range, or as `42L`."],
  ["1.5", "float64, also as `1e3` or `1D`; float32 as `1F`."],
  ["X'00ff'", "Bytes."],
  ["timestamp '2024-05-06 07:08:09'", "A time, in UTC unless the text says otherwise."],
  ["true", "And `false`, `null`."],
  ["cast(value as double)", "As another type; what cannot be cast is null. Also `value::double`."],
  ["case when n > 0 then 'more' else 'none' end", "The first value whose condition is true."],
  ["case n when 1 then 'one' when 2 then 'two' end", "The same by equality; else null."],
  ["value is null", "Also `is not null`, `is true`, `is false`, `is [not] distinct from`."],
  ["value not in ('a', 'b')", "`not` goes before `in`, `between`, `like`, `ilike` and `rlike`."],
  ["struct(a, b + 1 as c)", "A struct. A field is named by `as`, else after its column."],
  [
    "udf('./text.ts', 'countVowels', 'int', value)",
    "A function of yours, called for each row: its module, export, type of result, and arguments.",
  ],
  ["length(value) as size", "A name for the result. At the top, or in `struct`."],
  ["*", "All columns, in `select`."],
];

/** All pages, by file name. */
export async function referencePages(): Promise<Map<string, string>> {
  const registry = session.newRegistry();
  const plugins = await allPlugins(registry);
  const ofKind = (kind: PluginKind) => plugins.filter((plugin) => plugin.kind === kind);
  const pages = new Map<string, string>([["README.md", indexPage(plugins)]]);
  for (const kind of KINDS) pages.set(`${kind}s.md`, pluginsPage(kind, ofKind(kind), registry));
  pages.set("expressions.md", expressionsPage());
  pages.set("config.md", configPage());
  pages.set("cli.md", await cliPage());
  return new Map(Array.from(pages, ([name, text]) => [name, `${NOTE}\n\n${text.trimEnd()}\n`]));
}

function indexPage(plugins: readonly Plugin[]): string {
  const rows = plugins.map(({ kind, name, summary }) => [
    kind,
    `[\`${name}\`](${kind}s.md#${name})`,
    cell(summary),
  ]);
  return sections(
    "# Reference",
    "- [Sources](sources.md), [transforms](transforms.md), [sinks](sinks.md)\n" +
      "- [Expressions](expressions.md): the SQL of configs and of `expr`\n" +
      "- [Config](config.md): the keys of a config file\n" +
      "- [Command line](cli.md)",
    markdownTable(["Kind", "Plugin", "Summary"], rows),
  );
}

function pluginsPage(kind: PluginKind, plugins: readonly Plugin[], registry: Registry): string {
  const title = `${kind[0]!.toUpperCase()}${kind.slice(1)}s`;
  return sections(
    `# ${title}`,
    plugins.map(({ name }) => `[\`${name}\`](#${name})`).join(", "),
    ...plugins.map((plugin) => pluginSection(plugin, registry)),
  );
}

function pluginSection(plugin: Plugin, registry: Registry): string {
  const { name, summary, description = "", aliases = [], examples = [] } = plugin;
  const rows = optionRows(optionsJsonSchema(registry, plugin));
  return sections(
    `## ${name}`,
    summary,
    description,
    placement(plugin),
    aliases.length === 0
      ? ""
      : `Other names: ${aliases.map((alias) => `\`${alias}\``).join(", ")}.`,
    rows.length === 0 ? "It has no options." : optionsTable(rows),
    ...examples.map(({ title, options }) =>
      `${title}:\n\n${fence("yaml", exampleYaml(plugin, options))}`
    ),
  );
}

function placement(plugin: Plugin): string {
  const usual = plugin.kind === "transform" ? "partition" : "head";
  const where = (plugin.placement ?? usual) === "head" ? "on the head" : "in the partitions";
  if (plugin.kind !== "sink") return `It runs ${where}.`;
  const beside = plugin.perPartition === true ? ", or beside a source that is in them" : "";
  const delivery = plugin.atLeastOnce === true ? "at least once" : "idempotent by batch id";
  return `It runs ${where}${beside}. Delivery: ${delivery}.`;
}

function expressionsPage(): string {
  const groups:
    readonly (readonly [title: string, specs: Readonly<Record<string, FunctionSpec>>])[] = [
      ["Operators", OPERATORS],
      ["Conditions", CONDITION_FUNCTIONS],
      ["Text and bytes", STRING_FUNCTIONS],
      ["Numbers", NUMBER_FUNCTIONS],
      ["Lists, structs and JSON", LIST_FUNCTIONS],
      ["Time", DATE_FUNCTIONS],
    ];
  return sections(
    "# Expressions",
    "Expressions are SQL, with the names and the meaning of Spark's. Function names and keywords may be " +
      "in any letter case. Unless it says otherwise, a function gives null when an argument is null. " +
      "Types are checked before anything runs.",
    "## Syntax",
    markdownTable(
      ["Written", "Meaning"],
      SYNTAX.map(([sql, meaning]) => [code(sql), cell(meaning)]),
    ),
    "From loose to tight: `or`; `and`; `not`; `is`, `in`, `between`, `like`; comparisons; `+`, `-`, `||`; " +
      "`*`, `/`, `%`, `div`; the sign; `.`, `[]`, `::`.",
    `These words are names only in backticks: ${RESERVED.map((word) => `\`${word}\``).join(", ")}.`,
    ...groups.map(([title, specs]) => `## ${title}\n\n${functionsTable(specs)}`),
    "## Types",
    "In DDL, as in `a int, b array<string> not null`:",
    markdownTable(["Type", "Other names"], [
      ...SCALAR_TYPES.map((type) => [
        code(type),
        Object.entries(TYPE_NAMES).filter(([name, of]) => of === type && name !== type)
          .map(([name]) => code(name)).join(", "),
      ]),
      [code("struct<a: int, b: string>"), ""],
      [code("list<string>"), code("array<string>")],
      [code("tensor<float32>[3, 224, 224]"), ""],
    ]),
  );
}

function functionsTable(specs: Readonly<Record<string, FunctionSpec>>): string {
  const hasAliases = Object.values(specs).some(({ aliases = [] }) => aliases.length > 0);
  const rows = Object.values(specs).map(({ usage, summary, aliases = [] }) => [
    code(usage),
    cell(summary),
    ...hasAliases ? [aliases.map(code).join(", ")] : [],
  ]);
  return markdownTable(["Usage", "Result", ...hasAliases ? ["Other names"] : []], rows);
}

function configPage(): string {
  const engine = optionRows(jsonSchemaOf(ENGINE_SCHEMA));
  return sections(
    "# Config",
    "A config is a YAML or JSON file. How it is written, checked and filled in from the environment: " +
      "[configuration](../configuration.md).",
    "## The file",
    markdownTable(["Key", "Meaning"], keyRows(CONFIG_KEYS)),
    "## A service",
    markdownTable(["Key", "Meaning"], keyRows(SERVICE_KEYS)),
    "Besides these, a service has:",
    optionsTable(engine),
    "## A cluster",
    optionsTable(optionRows(jsonSchemaOf(CLUSTER_SCHEMA))),
    "## Triggers",
    markdownTable(["Trigger", "A micro-batch starts"], [
      [code("continuous"), "as soon as a partition is idle and a row waits. The default."],
      [code("{ processingTime: 5 seconds }"), "at most every so often; a number is milliseconds."],
      [code("availableNow"), "until all rows there are have been done; then the query ends."],
      [code("once"), "once, over all rows there are; then the query ends."],
    ]),
    "Sources of requests take `continuous` and `processingTime`.",
  );
}

function keyRows(keys: Readonly<Record<string, string>>): string[][] {
  return Object.entries(keys).map(([key, meaning]) => [code(key), cell(meaning)]);
}

async function cliPage(): Promise<string> {
  const verbs = createProgram(helpIo(() => {}), () => {}).commands.map((each) => each.name());
  const helps = await Promise.all(verbs.map((verb) => help([verb, "--help"])));
  return sections(
    "# Command line",
    fence("text", await help(["--help"])),
    ...verbs.map((verb, at) => `## ${verb}\n\n${fence("text", helps[at]!)}`),
  );
}

async function help(args: readonly string[]): Promise<string> {
  let text = "";
  await runCli(args, helpIo((part) => text += part));
  return text.trimEnd();
}

function helpIo(out: (text: string) => void): Io {
  const never = () => () => {};
  const env = () => undefined;
  return { out, err: out, env, width: HELP_WIDTH, onSignal: never, onHangUp: never };
}

function optionsTable(rows: readonly OptionRow[]): string {
  return markdownTable(
    ["Option", "Type", "Default", "Meaning"],
    rows.map((row) => [
      code(row.name),
      cell(row.type),
      row.isRequired ? "(required)" : row.default === "" ? "" : code(row.default),
      cell(row.description),
    ]),
  );
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Text in a cell of a table; code in it stays code. */
function cell(text: string): string {
  return text.split("`").map((part, at) => at % 2 === 1 ? code(part) : escaped(part)).join("");
}

function escaped(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("*", "\\*");
}

/** Code in a cell of a table. */
function code(text: string): string {
  const inner = text.replaceAll("|", "\\|").replaceAll("\n", " ");
  return inner.includes("`") ? `\`\` ${inner} \`\`` : `\`${inner}\``;
}

function fence(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

function sections(...parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join("\n\n");
}

if (import.meta.main) {
  const pages = await referencePages();
  await Deno.mkdir(REFERENCE, { recursive: true });
  for (const { name } of Deno.readDirSync(REFERENCE)) {
    if (!pages.has(name)) await Deno.remove(new URL(name, REFERENCE));
  }
  for (const [name, text] of pages) await Deno.writeTextFile(new URL(name, REFERENCE), text);
}
