/**
 * What every source promises, checked: see `plugins/contract.ts`. Call {@linkcode conformSource} in a
 * test of your plugin, with Deno's sanitizers on.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type {
  Columns,
  Json,
  Offset,
  PushSource,
  ReplayableSource,
  SourceContext,
  SourcePlugin,
  SourceRow,
} from "../plugins/contract.ts";
import { Registry } from "../plugins/registry.ts";
import { Batch, type Schema } from "../engine/batch.ts";
import { RowBuffer } from "../engine/row_buffer.ts";
import { checkDescription } from "./conformance_description.ts";
import { pluginContext } from "./contexts.ts";

/** Options to try a source with. */
export interface SourceCase {
  readonly title: string;
  readonly options: Json;
  /** What relative paths in the options are relative to. */
  readonly baseUrl?: string;
  /** Called before each check. */
  before?(): void;
  /** Makes a few more rows come, where they do not come by themselves. For replayable sources. */
  advance?(): void | Promise<void>;
  /** Called after each check. */
  after?(): void;
}

/** The promises; those named in `skip` are not checked, for the reason that stands there. */
export const PROMISES = {
  schema: "its batches have the columns that it declared",
  prune: "it gives the columns that are asked for, as they are",
  offsets: "its offsets are plain data, and stand still while nothing comes",
  repeat: "it gives the same rows for the same offsets, also after a restart",
  split: "it gives the same rows in two batches as in one",
  wait: "it stops waiting when it is told to",
  life: "it starts, refuses when it is told to, and closes",
  close: "it can be closed unstarted, and twice",
} as const;

/** A promise. */
export type Promised = keyof typeof PROMISES;

/** Checks a source plugin, one step a promise and case. */
export async function conformSource(
  t: Deno.TestContext,
  plugin: SourcePlugin,
  cases: readonly SourceCase[],
  skip: Partial<Record<Promised, string>> = {},
): Promise<void> {
  await t.step("it is described, with examples that validate", () => {
    assert.equal(plugin.kind, "source");
    checkDescription(plugin);
  });
  for (const each of cases) {
    const trial = new Trial(plugin, each);
    const source = await trial.create();
    const kind = "getBatch" in source ? "replayable" : "push";
    await source.close();
    for (const [promise, sentence] of Object.entries(PROMISES) as [Promised, string][]) {
      if ((OF_KIND[promise] ?? kind) !== kind) continue;
      await t.step({
        name: `${each.title}: ${sentence}${skip[promise] ? ` (skipped: ${skip[promise]})` : ""}`,
        ignore: skip[promise] !== undefined,
        fn: async () => {
          each.before?.();
          try {
            await CHECKS[promise](trial);
          } finally {
            each.after?.();
          }
        },
      });
    }
  }
}

/** Promises that only one kind of source can give. */
const OF_KIND: Partial<Record<Promised, "push" | "replayable">> = {
  offsets: "replayable",
  repeat: "replayable",
  split: "replayable",
  wait: "replayable",
  life: "push",
};

const registry = new Registry([]);

/** A plugin with one case. */
class Trial {
  readonly plugin: SourcePlugin;
  readonly options: unknown;
  readonly advance: () => void | Promise<void>;
  readonly #baseUrl: { readonly baseUrl?: string };

  constructor(plugin: SourcePlugin, { options, baseUrl, advance }: SourceCase) {
    this.plugin = plugin;
    this.options = registry.checkOptions(plugin, options);
    this.advance = () => advance?.();
    this.#baseUrl = baseUrl === undefined ? {} : { baseUrl };
  }

  context(columns: Columns = "all"): SourceContext {
    return pluginContext({ ...this.#baseUrl, columns });
  }

  async create(columns?: Columns): Promise<PushSource | ReplayableSource> {
    return await this.plugin.create(this.options, this.context(columns));
  }

  async declared(): Promise<Schema> {
    return await this.plugin.outputSchema(this.options, this.context());
  }

  /** Runs a check with a source, and closes it. */
  async with<Result>(
    check: (source: PushSource | ReplayableSource) => Promise<Result>,
    columns?: Columns,
  ): Promise<Result> {
    const source = await this.create(columns);
    try {
      return await check(source);
    } finally {
      await source.close();
    }
  }

  /** The same for a source that is known to be replayable. */
  async replayable<Result>(check: (source: ReplayableSource) => Promise<Result>): Promise<Result> {
    return await this.with((source) => check(source as ReplayableSource));
  }

  /** Positions of the source, oldest first; the first is null. */
  async offsets(source: ReplayableSource): Promise<(Offset | null)[]> {
    const offsets: (Offset | null)[] = [null];
    for (let step = 0; step < 5; step++) {
      await this.advance();
      const offset = await source.latestOffset(offsets.at(-1)!);
      if (offset !== null && JSON.stringify(offset) !== JSON.stringify(offsets.at(-1))) {
        offsets.push(offset);
      }
    }
    assert.ok(offsets.length > 1, "a case has rows");
    return offsets;
  }

  /** A batch of what there is; of a push source, one without rows. */
  async batch(source: PushSource | ReplayableSource): Promise<Batch> {
    if (!("getBatch" in source)) return source.toBatch([]);
    const offsets = await this.offsets(source);
    return await source.getBatch(null, offsets.at(-1)!);
  }
}

const CHECKS: Record<Promised, (trial: Trial) => Promise<void>> = {
  async schema(trial) {
    const declared = await trial.declared();
    const batch = await trial.with((source) => trial.batch(source));
    assert.ok(batch instanceof Batch, "wanted a Batch");
    assert.equal(String(batch.schema), String(declared));
    assert.deepEqual(
      Batch.fromRows(declared, batch.rows()).rows(),
      batch.rows(),
      "values are of the types declared",
    );
    for (const { name, nullable } of declared.fields) {
      if (nullable === false) {
        assert.ok(!Array.from(batch.column(name)).includes(null), `nulls in "${name}"`);
      }
    }
  },

  async prune(trial) {
    const declared = await trial.declared();
    await trial.with(async (source) => {
      const end = "getBatch" in source ? (await trial.offsets(source)).at(-1)! : undefined;
      const batchOf = (source: PushSource | ReplayableSource) =>
        "getBatch" in source ? source.getBatch(null, end!) : source.toBatch([]);
      const whole = await batchOf(source);
      for (const wanted of [["id"], ...declared.names.map((name) => ["id", name])]) {
        const pruned = await trial.with(async (source) => await batchOf(source), new Set(wanted));
        assert.equal(pruned.numRows, whole.numRows);
        for (const name of wanted.filter((name) => declared.has(name))) {
          assert.deepEqual(pruned.schema.field(name).type, declared.field(name).type);
          assert.deepEqual(pruned.column(name), whole.column(name));
        }
      }
    });
  },

  async offsets(trial) {
    await trial.replayable(async (source) => {
      const offsets = await trial.offsets(source);
      for (const offset of offsets) assert.deepEqual(JSON.parse(JSON.stringify(offset)), offset);
      const newest = offsets.at(-1)!;
      assert.deepEqual(await source.latestOffset(newest), newest);
      await source.commit(newest);
      assert.deepEqual(await source.latestOffset(newest), newest);
    });
  },

  async repeat(trial) {
    const { offsets, batches } = await trial.replayable(async (source) => {
      const offsets = await trial.offsets(source);
      const batches: Batch[] = [];
      for (const [at, end] of offsets.slice(1).entries()) {
        const batch = await source.getBatch(offsets[at]!, end!);
        assert.deepEqual((await source.getBatch(offsets[at]!, end!)).rows(), batch.rows());
        batches.push(batch);
      }
      assert.ok(batches.some(({ numRows }) => numRows > 0), "a case has rows");
      return { offsets, batches };
    });
    await trial.replayable(async (restarted) => {
      for (const [at, end] of offsets.slice(1).entries()) {
        assert.deepEqual(
          (await restarted.getBatch(offsets[at]!, end!)).rows(),
          batches[at]!.rows(),
        );
      }
      const newest = offsets.at(-1)!;
      await trial.advance();
      const next = await restarted.latestOffset(newest);
      if (JSON.stringify(next) !== JSON.stringify(newest)) {
        const all = await restarted.getBatch(null, next!);
        const old = batches.reduce((sum, { numRows }) => sum + numRows, 0);
        assert.deepEqual(
          (await restarted.getBatch(newest, next!)).rows(),
          all.slice(old).rows(),
          "it goes on where it stood",
        );
      }
    });
  },

  async split(trial) {
    await trial.replayable(async (source) => {
      const offsets = await trial.offsets(source);
      const position = fc.nat({ max: offsets.length - 1 });
      await fc.assert(fc.asyncProperty(position, position, position, async (...three) => {
        const [start, middle, end] = three.sort((a, b) => a - b).map((at) => offsets[at]!);
        if (end === null) return;
        const rows = async (from: Offset | null, to: Offset | null) =>
          to === null ? [] : (await source.getBatch(from, to!)).rows();
        assert.deepEqual(
          [...await rows(start!, middle!), ...await rows(middle!, end!)],
          await rows(start!, end!),
        );
      }));
    });
  },

  async wait(trial) {
    await trial.replayable(async (source) => {
      if (source.waitForMore === undefined) return;
      const newest = (await trial.offsets(source)).at(-1)!;
      const abort = new AbortController();
      const waiting = source.waitForMore(newest, abort.signal);
      abort.abort(new Error("enough"));
      await waiting.catch((error) => assert.equal(error, abort.signal.reason));
      await source.waitForMore(newest, abort.signal)
        .catch((error) => assert.equal(error, abort.signal.reason));
    });
  },

  async life(trial) {
    await trial.with(async (given) => {
      const source = given as PushSource;
      const buffer = new RowBuffer<SourceRow>(10, () => {});
      await source.start(buffer);
      for (const { url } of source.services?.() ?? []) assert.ok(URL.canParse(url), url);
      source.done([]);
      await source.stopAccepting();
      await source.close();
    });
  },

  async close(trial) {
    await trial.with(async (source) => {
      await source.close();
      await source.close();
    });
    await trial.with(async (source) => {
      if ("getBatch" in source) await trial.batch(source);
      else await source.start(new RowBuffer<SourceRow>(10, () => {}));
      await source.close();
      await source.close();
    });
  },
};
