import assert from "node:assert/strict";
import fc from "fast-check";
import type { Json, ReplayableSource } from "../plugins/contract.ts";
import { pluginContext } from "../tests/contexts.ts";
import rate, { type RateSourceOptions } from "./rate.ts";

const BEGIN = 1_700_000_000_000;

/** A source, and the clock that it goes by. */
async function withClock(
  options: RateSourceOptions,
  test: (source: ReplayableSource, clock: { now: number }) => void | Promise<void>,
): Promise<void> {
  const realNow = Date.now;
  const clock = { now: BEGIN };
  Date.now = () => clock.now;
  try {
    await test(await rate.create(options, pluginContext()) as ReplayableSource, clock);
  } finally {
    Date.now = realNow;
  }
}

const values = async (source: ReplayableSource, start: Json, end: Json) => {
  const batch = await source.getBatch(start, end);
  return batch.rows();
};

Deno.test("rows come at their pace, numbered, stamped with the time at which they are due", () =>
  withClock({ rowsPerSecond: 4 }, async (source, clock) => {
    assert.equal(source.latestOffset(null), null);
    clock.now += 249;
    assert.equal(source.latestOffset(null), null);
    clock.now += 1;
    const first = await source.latestOffset(null);
    assert.deepEqual(first, { start: BEGIN, rows: 1 });
    clock.now += 500;
    const second = await source.latestOffset(first);
    assert.deepEqual(await values(source, null, first), [{ timestamp: BEGIN, value: 0n }]);
    assert.deepEqual(await values(source, first, second), [
      { timestamp: BEGIN + 250, value: 1n },
      { timestamp: BEGIN + 500, value: 2n },
    ]);
    assert.equal(source.ended!(), false);
  }));

Deno.test("after a restart the count goes on, and makes up for the time between", () =>
  withClock({ rowsPerSecond: 10 }, async (source, clock) => {
    clock.now += 60_000;
    const before = { start: BEGIN, rows: 20 };
    const latest = await source.latestOffset(before);
    assert.deepEqual(latest, { start: BEGIN, rows: 600 });
    const rows = await values(source, before, latest);
    assert.equal(rows.length, 580);
    assert.equal(rows[0]!.value, 20n);
  }));

Deno.test("a clock that is set back takes no rows back", () =>
  withClock({ rowsPerSecond: 10 }, (source, clock) => {
    const before = { start: BEGIN, rows: 20 };
    clock.now -= 1_000_000;
    assert.deepEqual(source.latestOffset(before), before);
    clock.now = BEGIN + 2_100;
    assert.deepEqual(source.latestOffset(before), { start: BEGIN, rows: 21 });
  }));

Deno.test("numRows is the end", () =>
  withClock({ rowsPerSecond: 1000, numRows: 5 }, (source, clock) => {
    assert.equal(source.ended!(), false);
    source.latestOffset(null);
    assert.equal(source.ended!(), false);
    clock.now += 4;
    assert.equal(source.ended!(), false);
    clock.now += 100;
    assert.deepEqual(source.latestOffset(null), { start: BEGIN, rows: 5 });
    assert.equal(source.ended!(), true);
  }));

Deno.test("no rows is an end too", () =>
  withClock({ rowsPerSecond: 1000, numRows: 0 }, (source, clock) => {
    clock.now += 100;
    assert.equal(source.latestOffset(null), null);
    assert.equal(source.ended!(), true);
  }));

Deno.test("batches cut anywhere are the whole when put together", async () => {
  await fc.assert(fc.asyncProperty(
    fc.double({ min: 0.001, max: 1e6, noNaN: true }),
    fc.nat({ max: 500 }),
    fc.nat({ max: 500 }),
    async (rowsPerSecond, one, other) => {
      const [cut, rows] = [Math.min(one, other), Math.max(one, other)];
      const source = await rate.create({ rowsPerSecond }, pluginContext()) as ReplayableSource;
      const offset = (rows: number) => ({ start: BEGIN, rows });
      assert.deepEqual([
        ...await values(source, null, offset(cut)),
        ...await values(source, offset(cut), offset(rows)),
      ], await values(source, null, offset(rows)));
    },
  ));
});

Deno.test("waitForMore() ends when rows are due, and when it is told to", async () => {
  const source = await rate.create({ rowsPerSecond: 1000 }, pluginContext()) as ReplayableSource;
  // Also before anything else was asked.
  await source.waitForMore!(null, new AbortController().signal);
  const latest = await source.latestOffset(null);
  await source.waitForMore!(latest, new AbortController().signal);
  assert.notDeepEqual(await source.latestOffset(latest), latest);

  const slow = await rate.create({ rowsPerSecond: 0.001 }, pluginContext()) as ReplayableSource;
  const abort = new AbortController();
  const waiting = slow.waitForMore!(null, abort.signal);
  abort.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
});
