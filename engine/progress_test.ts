import assert from "node:assert/strict";
import { type BatchRecord, ProgressLog, type ProgressSubject } from "./progress.ts";

const SUBJECT: ProgressSubject = {
  id: "i",
  runId: "r",
  name: "n",
  source: "rate",
  sink: "memory",
  partitionBatches: () => [2, 3],
};

const record = (batchId: number, given: Partial<BatchRecord> = {}): BatchRecord => ({
  batchId,
  began: Date.UTC(2024, 4, 6) + batchId * 500,
  batchDuration: 20,
  numInputRows: 10,
  numOutputRows: 8,
  queueLength: 4,
  durationMs: { addBatch: 15 },
  ...given,
});

Deno.test("a batch is told in Spark's words, with rates by its time and by the time since the last", () => {
  const log = new ProgressLog();
  assert.equal(log.last(SUBJECT), undefined);
  assert.deepEqual(log.recent(SUBJECT), []);
  log.add(record(0));
  log.add(record(1, { startOffset: null, endOffset: { rows: 5 }, metrics: { seen: 3 } }));
  assert.deepEqual(log.last(SUBJECT), {
    id: "i",
    runId: "r",
    name: "n",
    timestamp: "2024-05-06T00:00:00.500Z",
    batchId: 1,
    batchDuration: 20,
    numInputRows: 10,
    inputRowsPerSecond: 20,
    processedRowsPerSecond: 500,
    durationMs: { addBatch: 15 },
    queueLength: 4,
    partitions: [{ partition: 0, numBatches: 2 }, { partition: 1, numBatches: 3 }],
    observedMetrics: { seen: 3 },
    sources: [{ description: "rate", startOffset: null, endOffset: { rows: 5 }, numInputRows: 10 }],
    sink: { description: "memory", numOutputRows: 8 },
  });
  assert.deepEqual(log.recent(SUBJECT).map(({ batchId }) => batchId), [0, 1]);
  assert.equal(log.recent(SUBJECT)[0]!.inputRowsPerSecond, 0);
});

Deno.test("a batch that took no time has a rate all the same", () => {
  const log = new ProgressLog();
  log.add(record(0));
  log.add(record(0, { batchDuration: 0 }));
  const { inputRowsPerSecond, processedRowsPerSecond } = log.last(SUBJECT)!;
  assert.ok(Number.isFinite(inputRowsPerSecond) && Number.isFinite(processedRowsPerSecond));
});

Deno.test("the last hundred are kept, oldest first; totals count all", () => {
  const log = new ProgressLog();
  for (const total of [99, 100, 101, 250]) {
    while (log.numBatches < total) log.add(record(log.numBatches));
    const first = Math.max(0, total - 100);
    assert.deepEqual(
      log.recent(SUBJECT).map(({ batchId }) => batchId),
      Array.from({ length: Math.min(100, total) }, (_, at) => first + at),
    );
    assert.equal(log.last(SUBJECT)!.batchId, total - 1);
    assert.equal(log.numInputRows, total * 10);
  }
});
