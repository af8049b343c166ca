/**
 * Scenes with workers that loop for ever, each for a process of its own: `deno run -A
 * tests/hanging_workers.ts <scene>` exits with 0 when all is well. See `faults_test.ts`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { StreamingQuery } from "../engine/query.ts";
import { stubborn } from "./stubborn.ts";
import { newHost, planOf, post, withService } from "./with_service.ts";

const obey = { plugins: ["obey"], transforms: [{ obey: {} }], sink: { replyCol: "reply" } };

const scenes: Readonly<Record<string, () => Promise<void>>> = {
  poison: async () => {
    const engine = { maxBatchSize: 201, maxBatchDelayMs: 200, batchTimeoutMs: 400 };
    await withService({ ...obey, engine }, async ({ url, query }) => {
      const bodies = Array.from({ length: 201 }, (_, n) => n === 77 ? "hang" : `good ${n}`);
      const answers = await Promise.all(bodies.map((each) => post(url, each)));
      for (const [n, { status, text }] of answers.entries()) {
        if (n !== 77) assert.deepEqual([status, text], [200, `ok good ${n}`]);
      }
      assert.deepEqual([answers[77]!.status, JSON.parse(answers[77]!.text).error], [
        500,
        "The worker did not survive this request: a batch took longer than 400 ms",
      ]);
      // Twice with all, then in a piece of seven, then alone.
      assert.equal(query.status.workerRestarts, 4);
      assert.equal((await post(url, "afterwards")).text, "ok afterwards");
    });
  },
  neighbour: async () => {
    const engine = { partitions: 2, batchTimeoutMs: 500 };
    await withService({ ...obey, engine }, async ({ url }) => {
      const hanging = post(url, "hang");
      let hangs = true;
      hanging.then(() => hangs = false);
      for (let n = 0; n < 50; n++) {
        assert.equal((await post(url, `good ${n}`)).text, `ok good ${n}`);
        assert.ok(hangs);
      }
      assert.equal((await hanging).status, 500);
    });
  },
  stop: async () => {
    for (const start of ["hang", "wait"]) {
      await stubborn([start], async (setup, hasStarted) => {
        const query = new StreamingQuery("api", await planOf(setup), newHost());
        while (!hasStarted()) await new Promise((resolve) => setTimeout(resolve, 5));
        assert.equal(query.status.message, "Initializing");
        await query.stop();
        assert.equal(query.isActive, false);
        assert.equal(query.exception, undefined);
        assert.deepEqual(query.services(), []);
      });
    }
  },
  start: async () => {
    await stubborn(["ok", "throw", "exit", "hang", "wait", "ok"], async (setup) => {
      await withService(setup, async ({ url, query }) => {
        query.replacePartition(0);
        assert.equal((await post(url, "patient")).text, "patient");
        assert.equal(query.isActive, true);
      });
    }, { batchTimeoutMs: 300 });
  },
};

try {
  await scenes[Deno.args[0]!]!();
} catch (error) {
  console.error(error);
  Deno.exit(1);
}
Deno.exit();
