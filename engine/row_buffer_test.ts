import assert from "node:assert/strict";
import fc from "fast-check";
import type { SourceRow } from "../plugins/contract.ts";
import { RowBuffer } from "./row_buffer.ts";

const row = (id: number): SourceRow => ({ id: String(id), state: "new" });

Deno.test("RowBuffer gives rows in the order they came, and refuses what is too many", () => {
  let offers = 0;
  const buffer = new RowBuffer<SourceRow>(2, () => offers++);
  const rows = [row(0), row(1), row(2)];
  assert.deepEqual(rows.map((each) => buffer.offer(each)), [true, true, false]);
  assert.equal(offers, 2);
  assert.equal(buffer.refusal, "full");
  assert.deepEqual(buffer.take(10), rows.slice(0, 2));
  assert.equal(buffer.refusal, undefined);
  assert.equal(rows[2]!.state, "new");
});

Deno.test("RowBuffer.cancel() frees a place, and comes too late for a row that started", () => {
  const buffer = new RowBuffer<SourceRow>(2, () => {});
  const [first, second, third] = [row(0), row(1), row(2)] as const;
  buffer.offer(first);
  buffer.offer(second);
  assert.equal(buffer.cancel(first), true);
  assert.equal(buffer.offer(third), true);
  assert.deepEqual(buffer.take(1), [second]);
  assert.equal(buffer.cancel(second), false);
  assert.equal(buffer.length, 1);
});

Deno.test("RowBuffer.stop() refuses, and keeps what it has", () => {
  const buffer = new RowBuffer<SourceRow>(2, () => {});
  buffer.offer(row(0));
  buffer.stop();
  assert.equal(buffer.offer(row(1)), false);
  assert.equal(buffer.refusal, "stopping");
  assert.equal(buffer.take(5).length, 1);
});

Deno.test("RowBuffer behaves as a list does, whatever is done to it", () => {
  const step = fc.oneof(
    fc.constant({ do: "offer" as const }),
    fc.record({ do: fc.constant("cancel" as const), which: fc.nat() }),
    fc.record({ do: fc.constant("take" as const), most: fc.nat({ max: 5 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 5000, size: "max" }), (steps) => {
      const buffer = new RowBuffer<SourceRow>(1500, () => {});
      let model: SourceRow[] = [];
      let count = 0;
      for (const each of steps) {
        if (each.do === "offer") {
          const next = row(count++);
          assert.equal(buffer.offer(next), model.length < 1500);
          if (next.state === "waiting") model.push(next);
        } else if (each.do === "cancel" && model.length > 0) {
          const victim = model[each.which % model.length]!;
          assert.equal(buffer.cancel(victim), true);
          model = model.filter((other) => other !== victim);
        } else if (each.do === "take") {
          assert.deepEqual(buffer.take(each.most), model.splice(0, each.most));
        }
        assert.equal(buffer.length, model.length);
      }
    }),
    { numRuns: 20 },
  );
});
