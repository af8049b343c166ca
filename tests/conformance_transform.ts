/**
 * What every transform promises, checked: see `plugins/contract.ts`. Call {@linkcode conformTransform}
 * in a test of your plugin, with Deno's sanitizers on.
 *
 * @module
 */
import assert from "node:assert/strict";
import type {
  Columns,
  Json,
  PlanContext,
  PluginBase,
  Reply,
  Transform,
  TransformPlugin,
} from "../plugins/contract.ts";
import { Registry } from "../plugins/registry.ts";
import { Batch, Schema } from "../engine/batch.ts";
import { keptColumns } from "../engine/make_plan.ts";
import { transformContext } from "./try_transform.ts";

/** Options and a batch to try a transform with. */
export interface TransformCase {
  readonly title: string;
  readonly options: Json;
  /** Two rows or more; with a column `id`. */
  readonly input: Batch;
  /** What relative module names in the options are relative to. */
  readonly baseUrl?: string;
}

/** The promises; those named in `skip` are not checked, for the reason that stands there. */
export const PROMISES = {
  schema: "its batches have the columns that it declared",
  empty: "it takes a batch without rows, and makes the same columns of it",
  id: "it keeps the ids of the rows that it keeps, and answers none of those",
  input: "it leaves the batch that it is given as it was",
  repeat: "it makes the same of the same batch again",
  split: "it makes the same of the rows in two batches",
  requires: "it needs no columns but those that it says",
  close: "it can be closed unstarted, and twice",
} as const;

/** A promise. */
export type Promised = keyof typeof PROMISES;

/** Checks a transform plugin, one step a promise and case. */
export async function conformTransform(
  t: Deno.TestContext,
  plugin: TransformPlugin,
  cases: readonly TransformCase[],
  skip: Partial<Record<Promised, string>> = {},
): Promise<void> {
  await t.step("it is described, with examples that validate", () => checkDescription(plugin));
  for (const each of cases) {
    for (const [promise, sentence] of Object.entries(PROMISES) as [Promised, string][]) {
      await t.step({
        name: `${each.title}: ${sentence}${skip[promise] ? ` (skipped: ${skip[promise]})` : ""}`,
        ignore: skip[promise] !== undefined,
        fn: () => CHECKS[promise](new Trial(plugin, each)),
      });
    }
  }
}

const registry = new Registry([]);

/** A plugin with one case. */
class Trial {
  readonly plugin: TransformPlugin;
  readonly input: Batch;
  readonly options: unknown;
  /** Early replies since the last run. */
  replies = new Map<string, Reply>();
  readonly #planContext: PlanContext;

  constructor(plugin: TransformPlugin, { options, input, baseUrl = "file:///" }: TransformCase) {
    assert.ok(
      input.numRows >= 2 && input.schema.has("id"),
      "a case has two rows or more, with ids",
    );
    this.plugin = plugin;
    this.input = input;
    this.options = registry.checkOptions(plugin, options);
    this.#planContext = { baseUrl, Batch, Schema };
  }

  async create(input: Schema | undefined): Promise<Transform> {
    const context = transformContext({
      ...this.#planContext,
      input,
      reply: (id, reply) => this.replies.set(id, reply),
    });
    return await this.plugin.create(this.options, context);
  }

  /** Starts a transform for the schema of the batches, and gives it each of them. */
  async run(...batches: readonly Batch[]): Promise<Batch[]> {
    this.replies = new Map();
    const transform = await this.create(batches[0]!.schema);
    try {
      await transform.warmUp?.();
      const outputs: Batch[] = [];
      for (const batch of batches) outputs.push(await transform.transform(batch));
      return outputs;
    } finally {
      await transform.close?.();
    }
  }

  async declared(input: Schema): Promise<Schema | undefined> {
    return await this.plugin.outputSchema?.(this.options, input, this.#planContext);
  }

  requires(needed: Columns): Columns {
    return this.plugin.requires?.(this.options, needed) ?? "all";
  }
}

const CHECKS: Record<Promised, (trial: Trial) => Promise<void>> = {
  async schema(trial) {
    const declared = await trial.declared(trial.input.schema);
    const [output] = await trial.run(trial.input);
    assert.ok(output instanceof Batch, "wanted a Batch");
    if (declared === undefined) return;
    assert.equal(String(output.schema), String(declared));
    assert.deepEqual(
      Batch.fromRows(declared, output.rows()).rows(),
      output.rows(),
      "values are of the types declared",
    );
    for (const { name, nullable } of declared.fields) {
      if (nullable === false) {
        assert.ok(!Array.from(output.column(name)).includes(null), `nulls in "${name}"`);
      }
    }
  },

  async empty(trial) {
    const nothing = Batch.empty(trial.input.schema);
    const [before, output, after] = await trial.run(nothing, trial.input, nothing);
    for (const empty of [before!, after!]) {
      assert.equal(empty.numRows, 0);
      assert.equal(String(empty.schema), String(output!.schema));
    }
  },

  async id(trial) {
    const ids = new Set(trial.input.column("id"));
    const [output] = await trial.run(trial.input);
    for (const id of output!.column("id")) {
      assert.ok(ids.has(id as never), `id "${id}" is not of the input`);
      assert.ok(!trial.replies.has(id as string), `row "${id}" was answered and kept`);
    }
    for (const id of trial.replies.keys()) assert.ok(ids.has(id as never));
  },

  async input(trial) {
    const before = structuredClone(trial.input.rows());
    await trial.run(trial.input);
    assert.deepEqual(trial.input.rows(), before);
  },

  async repeat(trial) {
    const [first, second] = await trial.run(trial.input, trial.input);
    assertSame(second!, first!);
  },

  async split(trial) {
    const [whole] = await trial.run(trial.input);
    const replies = trial.replies;
    const middle = trial.input.numRows >> 1;
    const parts = await trial.run(trial.input.slice(0, middle), trial.input.slice(middle));
    assertSame(Batch.concat(parts), whole!);
    assert.deepEqual(trial.replies, replies);
  },

  async requires(trial) {
    const [whole] = await trial.run(trial.input);
    const replies = trial.replies;
    const { names } = whole!.schema;
    const wishes: Columns[] = [
      "all",
      new Set<string>(),
      new Set(names),
      ...names.map((name) => new Set([name])),
    ];
    for (const needed of wishes) {
      const required = trial.requires(needed);
      assert.deepEqual(trial.requires(needed), required, "it says the same when asked again");
      if (required !== "all") assert.ok(required.has("id"), '"id" is always among them');
      const pruned = trial.input.select(keptColumns(trial.input.schema.names, required));
      const declared = await trial.declared(pruned.schema);
      const [output] = await trial.run(pruned);
      if (declared !== undefined) assert.equal(String(output!.schema), String(declared));
      const wanted = keptColumns(names, needed === "all" ? "all" : new Set(["id", ...needed]));
      assertSame(output!.select(wanted), whole!.select(wanted));
      assert.deepEqual(trial.replies, replies);
    }
  },

  async close(trial) {
    for (const input of [trial.input.schema, undefined]) {
      const transform = await trial.create(input);
      await transform.close?.();
      await transform.close?.();
    }
    const used = await trial.create(undefined);
    await used.warmUp?.();
    await used.transform(trial.input);
    await used.close?.();
    await used.close?.();
  },
};

function checkDescription(plugin: TransformPlugin): void {
  assert.equal(plugin.kind, "transform");
  assert.match(plugin.name, /^[a-z][a-z0-9_]*$/);
  assert.match(plugin.summary, /^[A-Z][^\n]*\.$/, "the summary is one sentence");
  assert.ok((plugin.description ?? "").length > 0, "it has a description");
  assert.ok((plugin.examples ?? []).length >= 2, "it has two examples or more");
  for (const { title, options } of plugin.examples!) {
    assert.ok(title.length > 0);
    registry.checkOptions(plugin as PluginBase<unknown>, options);
  }
}

function assertSame(actual: Batch, expected: Batch): void {
  assert.equal(String(actual.schema), String(expected.schema));
  assert.deepEqual(actual.rows(), expected.rows());
}
