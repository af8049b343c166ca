/**
 * What every sink promises, checked: see `plugins/contract.ts`. Call {@linkcode conformSink} in a test of
 * your plugin, with Deno's sanitizers on.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Json, Sink, SinkContext, SinkPlugin, Transform } from "../plugins/contract.ts";
import { Registry } from "../plugins/registry.ts";
import { Batch } from "../engine/batch.ts";
import { keptColumns } from "../engine/make_plan.ts";
import { checkDescription } from "./conformance_description.ts";
import { pluginContext } from "./contexts.ts";
import { transformContext } from "./try_transform.ts";

/** Options and batches to try a sink with. */
export interface SinkCase {
  readonly title: string;
  readonly options: Json;
  /** Two or more, of one schema, with rows. */
  readonly batches: readonly Batch[];
  /** What relative paths in the options are relative to. */
  readonly baseUrl?: string;
  /** Called before each run: the sink is to begin with nothing. */
  before?(context: SinkContext): void | Promise<void>;
  /** What the sink has made so far, to be compared by `deepEqual`. */
  result(): unknown | Promise<unknown>;
  /** Called after each run. */
  after?(): void | Promise<void>;
}

/** The promises; those named in `skip` are not checked, for the reason that stands there. */
export const PROMISES = {
  accept: "it accepts the columns, and makes something of the rows",
  requires: "it needs no columns but those that it says",
  repeat: "a batch that comes again after a restart leaves the same result",
  empty: "it takes a batch without rows, and makes nothing of it",
  input: "it leaves the batch that it is given as it was",
  close: "it can be closed unstarted, and twice",
} as const;

/** A promise. */
export type Promised = keyof typeof PROMISES;

/** Checks a sink plugin, one step a promise and case. */
export async function conformSink(
  t: Deno.TestContext,
  plugin: SinkPlugin,
  cases: readonly SinkCase[],
  skip: Partial<Record<Promised, string>> = {},
): Promise<void> {
  await t.step("it is described, with examples that validate", () => {
    assert.equal(plugin.kind, "sink");
    checkDescription(plugin);
  });
  const reasons = plugin.atLeastOnce === true
    ? { repeat: "it says that it is at-least-once", ...skip }
    : skip;
  for (const each of cases) {
    for (const [promise, sentence] of Object.entries(PROMISES) as [Promised, string][]) {
      const reason = reasons[promise];
      await t.step({
        name: `${each.title}: ${sentence}${reason === undefined ? "" : ` (skipped: ${reason})`}`,
        ignore: reason !== undefined,
        fn: () => CHECKS[promise](new Trial(plugin, each)),
      });
    }
  }
}

const registry = new Registry([]);

/** A plugin with one case. */
class Trial {
  readonly plugin: SinkPlugin;
  readonly given: SinkCase;
  readonly options: unknown;

  constructor(plugin: SinkPlugin, given: SinkCase) {
    const [first, ...others] = given.batches;
    assert.ok(
      others.length > 0 && given.batches.every(({ numRows }) => numRows > 0) &&
        others.every(({ schema }) => schema.equals(first!.schema)),
      "a case has two batches or more, of one schema, with rows",
    );
    this.plugin = plugin;
    this.given = given;
    this.options = registry.checkOptions(plugin, given.options);
  }

  get #baseUrl(): { readonly baseUrl?: string } {
    const { baseUrl } = this.given;
    return baseUrl === undefined ? {} : { baseUrl };
  }

  /** The part of the sink that lives in the partitions. */
  async prepare(batch: Batch): Promise<Transform> {
    const { plugin, options } = this;
    const context = transformContext({ ...this.#baseUrl, input: batch.schema });
    await plugin.check?.(options, batch.schema, context);
    const prepare = await plugin.prepare?.(options, context);
    await prepare?.warmUp?.();
    return prepare ?? { transform: (batch) => batch };
  }

  /**
   * Gives batches to the sink.
   * @param runs the batches of one instance after another, each with its id
   * @returns what it made of them
   */
  async run(...runs: readonly (readonly (readonly [number, Batch])[])[]): Promise<unknown> {
    const context = pluginContext(this.#baseUrl);
    await this.given.before?.(context);
    try {
      for (const batches of runs) {
        const sink: Sink = await this.plugin.create(this.options, context);
        try {
          await sink.open?.();
          for (const [batchId, batch] of batches) {
            const prepare = await this.prepare(batch);
            await sink.addBatch(batchId, await prepare.transform(batch));
            await prepare.close?.();
          }
        } finally {
          await sink.close?.();
        }
      }
      return structuredClone(await this.given.result());
    } finally {
      await this.given.after?.();
    }
  }

  /** Each batch with its id. */
  get batches(): [number, Batch][] {
    return [...this.given.batches.entries()];
  }
}

const CHECKS: Record<Promised, (trial: Trial) => Promise<void>> = {
  async accept(trial) {
    const nothing = await trial.run();
    const one = await trial.run(trial.batches.slice(0, 1));
    const all = await trial.run(trial.batches);
    assert.notDeepEqual(one, nothing);
    assert.notDeepEqual(all, one);
  },

  async requires(trial) {
    const required = trial.plugin.requires?.(trial.options as never) ?? "all";
    const pruned = trial.batches.map(([batchId, batch]) =>
      [batchId, batch.select(keptColumns(batch.schema.names, required))] as const
    );
    assert.deepEqual(await trial.run(pruned), await trial.run(trial.batches));
  },

  async repeat(trial) {
    const { batches } = trial;
    const result = await trial.run(batches);
    for (let cut = 0; cut < batches.length; cut++) {
      // The process dies after the sink has the batch, and before its commit.
      assert.deepEqual(await trial.run(batches.slice(0, cut + 1), batches.slice(cut)), result);
    }
    const twice = batches.flatMap((each) => [each, each]);
    assert.deepEqual(await trial.run(twice), result);
  },

  async empty(trial) {
    const { batches } = trial;
    const nothing = Batch.empty(batches[0]![1].schema);
    const without = await trial.run(batches);
    const withIt = await trial.run([...batches, [batches.length, nothing]]);
    if (trial.plugin.atLeastOnce !== true) assert.deepEqual(withIt, without);
  },

  async input(trial) {
    const before = structuredClone(trial.batches.map(([, batch]) => batch.rows()));
    await trial.run(trial.batches);
    assert.deepEqual(trial.batches.map(([, batch]) => batch.rows()), before);
  },

  async close(trial) {
    const context = pluginContext(trial.given.baseUrl ? { baseUrl: trial.given.baseUrl } : {});
    await trial.given.before?.(context);
    try {
      for (const opened of [false, true]) {
        const sink = await trial.plugin.create(trial.options, context);
        if (opened) await sink.open?.();
        await sink.close?.();
        await sink.close?.();
      }
    } finally {
      await trial.given.after?.();
    }
  },
};
