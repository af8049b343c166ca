/**
 * The `onnx` transform: columns out of a model.
 *
 * @module
 */
import * as v from "valibot";
import type { Schema } from "../engine/batch.ts";
import { perSchema } from "../engine/per_schema.ts";
import { type Binding, bindModel } from "../onnx/binding.ts";
import { externalPath, findModel, type Model, modelBytes } from "../onnx/model_source.ts";
import { Learners, ModelRunner } from "../onnx/model_runner.ts";
import { chooseRuntime, type Runtime } from "../onnx/runtime.ts";
import type { ModelSession } from "../onnx/session.ts";
import { blankRow, warmUp } from "../onnx/warm_up.ts";
import { WorkerSession } from "../onnx/worker_session.ts";
import { type Columns, defineTransform, type TransformContext } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { columnsBefore } from "./columns.ts";
import { nameOption } from "./option_expression.ts";

/** The windows of the warm-up: native code is as fast as it will be from the start. */
const WINDOW_MS = { wasm: 250, native: 10 } as const;
const RUN_NAMES = ["feed", "fetch", "softMax", "argMax"] as const;

const names = (wanted: string) => v.record(nameOption(), nameOption(), wanted);

const entries = v.strictObject({
  model: v.pipe(
    v.optional(v.pipe(v.string(), v.nonEmpty())),
    v.description("The model: a path, a `file:` URL, or its bytes in a base64 `data:` URL."),
  ),
  feed: v.pipe(
    v.optional(names("a map of inputs to columns")),
    v.description("Column for each input of the model. Default: the column of the input's name."),
  ),
  fetch: v.pipe(
    v.optional(names("a map of columns to outputs")),
    v.description("Output for each new column. Default: all outputs, each under its own name."),
  ),
  softMax: v.pipe(
    v.optional(names("a map of fetched columns to new ones")),
    v.description("New column with the probabilities (softmax) of the scores in a fetched one."),
  ),
  argMax: v.pipe(
    v.optional(names("a map of fetched columns to new ones")),
    v.description(
      "New column with the position of the greatest value in a fetched one, from 0; the first of equals.",
    ),
  ),
  shapes: v.pipe(
    v.optional(v.record(nameOption(), v.array(whole(1, 1_000_000_000))), {}),
    v.description(
      "Shape of one row, by input, for those where the model leaves it open and the column does not tell it, as " +
        "bytes and flat lists do not.",
    ),
  ),
  runtime: v.pipe(
    v.optional(v.picklist(["auto", "wasm", "native"]), "auto"),
    v.description(
      "`wasm` comes with Millrace; `native` is the npm package `onnxruntime-node`, several times as fast, which " +
        "is yours to install beside the config; `auto` is `native` where it is installed.",
    ),
  ),
  device: v.pipe(
    v.optional(word(["cpu", "cuda"])),
    v.description("`cpu` or `cuda`; `cuda` takes the native runtime. Default: `cpu`."),
  ),
  threads: v.pipe(
    v.optional(whole(1, 1024), 1),
    v.description("Threads of a run, in each partition; more than one takes the native runtime."),
  ),
  optimization: v.pipe(
    v.optional(word(["disabled", "basic", "extended", "all"], sparkLevels())),
    v.description("How far the graph is optimised when it is loaded. Default: `all`."),
  ),
  miniBatchSize: v.pipe(
    v.optional(v.union([v.literal("auto"), whole(1, 1_000_000)], "auto, or a number of rows")),
    v.description(
      "Most rows in a run. Default: `auto`, which learns from measured time what pays.",
    ),
  ),
  maxBatchSize: v.pipe(
    v.optional(whole(1, 65_536), 256),
    v.description("Most rows in a run where `miniBatchSize` is `auto`."),
  ),
  batchAxis: v.pipe(
    v.optional(v.union([v.literal(0), v.literal("none")], '0 or "none"'), 0),
    v.description(
      "Whether the first axis of inputs and outputs counts rows (`0`), or each row is a run (`none`).",
    ),
  ),
  pad: v.pipe(
    v.optional(v.number()),
    v.description(
      "Fills up rows that are shorter than others, so that they can go together; outputs stay as long as the " +
        "longest. Default: rows go with those of their own shape.",
    ),
  ),
  warmUp: v.pipe(
    v.optional(
      v.union([
        v.boolean(),
        v.strictObject({
          shapes: v.pipe(
            v.optional(v.record(nameOption(), v.array(whole(1, 1_000_000_000))), {}),
            v.description("Shape of one row, by input, where lengths differ: one that is usual."),
          ),
          maxMs: v.pipe(
            v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(3_600_000)), 10_000),
            v.description("How long it may take, in ms."),
          ),
        }),
      ], "true, false, or a map with shapes and maxMs"),
      true,
    ),
    v.description(
      "Whether the model runs on blank rows before the service is ready, until it has become as fast as it " +
        "will be and the size that pays is known.",
    ),
  ),
  modelLocation: alias("model", v.pipe(v.string(), v.nonEmpty())),
  feedDict: alias("feed", names("a map of inputs to columns")),
  fetchDict: alias("fetch", names("a map of columns to outputs")),
  softMaxDict: alias("softMax", names("a map of fetched columns to new ones")),
  argMaxDict: alias("argMax", names("a map of fetched columns to new ones")),
  deviceType: alias("device", word(["cpu", "cuda"])),
  optimizationLevel: alias(
    "optimization",
    word(["disabled", "basic", "extended", "all"], sparkLevels()),
  ),
});

const ALIASES = {
  model: "modelLocation",
  feed: "feedDict",
  fetch: "fetchDict",
  softMax: "softMaxDict",
  argMax: "argMaxDict",
  device: "deviceType",
  optimization: "optimizationLevel",
} as const;

const options = v.pipe(
  entries,
  v.check(
    (given) => twice(given) === undefined,
    ({ input }) => `each option once; "${twice(input as Given)!.join('" and "')}" are the same`,
  ),
  v.check(
    ({ model, modelLocation }) => model !== undefined || modelLocation !== undefined,
    'option "model": a path, a file: URL, or a base64 data: URL',
  ),
  v.transform((given) => ({
    ...given,
    model: (given.model ?? given.modelLocation)!,
    feed: given.feed ?? given.feedDict,
    fetch: given.fetch ?? given.fetchDict,
    softMax: given.softMax ?? given.softMaxDict ?? {},
    argMax: given.argMax ?? given.argMaxDict ?? {},
    device: given.device ?? given.deviceType ?? "cpu",
    optimization: given.optimization ?? given.optimizationLevel ?? "all",
    miniBatchSize: given.miniBatchSize ?? "auto",
  })),
);

/** Options of the `onnx` transform, checked and complete. */
export type OnnxOptions = v.InferOutput<typeof options>;

type Given = v.InferOutput<typeof entries>;

export default defineTransform<OnnxOptions>({
  kind: "transform",
  name: "onnx",
  summary: "Runs an ONNX model over columns, and makes columns of its outputs.",
  description: [
    "Numbers, lists, nested lists and tensors become tensors of the type that the input has; binary columns are",
    "its elements as bytes (low byte first), and text is the base64 of such bytes, unless the input takes text.",
    "Integers must be in range; fractions are not cut: `cast` such a column before. float16 counts as float32.",
    "Outputs become single values, lists, or, with two axes and more, tensors (nested lists where lengths are not",
    "known). What can be checked against the model is checked before the service starts; a row that does not fit",
    "then gets 400, and the others go on.",
    "",
    "Each partition has a model of its own, in a worker of its own, so a long run holds up neither other requests",
    "nor health checks. Rows that come meanwhile go together in the next run. The progress of the query has",
    "`modelRuns`, `modelRows` and `modelMs`.",
    "",
    "The names of SynapseML's ONNXModel do as well: `modelLocation`, `feedDict`, `fetchDict`, `softMaxDict`,",
    "`argMaxDict`, `deviceType`, `optimizationLevel`.",
  ].join("\n"),
  options,
  examples: [
    {
      title: "One input and one output, by their names in the model",
      options: { model: "./model.onnx", feed: { x: "features" }, fetch: { scores: "y" } },
    },
    {
      title: "Probabilities and the class beside the scores; always native, 8 rows a run",
      options: {
        model: "./classifier.onnx",
        feed: { input: "image" },
        fetch: { scores: "logits" },
        softMax: { scores: "probabilities" },
        argMax: { scores: "class" },
        runtime: "native",
        miniBatchSize: 8,
      },
    },
    {
      title: "Images whose pixels come as bytes",
      options: {
        model: "./image.onnx",
        feed: { pixels: "bytes" },
        shapes: { pixels: [3, 224, 224] },
      },
    },
    {
      title: "Sequences of all lengths, filled up with 0 to go together",
      options: {
        model: "./encoder.onnx",
        feed: { input_ids: "tokens", attention_mask: "mask" },
        pad: 0,
        warmUp: { shapes: { input_ids: [128], attention_mask: [128] } },
      },
    },
  ],
  outputSchema: (options, input, { baseUrl }) => {
    const model = findModel(options.model, baseUrl);
    const { schema } = bind(model, options, input);
    atKeys(options, () => chooseRuntime(options, baseUrl));
    return schema;
  },
  requires: ({ feed, fetch, softMax, argMax }, needed): Columns => {
    if (feed === undefined) return "all";
    const made = [
      ...Object.keys(fetch ?? {}),
      ...Object.values(softMax),
      ...Object.values(argMax),
    ];
    return columnsBefore(needed, { made, read: Object.values(feed) });
  },
  create: async (options, context) => {
    const model = findModel(options.model, context.baseUrl);
    const bindingFor = perSchema(context.input, (schema) => bind(model, options, schema));
    const session = await open(model, options, context);
    const learners = new Learners();
    const runnerFor = perSchema(context.input, (schema) => {
      const isBatched = options.batchAxis === 0;
      const { miniBatchSize, maxBatchSize, pad } = options;
      return new ModelRunner(
        session.session,
        bindingFor(schema),
        { isBatched, miniBatchSize, maxBatchSize, pad },
        learners,
        context.metrics,
      );
    });
    return {
      transform: (batch) => runnerFor(batch.schema).run(batch),
      warmUp: async () => {
        const { input, logger } = context;
        if (options.warmUp === false || input === undefined) return;
        const { shapes = {}, maxMs = 10_000 } = options.warmUp === true ? {} : options.warmUp;
        const runner = runnerFor(input);
        const row = blankRow(bindingFor(input).inputs, shapes);
        const learner = runner.isLearning
          ? learners.of(row.reduce((sum, { data }) => sum + data.length, 0), runner.mostRows)
          : undefined;
        try {
          const windowMs = WINDOW_MS[session.runtime];
          const ms = await warmUp(runner, row, learner, { maxMs, windowMs });
          const size = learner?.best ?? runner.mostRows;
          logger.debug(`Warmed up ${model.name}: ${ms.toFixed(2)} ms a row, ${size} rows a run`);
        } catch (error) {
          // The lengths that the model leaves open may be others than those tried.
          logger.warn(
            `Cannot warm up ${model.name}: ${
              (error as Error).message
            }; give the shapes of its inputs ` +
              "under warmUp, or set warmUp to false",
          );
        }
      },
      close: () => session.session.close(),
    };
  },
});

function bind(model: Model, options: OnnxOptions, input: Schema): Binding {
  const { feed, fetch, softMax, argMax, shapes, batchAxis } = options;
  const keys = keysOf(options);
  return bindModel(
    model,
    { feed, fetch, softMax, argMax, shapes, isBatched: batchAxis === 0, keys },
    input,
  );
}

async function open(
  model: Model,
  options: OnnxOptions,
  { baseUrl, logger }: TransformContext,
): Promise<{ readonly session: ModelSession; readonly runtime: Runtime["name"] }> {
  const chosen = atKeys(options, () => chooseRuntime(options, baseUrl));
  const load = async ({ name, nativeUrl }: Runtime) => {
    const { path, metadata } = model;
    const session = await WorkerSession.open({
      runtime: name,
      nativeUrl,
      path,
      bytes: path === undefined ? await modelBytes(options.model, model) : undefined,
      external: path === undefined ? [] : metadata.externalFiles.map((file) => ({
        name: file,
        path: externalPath(model.name, path, file),
      })),
      device: options.device,
      threads: options.threads,
      optimization: options.optimization,
    });
    return { session, runtime: name };
  };
  try {
    try {
      return await load(chosen);
    } catch (error) {
      const canFallBack = options.runtime === "auto" && chosen.name === "native" &&
        options.device === "cpu" && options.threads === 1;
      if (!canFallBack) throw error;
      const loaded = await load({ name: "wasm", nativeUrl: undefined });
      logger.warn(
        `Cannot load ${model.name} on the native runtime, so it runs on wasm: ${
          (error as Error).message
        }`,
      );
      return loaded;
    }
  } catch (error) {
    throw new PlanError(`Cannot load model "${model.name}": ${(error as Error).message}`, {
      path: ["model"],
      cause: error,
    });
  }
}

/** What the user called options that have two names. */
function keysOf(options: OnnxOptions): Record<typeof RUN_NAMES[number], string> {
  const key = (name: typeof RUN_NAMES[number]) =>
    options[ALIASES[name]] === undefined ? name : ALIASES[name];
  return { feed: key("feed"), fetch: key("fetch"), softMax: key("softMax"), argMax: key("argMax") };
}

/** Leads errors to the name that the user has given. */
function atKeys<T>({ deviceType }: OnnxOptions, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PlanError) || error.path[0] !== "device" || deviceType === undefined) {
      throw error;
    }
    throw new PlanError(error.message, { path: ["deviceType"], cause: error });
  }
}

/** Two names of one option that both are given. */
function twice(given: Given): readonly [string, string] | undefined {
  return Object.entries(ALIASES).find(([name, other]) =>
    given[name as keyof typeof ALIASES] !== undefined && given[other] !== undefined
  );
}

function alias<T extends v.GenericSchema>(name: string, schema: T) {
  return v.pipe(v.optional(schema), v.description(`Same as \`${name}\`.`));
}

/** One of some words, in small or capital letters; `others` are other words for the same. */
function word<const W extends string>(
  words: readonly W[],
  others: Readonly<Record<string, W>> = {},
) {
  const read = (given: string): W | undefined => {
    const lower = given.toLowerCase();
    return words.find((each) => each === lower) ?? others[lower];
  };
  return v.pipe(
    v.string(),
    v.check((given) => read(given) !== undefined, words.join(", ")),
    v.transform((given) => read(given)!),
  );
}

function sparkLevels() {
  return {
    no_opt: "disabled",
    basic_opt: "basic",
    extended_opt: "extended",
    all_opt: "all",
  } as const;
}

function whole(least: number, most: number) {
  return v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
}
