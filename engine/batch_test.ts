import assert from "node:assert/strict";
import fc from "fast-check";
import { Batch, type DataType, mismatch, pack, sameType, Schema, typeName } from "./batch.ts";

const people = new Schema([
  { name: "id", type: "string" },
  { name: "age", type: "int32" },
]);

const rows = [{ id: "a", age: 1 }, { id: "b", age: null }, { id: "c", age: 3 }];

Deno.test("Batch.fromRows() stores absent values as null, and rows() gives them back", () => {
  const batch = Batch.fromRows(people, [{ id: "a", age: 1, more: true }, { id: "b" }]);
  assert.deepEqual(batch.rows(), [{ id: "a", age: 1 }, { id: "b", age: null }]);
  assert.equal(batch.numRows, 2);
});

Deno.test("Batch.fromRows() names row, column, type and value of what does not fit", () => {
  assert.throws(
    () => Batch.fromRows(people, [{ id: "a", age: 1 }, { id: "b", age: 1.5 }]),
    { name: "TypeError", message: 'Cannot store row 1, column "age": wanted int32, got 1.5' },
  );
});

Deno.test("a numeric column is a typed array without nulls, an array with them", () => {
  assert.ok(Batch.fromRows(people, [{ id: "a", age: 1 }]).column("age") instanceof Int32Array);
  assert.ok(Array.isArray(Batch.fromRows(people, rows).column("age")));
  assert.ok(pack("int64", [1n, 2n]) instanceof BigInt64Array);
  assert.ok(pack("timestamp", [0]) instanceof Float64Array);
});

Deno.test("new Batch() refuses columns that do not agree", () => {
  assert.throws(
    () => new Batch(people, [["a"], Int32Array.of(1, 2)]),
    { message: 'Cannot build a batch: column "age" has 2 values, the batch has 1 rows' },
  );
  assert.throws(() => new Batch(people, [["a"]]), {
    message: "Cannot build a batch of 1 columns: the schema has 2",
  });
});

Deno.test("Schema refuses a name twice, and names the columns when one is unknown", () => {
  assert.throws(() => new Schema([...people.fields, people.fields[0]!]), /column "id" twice/);
  assert.throws(() => people.field("nme"), {
    name: "RangeError",
    message: 'No column "nme": there are "id", "age"',
  });
});

Deno.test("select, drop, rename and withColumn share the columns they do not change", () => {
  const batch = Batch.fromRows(people, rows);
  assert.equal(batch.select(["age"]).column("age"), batch.column("age"));
  assert.equal(batch.rename("age", "years").column("years"), batch.column("age"));
  assert.deepEqual(batch.drop(["age", "absent"]).schema.names, ["id"]);
  const wider = batch.withColumn("age", "string", ["x", "y", "z"]).withColumn(
    "n",
    "int32",
    [1, 2, 3],
  );
  assert.deepEqual(wider.schema.names, ["id", "age", "n"]);
  assert.equal(wider.schema.field("age").type, "string");
  assert.ok(wider.column("n") instanceof Int32Array);
  assert.equal(batch.schema.field("age").type, "int32");
});

Deno.test("filter() keeps rows whose mask is true, as where does", () => {
  const batch = Batch.fromRows(people, rows);
  assert.deepEqual(batch.filter([true, null, false]).rows(), [rows[0]]);
  assert.equal(batch.filter([true, true, true]), batch);
  assert.throws(() => batch.filter([true]), /a mask of 1/);
});

Deno.test("row() outside the batch is an error", () => {
  assert.throws(() => Batch.fromRows(people, rows).row(3), {
    message: "No row 3: the batch has 3",
  });
});

Deno.test("concat() refuses other schemas, and mixes storage of one type", () => {
  const whole = Batch.fromRows(people, rows.slice(0, 1));
  const holed = Batch.fromRows(people, rows.slice(1));
  assert.deepEqual(Batch.concat([whole, holed]).rows(), rows);
  assert.throws(() => Batch.concat([whole, whole.drop(["age"])]), /different schemas/);
  assert.throws(() => Batch.concat([]), /at least one/);
});

Deno.test("toWire() leaves out fields that are known, fromWire() needs them", () => {
  const batch = Batch.fromRows(people, rows);
  assert.equal(batch.toWire(people).fields, undefined);
  assert.deepEqual(Batch.fromWire(structuredClone(batch.toWire())).rows(), rows);
  assert.deepEqual(Batch.fromWire(batch.toWire(people), people).rows(), rows);
  assert.throws(() => Batch.fromWire(batch.toWire(people)), /no schema is known/);
});

Deno.test("mismatch() leads to the place inside nested types", () => {
  const type: DataType = { struct: [{ name: "xs", type: { list: "int32" } }] };
  assert.equal(mismatch(type, { xs: [1, null] }), undefined);
  assert.equal(
    mismatch(type, { xs: [1, "a"] }),
    'field "xs": item 1: wanted int32, got "a"',
  );
  assert.equal(mismatch({ tensor: "float32", shape: [2] }, Float32Array.of(1, 2)), undefined);
  assert.match(
    mismatch({ tensor: "float32", shape: [2] }, Float32Array.of(1))!,
    /wanted tensor<float32>\[2\], got Float32Array/,
  );
});

Deno.test("typeName() and sameType() tell nested types apart", () => {
  const a: DataType = { struct: [{ name: "x", type: { list: "string" } }] };
  assert.equal(typeName(a), "struct<x: list<string>>");
  assert.ok(sameType(a, structuredClone(a)));
  assert.ok(!sameType(a, { struct: [{ name: "x", type: { list: "binary" } }] }));
  assert.ok(!sameType({ tensor: "int32", shape: [1] }, { tensor: "int32", shape: [2] }));
});

const scalars = fc.record({
  string: fc.option(fc.string({ unit: "grapheme" })),
  int32: fc.option(fc.integer()),
  int64: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  float64: fc.option(fc.double()),
  boolean: fc.option(fc.boolean()),
  timestamp: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
  binary: fc.option(fc.uint8Array()),
}, { noNullPrototype: true });
const everything = new Schema(
  (["string", "int32", "int64", "float64", "boolean", "timestamp", "binary"] as const)
    .map((type) => ({ name: type, type })),
);

Deno.test("any rows survive the wire, and being cut and put together again", () => {
  fc.assert(fc.property(fc.array(scalars, { minLength: 1 }), fc.nat(), (rows, at) => {
    const batch = Batch.fromRows(everything, rows);
    const cut = at % (rows.length + 1);
    const again = Batch.concat([batch.slice(0, cut), batch.slice(cut)]);
    const received = Batch.fromWire(structuredClone(again.toWire()));
    assert.deepEqual(received.rows(), rows);
  }));
});

Deno.test("take() gives the rows at the positions, whichever they are", () => {
  fc.assert(fc.property(fc.array(scalars, { minLength: 1 }), fc.array(fc.nat()), (rows, picks) => {
    const indices = picks.map((pick) => pick % rows.length);
    const taken = Batch.fromRows(everything, rows).take(indices);
    assert.deepEqual(taken.rows(), indices.map((index) => rows[index]));
  }));
});
