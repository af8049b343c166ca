import assert from "node:assert/strict";
import fc from "fast-check";
import { type NumberedRow, PendingRows } from "./pending_rows.ts";

Deno.test("PendingRows behaves as a map by number does, and no number comes twice", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(7), { maxLength: 300 }), (steps) => {
      const rows = new PendingRows<NumberedRow>();
      const model = new Map<number, NumberedRow>();
      const gone: NumberedRow[] = [];
      for (const step of steps) {
        const oldest = model.values().next().value;
        if (step > 2 || oldest === undefined) {
          const row = { number: rows.take() };
          assert.ok(!model.has(row.number) && gone.every(({ number }) => number !== row.number));
          rows.put(row);
          model.set(row.number, row);
        } else {
          assert.equal(rows.delete(oldest), true);
          assert.equal(rows.delete(oldest), false);
          model.delete(oldest.number);
          gone.push(oldest);
        }
        assert.equal(rows.size, model.size);
        for (const row of model.values()) assert.equal(rows.get(row.number), row);
        for (const { number } of gone) assert.equal(rows.get(number), undefined);
      }
      assert.deepEqual(new Set(rows.values()), new Set(model.values()));
    }),
  );
});

Deno.test("PendingRows.get() finds nothing for what is no number of its own", () => {
  const rows = new PendingRows<NumberedRow>();
  rows.put({ number: rows.take() });
  for (const number of [NaN, -1, 0.5, 1, 2 ** 24, Infinity]) {
    assert.equal(rows.get(number), undefined);
  }
});
