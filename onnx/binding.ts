/**
 * Ties a model's inputs and outputs to columns, and finds what does not fit before anything runs.
 *
 * @module
 */
import { type DataType, type Field, type Schema, typeName } from "../engine/batch.ts";
import { PlanError } from "../plugins/errors.ts";
import { nearest } from "../plugins/nearest.ts";
import { columnTypeOf } from "./from_tensor.ts";
import { type Dimension, type OtherSpec, specText, type TensorSpec } from "./model_metadata.ts";
import type { Model } from "./model_source.ts";
import { type ColumnReader, columnReader, columnText } from "./to_tensor.ts";

/** Names tied together, as options have them. */
export type Names = Readonly<Record<string, string>>;

/** What is tied to what; the option's own name leads errors to it. */
export interface BindingOptions {
  /** Column by input; undefined: the column of the input's name. */
  readonly feed: Names | undefined;
  /** Output by new column; undefined: all outputs, each under its own name. */
  readonly fetch: Names | undefined;
  /** New column by fetched column. */
  readonly softMax: Names;
  readonly argMax: Names;
  /** Shape of one row by input, where it is to be just that. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  /** Whether the first axis of each tensor counts rows. */
  readonly isBatched: boolean;
  /** What the user called these options. */
  readonly keys: Readonly<Record<"feed" | "fetch" | "softMax" | "argMax", string>>;
}

/** An input with the column that feeds it. */
export interface BoundInput {
  readonly spec: TensorSpec;
  readonly column: string;
  readonly reader: ColumnReader;
  /** Whether all rows of a run share one value, since the input has no axis for rows. */
  readonly isShared: boolean;
}

/** An output with the column it becomes. */
export interface BoundOutput {
  readonly spec: TensorSpec;
  readonly column: string;
  readonly type: DataType;
}

/** A column made of a fetched one. */
export interface Derived {
  readonly by: "softMax" | "argMax";
  readonly from: string;
  readonly column: string;
  readonly type: DataType;
}

/** A model tied to the columns of its input. */
export interface Binding {
  readonly inputs: readonly BoundInput[];
  readonly outputs: readonly BoundOutput[];
  readonly derived: readonly Derived[];
  /** Rows that a run must have, where the model says so. */
  readonly fixedRows: number | undefined;
  readonly schema: Schema;
}

/**
 * Ties a model to columns.
 * @throws {PlanError} naming both sides of what does not fit
 */
export function bindModel(model: Model, options: BindingOptions, input: Schema): Binding {
  const inputs = bindInputs(model, options, input);
  const outputs = bindOutputs(model, options);
  const derived = bindDerived(options, outputs);
  let schema = input;
  const fields: [key: string, field: Field][] = [
    ...outputs.map(({ column, type }): [string, Field] => ["fetch", { name: column, type }]),
    ...derived.map(({ by, column, type }): [string, Field] => [by, { name: column, type }]),
  ];
  for (const [key, field] of fields) {
    if (schema.has(field.name)) {
      throw new PlanError(
        `Cannot make column "${field.name}" of the model's output: there is one already; choose another name`,
        { path: [options.keys[key as "fetch"]] },
      );
    }
    schema = schema.with(field);
  }
  return { inputs, outputs, derived, fixedRows: fixedRows(model, inputs, options), schema };
}

function bindInputs(
  model: Model,
  { feed, shapes, isBatched, keys }: BindingOptions,
  schema: Schema,
): BoundInput[] {
  const { inputs, optionalInputs } = model.metadata;
  const all = [...inputs, ...optionalInputs];
  for (const name of Object.keys(shapes)) {
    if (!all.some((each) => each.name === name)) {
      throw new PlanError(
        `Cannot give a shape to input "${name}" of model "${model.name}": it has no such input; ` +
          nearest(name, all.map((each) => each.name)),
        { path: ["shapes", name] },
      );
    }
  }
  for (const name of Object.keys(feed ?? {})) {
    if (!all.some((each) => each.name === name)) {
      throw new PlanError(
        `Cannot feed input "${name}" of model "${model.name}": it has no such input; ` +
          nearest(name, all.map((each) => each.name)),
        { path: [keys.feed, name] },
      );
    }
  }
  const fed = feed === undefined ? inputs : all.filter(({ name }) => Object.hasOwn(feed, name));
  const missing = inputs.find((each) => !fed.includes(each));
  if (missing !== undefined) {
    throw new PlanError(
      `Cannot run model "${model.name}" without input "${missing.name}" (${specText(missing)}): ` +
        "name a column for it",
      { path: [keys.feed] },
    );
  }
  return fed.map((spec) => {
    const column = feed?.[spec.name] ?? spec.name;
    const path = feed === undefined ? [keys.feed] : [keys.feed, spec.name];
    const field = schema.find(column);
    const target = `input "${spec.name}" (${specText(spec)})`;
    if (field === undefined) {
      throw new PlanError(
        `Cannot feed column "${column}" to ${target}: no such column; ${
          nearest(column, schema.names)
        }`,
        { path },
      );
    }
    if ("other" in spec) {
      throw new PlanError(`Cannot feed ${target}: wanted a tensor of a type that columns have`, {
        path,
      });
    }
    const isShared = isBatched && spec.shape?.length === 0;
    const open = isBatched && !isShared ? spec.shape?.slice(1) : spec.shape;
    const shape = shapes[spec.name] ?? open;
    if (open !== undefined && shape !== open && !fits(shape as number[], open)) {
      throw new PlanError(
        `Cannot give the shape [${shape!.join(", ")}] to a row of ${target}: it does not fit`,
        { path: ["shapes", spec.name] },
      );
    }
    try {
      return { spec, column, isShared, reader: columnReader(field.type, spec.type, shape) };
    } catch (error) {
      throw new PlanError(
        `Cannot feed ${columnText(column, field.type)} to ${target}: ${(error as Error).message}`,
        { path },
      );
    }
  });
}

function fits(shape: readonly number[], open: readonly Dimension[]): boolean {
  return shape.length === open.length &&
    open.every((length, axis) => typeof length === "string" || length === shape[axis]);
}

function bindOutputs(model: Model, { fetch, isBatched, keys }: BindingOptions): BoundOutput[] {
  const { outputs } = model.metadata;
  const wanted = Object.entries(
    fetch ?? Object.fromEntries(outputs.map(({ name }) => [name, name])),
  );
  return wanted.map(([column, name]) => {
    const path = fetch === undefined ? [keys.fetch] : [keys.fetch, column];
    const spec = outputs.find((each) => each.name === name);
    if (spec === undefined) {
      throw new PlanError(
        `Cannot fetch output "${name}" of model "${model.name}": it has no such output; ` +
          nearest(name, outputs.map((each) => each.name)),
        { path },
      );
    }
    if ("other" in spec) throw new PlanError(unfetchable(spec), { path });
    if (isBatched && spec.shape?.length === 0) {
      throw new PlanError(
        `Cannot fetch output "${name}" (${
          specText(spec)
        }) for each row: it has no axis for rows; ` +
          "set batchAxis to none",
        { path },
      );
    }
    const shape = isBatched ? spec.shape?.slice(1) : spec.shape;
    return { spec, column, type: columnTypeOf(spec.type, shape) };
  });
}

function unfetchable(spec: OtherSpec): string {
  const hint = /sequence|map/.test(spec.other)
    ? "; fetch another output, or export the model without ZipMap"
    : "";
  return `Cannot fetch output "${spec.name}": it is ${spec.other}, wanted a tensor${hint}`;
}

function bindDerived(
  { softMax, argMax, keys }: BindingOptions,
  outputs: readonly BoundOutput[],
): Derived[] {
  const bind = (by: Derived["by"], from: string, column: string): Derived => {
    const path = [keys[by], from];
    const source = outputs.find((each) => each.column === from);
    if (source === undefined) {
      throw new PlanError(
        `Cannot take ${by} of column "${from}": it is not fetched from the model; ` +
          nearest(from, outputs.map((each) => each.column)),
        { path },
      );
    }
    const { type } = source;
    const item = typeof type === "object" && "list" in type ? type.list : undefined;
    if (item !== "float32" && item !== "float64" && item !== "int32" && item !== "int64") {
      throw new PlanError(
        `Cannot take ${by} of column "${from}": it is ${typeName(type)}, wanted a list of numbers`,
        { path },
      );
    }
    if (by === "argMax") return { by, from, column, type: "int32" };
    return { by, from, column, type: { list: item === "float32" ? item : "float64" } };
  };
  return [
    ...Object.entries(softMax).map(([from, column]) => bind("softMax", from, column)),
    ...Object.entries(argMax).map(([from, column]) => bind("argMax", from, column)),
  ];
}

/** The rows of a run, where the first axis of the inputs has a fixed length. */
function fixedRows(
  model: Model,
  inputs: readonly BoundInput[],
  { isBatched, keys }: BindingOptions,
): number | undefined {
  if (!isBatched) return 1;
  const first = inputs.filter(({ isShared }) => !isShared).map(({ spec }): Dimension | undefined =>
    spec.shape?.[0]
  );
  const fixed = [...new Set(first.filter((length) => typeof length === "number"))];
  if (fixed.length > 1) {
    throw new PlanError(
      `Cannot run model "${model.name}" on batches: the first axes of its inputs have the lengths ` +
        `${fixed.join(" and ")}; set batchAxis to none`,
      { path: [keys.feed] },
    );
  }
  return first.length === 0 ? 1 : fixed[0];
}
