/**
 * Says one thing and does another: for tests of what plugins can do wrong to the engine.
 *
 * @module
 */
import type { Batch } from "../../engine/batch.ts";
import type { TransformContext, TransformPlugin } from "../../plugins/contract.ts";

type Lie = (batch: Batch, context: TransformContext) => unknown;

const ids = (batch: Batch) => batch.column("id") as string[];
const reply = (batch: Batch, values: unknown) =>
  batch.withColumn("reply", "string", values as string[]);
const fill = (batch: Batch, value: unknown) => Array.from({ length: batch.numRows }, () => value);
const early = (given: unknown): Lie => (batch, context) => {
  for (const id of ids(batch)) context.reply(id, given as never);
  return reply(batch, fill(batch, "late")).slice(0, 0);
};

let kept: Batch | undefined;

/** What it can do, by the body that asks for it. */
const LIES: Readonly<Record<string, Lie>> = {
  "returns nothing": () => undefined,
  "returns null": () => null,
  "returns rows": (batch) => batch.rows(),
  "returns a look-alike": ({ schema, numRows }) => ({ schema, numRows, column: () => [] }),
  "returns a promise of nothing": () => Promise.resolve(),
  "forgets its column": (batch) => batch,
  "adds a column": (batch) =>
    reply(batch, fill(batch, "x")).withColumn("more", "string", fill(batch, "y")),
  "returns another type": (batch) =>
    batch.withColumn("reply", "int32", new Int32Array(batch.numRows)),
  "loses the id": (batch) => reply(batch, fill(batch, "x")).drop(["id"]),
  "makes the id a number": (batch) =>
    reply(batch, fill(batch, "x")).withColumn("id", "int32", new Int32Array(batch.numRows)),
  "makes the ids null": (batch) =>
    reply(batch, fill(batch, "x")).withColumn("id", "string", fill(batch, null)),
  "makes ids up": (batch) =>
    reply(batch, fill(batch, "x")).withColumn("id", "string", fill(batch, "0/-1/999999")),
  "returns a column too short": (batch) => reply(batch, []),
  "answers each row twice": (batch) => {
    const once = reply(batch, fill(batch, "first"));
    return once.take(Array.from({ length: batch.numRows * 2 }, (_, row) => row >> 1));
  },
  "returns a function in a column": (batch) => reply(batch, fill(batch, () => "x")),
  "returns a symbol in a column": (batch) => reply(batch, fill(batch, Symbol("x"))),
  "returns numbers as text": (batch) => reply(batch, fill(batch, 5)),
  "returns a batch that it kept": (batch) => {
    kept ??= reply(batch, fill(batch, "kept"));
    return kept;
  },
  "lengthens a column afterwards": (batch) => {
    const values = fill(batch, "x");
    const output = reply(batch, values);
    values.push("y", "z");
    return output;
  },
  "replies early with status 99": early({ status: 99, body: "x" }),
  "replies early with status 1000": early({ status: 1000, body: "x" }),
  "replies early with a broken header": early({
    status: 200,
    headers: [["x-a", "1\r\nx-b: 2"]],
    body: "x",
  }),
  "replies early with a false length": early({
    status: 200,
    headers: [["content-length", "1000"]],
    body: "x",
  }),
  "replies early with an object as body": early({ status: 200, body: { a: 1 } }),
  "replies early with nothing": early(undefined),
  "replies early to nobody": (batch, context) => {
    context.reply("nobody", { status: 200, body: "x" });
    context.reply(5 as never, { status: 200, body: "x" });
    return reply(batch, fill(batch, "x"));
  },
};

const plugin: TransformPlugin<Record<never, never>> = {
  kind: "transform",
  name: "liar",
  summary: "Lies as the first body of a batch says.",
  options: (v) => v.strictObject({}),
  outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
  create: (_options, context) => ({
    transform: (batch) => LIES[batch.column("value")[0] as string]!(batch, context) as Batch,
  }),
};
export default plugin;
