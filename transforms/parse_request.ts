/**
 * The `parse_request` transform: bodies to typed columns. A body that does not fit is answered at once,
 * and never reaches the transforms after this one.
 *
 * @module
 */
import * as v from "valibot";
import { Batch, type ColumnData, type DataType, pack, Schema, typeName } from "../engine/batch.ts";
import { parseSchema } from "../engine/expressions/parser.ts";
import { JsonReader, type ParsingCheck } from "../engine/json_reader.ts";
import { type Columns, defineTransform, type TransformContext } from "../plugins/contract.ts";
import { BatchError, PlanError, RowError } from "../plugins/errors.ts";
import { nearest } from "../plugins/nearest.ts";
import { columnsBefore, fieldAt } from "./columns.ts";
import { at, nameOption, schemaOption } from "./option_expression.ts";
import { perSchema } from "../engine/per_schema.ts";

const options = v.strictObject({
  schema: v.pipe(
    v.union([v.literal("binary"), schemaOption()]),
    v.description(
      "Columns to make, in DDL: `a int, b array<string>`. `binary`: the bytes as they are, in column `bytes`.",
    ),
  ),
  parsingCheck: v.pipe(
    v.optional(v.picklist(["none", "partial", "full"]), "full"),
    v.description(
      "Which bodies pass. `full`: those in which every field is there and fits. `partial`: JSON objects " +
        "with the fields that are declared `not null`. `none`: all. What does not fit becomes null.",
    ),
  ),
  keep: v.pipe(
    v.optional(v.union([v.boolean(), v.array(nameOption())]), false),
    v.description("Columns to keep beside those of the schema; `true` for all. `id` always stays."),
  ),
  column: v.pipe(
    v.optional(nameOption()),
    v.description(
      "Column that holds the bodies: text, bytes, or a struct with `body`. Default: `value`; `request` " +
        "where `schema` is `binary`.",
    ),
  ),
});

/** Options of the `parse_request` transform, checked and complete. */
export type ParseRequestOptions = v.InferOutput<typeof options>;

export default defineTransform<ParseRequestOptions>({
  kind: "transform",
  name: "parse_request",
  summary: "Turns JSON bodies into typed columns, and answers those that do not fit with 400.",
  description: [
    "The answer names the field, the type that is wanted and the value that was given:",
    '`{"error": "Cannot read field \\"items[2].price\\": wanted float64, given \\"abc\\""}`.',
    "",
    "Integers must be whole and in range, int64 exactly so beyond 2^53. Timestamps are ISO 8601 text or",
    "seconds since 1970, binary is base64 text, tensors are nested lists of their shape. Fields that the",
    "schema does not name are ignored.",
    "",
    "The columns of the schema replace all others but `id`. Rows without an `id` come from a source",
    "without requests: there, a body that does not fit fails the batch. The progress of the query has the",
    "number of bodies refused as `refusedBodies`.",
  ].join("\n"),
  options,
  examples: [
    {
      title: "Two columns, both of them there in every body",
      options: { schema: "a int, b array<string>" },
    },
    {
      title: "An optional field, and the request beside the columns",
      options: {
        schema: "text string not null, language string",
        parsingCheck: "partial",
        keep: ["request"],
      },
    },
    { title: "The bytes of the body, such as an image", options: { schema: "binary" } },
  ],
  outputSchema: (options, input) => prepare(options, input).schema,
  requires: (options, needed) => requires(options, needed),
  create: (options, context) => {
    const parserFor = perSchema(context.input, (schema) => prepare(options, schema));
    return {
      transform: (batch) => {
        const parser = parserFor(batch.schema);
        return settle(batch, parser, parser.parse(batch.column(parser.column)), context);
      },
    };
  },
});

const BYTES = new Schema([{ name: "bytes", type: "binary" }]);

/** Bodies as columns: one value for each body that passes, and what is wrong with the others. */
interface Parsed {
  readonly columns: readonly ColumnData[];
  readonly refused: ReadonlyMap<number, string>;
}

interface Parser {
  /** Where the bodies are. */
  readonly column: string;
  readonly schema: Schema;
  /** The columns that stay, which come before those that are made. */
  readonly kept: readonly string[];
  parse(bodies: ColumnData): Parsed;
}

function isBinary({ schema }: ParseRequestOptions): boolean {
  return schema === "binary";
}

function madeColumns(options: ParseRequestOptions): Schema {
  return isBinary(options) ? BYTES : at(["schema"], () => parseSchema(options.schema));
}

function requires(options: ParseRequestOptions, needed: Columns): Columns {
  const { keep } = options;
  const column = bodyColumn(options);
  if (keep === true) {
    return columnsBefore(needed, { made: madeColumns(options).names, read: [column] });
  }
  return new Set(["id", column, ...(keep === false ? [] : keep)]);
}

function prepare(options: ParseRequestOptions, input: Schema): Parser {
  const { keep, parsingCheck } = options;
  const made = madeColumns(options);
  if (made.has("id")) {
    throw new PlanError(
      `Cannot make column "id" from the body: replies are routed by "id"; give the field another name`,
      { path: ["schema"] },
    );
  }
  const id = input.find("id");
  if (id !== undefined && id.type !== "string") {
    throw new PlanError(
      `Cannot parse requests: column "id" is ${
        typeName(id.type)
      }, wanted the string that sources give`,
    );
  }
  const kept = id === undefined ? [] : ["id"];
  if (keep === true) {
    kept.push(...input.names.filter((name) => name !== "id" && !made.has(name)));
  } else if (keep !== false) {
    for (const [at, name] of keep.entries()) {
      const path = ["keep", at];
      fieldAt("keep", name, input, path);
      if (made.has(name)) {
        throw new PlanError(
          `Cannot keep column "${name}": the schema has a column of that name`,
          { path },
        );
      }
      if (!kept.includes(name)) kept.push(name);
    }
  }
  const column = bodyColumn(options);
  if (!input.has(column)) {
    throw new PlanError(
      `Cannot parse column "${column}": no such column; ${nearest(column, input.names)}; ` +
        'name the one that holds the bodies by "column"',
      { path: options.column === undefined ? [] : ["column"] },
    );
  }
  const textOf = bodyText(column, input);
  const reader = isBinary(options)
    ? undefined
    : at(["schema"], () => new JsonReader(made, parsingCheck));
  const parse = reader === undefined
    ? bytesParser(column, input, parsingCheck)
    : (bodies: ColumnData) => parseJson(bodies, textOf, reader);
  const parsed = reader?.schema ?? (parsingCheck === "none" ? BYTES : BYTES_THERE);
  const schema = new Schema([...input.select(kept).fields, ...parsed.fields]);
  return { column, schema, kept, parse };
}

const BYTES_THERE = new Schema([{ name: "bytes", type: "binary", nullable: false }]);

/** Not what there is of both: what is left of the source's columns depends on this answer. */
function bodyColumn(options: ParseRequestOptions): string {
  return options.column ?? (isBinary(options) ? "request" : "value");
}

type Body = string | Uint8Array | { readonly body?: Uint8Array | string | null } | null;

/** How a body is got out of its column. */
function bodyText(column: string, input: Schema): (body: Body) => string | null | undefined {
  const type = bodyType(column, input);
  const isStruct = typeof input.field(column).type !== "string";
  const text = type === "string"
    ? (body: Body) => body as string | null
    : (body: Body) => decode(body as Uint8Array | null);
  return isStruct
    ? (body) => text((body as { body?: Uint8Array | null } | null)?.body ?? null)
    : text;
}

function bodyType(column: string, input: Schema): "string" | "binary" {
  const { type } = input.field(column);
  const inner: DataType | undefined = typeof type !== "string" && "struct" in type
    ? type.struct.find(({ name }) => name === "body")?.type
    : type;
  if (inner === "string" || inner === "binary") return inner;
  throw new PlanError(
    `Cannot parse column "${column}": it is ${typeName(type)}, ` +
      `wanted string, binary or a struct with such a "body"`,
    { path: ["column"] },
  );
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Undefined when the bytes are no text. */
function decode(bytes: Uint8Array | null): string | null | undefined {
  if (bytes === null) return null;
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

function parseJson(
  bodies: ColumnData,
  textOf: (body: Body) => string | null | undefined,
  reader: JsonReader,
): Parsed {
  const { fields } = reader.schema;
  const columns: unknown[][] = fields.map(() => new Array(bodies.length));
  let refused: Map<number, string> | undefined;
  let rows = 0;
  for (let row = 0; row < bodies.length; row++) {
    const wrong = reader.read(textOf(bodies[row] as Body), columns, rows);
    if (wrong === undefined) rows++;
    else (refused ??= new Map()).set(row, wrong);
  }
  return {
    columns: columns.map((column, at) => {
      column.length = rows;
      return pack(fields[at]!.type, column);
    }),
    refused: refused ?? NONE,
  };
}

function bytesParser(
  column: string,
  input: Schema,
  check: ParsingCheck,
): (bodies: ColumnData) => Parsed {
  if (bodyType(column, input) !== "binary") {
    throw new PlanError(
      `Cannot take bytes from column "${column}": it is text; name a column of bytes by "column"`,
      { path: ["column"] },
    );
  }
  const isStruct = typeof input.field(column).type !== "string";
  return (bodies) => {
    const bytes: unknown[] = [];
    const refused = new Map<number, string>();
    for (let row = 0; row < bodies.length; row++) {
      const body = bodies[row] as Body;
      const given = isStruct ? (body as { body?: Uint8Array } | null)?.body ?? null : body;
      if (given === null && check !== "none") {
        refused.set(row, "Cannot read the body: wanted bytes, given nothing");
      } else bytes.push(given);
    }
    return { columns: [bytes], refused };
  };
}

/** The batch of the bodies that pass; the others are answered. */
function settle(
  batch: Batch,
  { schema, kept }: Parser,
  { columns, refused }: Parsed,
  { reply, metrics }: TransformContext,
): Batch {
  if (refused.size === 0) {
    const stay = kept.map((name) => batch.column(name));
    return new Batch(schema, [...stay, ...columns], batch.numRows);
  }
  if (!batch.schema.has("id")) {
    throw new BatchError(
      new Map(Array.from(refused, ([row, error]) => [row, new RowError(error, 400)])),
    );
  }
  const ids = batch.column("id");
  for (const [row, error] of refused) {
    reply(ids[row] as string, {
      status: 400,
      headers: JSON_HEADERS,
      body: JSON.stringify({ error }),
    });
  }
  metrics.add("refusedBodies", refused.size);
  const rows: number[] = [];
  for (let row = 0; row < batch.numRows; row++) if (!refused.has(row)) rows.push(row);
  const stay = batch.select(kept).take(rows);
  return new Batch(schema, [...kept.map((name) => stay.column(name)), ...columns], rows.length);
}

const NONE: ReadonlyMap<number, string> = new Map();
const JSON_HEADERS = [["content-type", "application/json"]] as const;
