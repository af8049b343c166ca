/**
 * Batches of any types and values, for properties.
 *
 * @module
 */
import fc from "fast-check";
import {
  Batch,
  type DataType,
  pack,
  SCALAR_TYPES,
  type ScalarType,
  Schema,
} from "../engine/batch.ts";

const INT64: { min: bigint; max: bigint } = { min: -(2n ** 63n), max: 2n ** 63n - 1n };

const text = (): fc.Arbitrary<string> =>
  fc.oneof(
    fc.string({ unit: "binary" }),
    // Halves of surrogate pairs, and what decoders take for a mark of byte order.
    fc.array(fc.constantFrom("\ud800", "\udfff", "a", "\ufeff", "\u0000", "é", "😀")).map((each) =>
      each.join("")
    ),
    fc.string({ minLength: 60, maxLength: 200 }),
  );

const SCALARS: Readonly<Record<ScalarType, () => fc.Arbitrary<unknown>>> = {
  string: text,
  int32: () => fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  int64: () => fc.bigInt(INT64),
  float32: () => fc.float(),
  float64: () => fc.double(),
  boolean: () => fc.boolean(),
  timestamp: () => fc.double({ noNaN: true, noDefaultInfinity: true }),
  binary: () => fc.uint8Array(),
};

const TENSORS = {
  int32: () => fc.int32Array,
  int64: () => fc.bigInt64Array,
  float32: () => fc.float32Array,
  float64: () => fc.float64Array,
} as const;

const name = () => fc.oneof(fc.string(), fc.constantFrom("id", "__proto__", "a.b", "\ud800"));

/** Any type, nested at most so deep. */
export function arbitraryType(depth: number = 2): fc.Arbitrary<DataType> {
  const scalar = fc.constantFrom<DataType>(...SCALAR_TYPES);
  if (depth === 0) return scalar;
  const inner = arbitraryType(depth - 1);
  return fc.oneof(
    { weight: 3, arbitrary: scalar },
    inner.map((list) => ({ list })),
    fc.uniqueArray(fc.tuple(name(), inner).map(([name, type]) => ({ name, type })), {
      selector: (field) => field.name,
      maxLength: 3,
    }).map((struct) => ({ struct })),
    fc.tuple(
      fc.constantFrom("int32", "int64", "float32", "float64"),
      fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 2 }),
    ).map(([tensor, shape]) => ({ tensor, shape })),
  );
}

/** Any value of a type, null among them. */
export function arbitraryValue(type: DataType): fc.Arbitrary<unknown> {
  return fc.option(nonNull(type), { freq: 5 });
}

function nonNull(type: DataType): fc.Arbitrary<unknown> {
  if (typeof type === "string") return SCALARS[type]();
  if ("list" in type) return fc.array(arbitraryValue(type.list), { maxLength: 4 });
  if ("struct" in type) {
    return fc.tuple(...type.struct.map((field) => arbitraryValue(field.type))).map((values) => {
      const struct = {};
      for (const [at, value] of values.entries()) {
        Object.defineProperty(struct, type.struct[at]!.name, {
          value,
          configurable: true,
          enumerable: true,
          writable: true,
        });
      }
      return struct;
    });
  }
  const size = type.shape.reduce((product, axis) => product * axis, 1);
  const array = TENSORS[type.tensor]() as (
    constraints: { minLength: number; maxLength: number },
  ) => fc.Arbitrary<unknown>;
  return array({ minLength: size, maxLength: size });
}

/** Any column: packed where the type allows and no value is null, mostly. */
function arbitraryColumn(type: DataType, numRows: number) {
  const values = (value: fc.Arbitrary<unknown>) =>
    fc.array(value, { minLength: numRows, maxLength: numRows });
  return fc.oneof(
    values(arbitraryValue(type)),
    values(nonNull(type)),
    values(nonNull(type)).map((column) => pack(type, column)),
  );
}

/** Any batch, with a column `id` of texts. */
export function arbitraryBatch(): fc.Arbitrary<Batch> {
  return fc.record({
    numRows: fc.integer({ min: 0, max: 6 }),
    fields: fc.uniqueArray(
      fc.tuple(name(), arbitraryType()).map(([name, type]) => ({ name, type })),
      {
        selector: (field) => field.name,
        maxLength: 4,
      },
    ),
  }).chain(({ numRows, fields }) => {
    const rest = fields.filter((field) => field.name !== "id");
    const schema = new Schema([{ name: "id", type: "string", nullable: false }, ...rest]);
    const ids = Array.from({ length: numRows }, (_, row) => `0/0/${row}`);
    return fc.tuple(...rest.map(({ type }) => arbitraryColumn(type, numRows))).map((columns) =>
      new Batch(schema, [ids, ...columns as unknown[][]], numRows)
    );
  });
}
