/**
 * The fluent API, under Spark's names. A frame is an immutable plan in the making; nothing runs until
 * a writer starts it.
 *
 * @module
 */
import { pathToFileURL } from "node:url";
import type { Json } from "../plugins/contract.ts";
import { dropMemoryTable, memoryTable } from "../sinks/memory.ts";
import { col, type Column } from "./expressions/column.ts";
import { makePlan, type PlanDraft } from "./make_plan.ts";
import type { Batching, Plan, PluginUse, Trigger } from "./plan.ts";
import type { StreamingQuery } from "./query.ts";
import type { Session } from "./session.ts";

/** A column expression: built from functions, or as SQL text. */
export type ColumnLike = Column | string;

/** Options that belong to the engine, wherever `option` is called; Spark's names beside ours. */
const ENGINE_OPTIONS: Readonly<
  Record<string, keyof Batching | "partitions" | "peers" | "balancer" | "checkpoint">
> = {
  partitions: "partitions",
  numPartitions: "partitions",
  maxPartitions: "partitions",
  peers: "peers",
  balancer: "balancer",
  checkpoint: "checkpoint",
  checkpointLocation: "checkpoint",
  maxBatchSize: "maxBatchSize",
  maxBatchDelayMs: "maxBatchDelayMs",
  batchTimeoutMs: "batchTimeoutMs",
  maxQueueSize: "maxQueueSize",
  maxWorkerMemoryMb: "maxWorkerMemoryMb",
};

/** Engine options as they were given. */
type EngineOptions = { readonly [key: string]: Json };

/** Plugin options and engine options, told apart. */
class Options {
  readonly plugin: { [key: string]: Json } = {};
  readonly engine: { [key: string]: Json } = {};

  set(key: string, value: Json): void {
    const engineKey = Object.hasOwn(ENGINE_OPTIONS, key) ? ENGINE_OPTIONS[key] : undefined;
    if (engineKey === undefined) this.plugin[key] = value;
    else this.engine[engineKey] = value;
  }
}

/** Names a source and its options: `session.readStream.format("http").option("port", 8888).load()`. */
export class DataFrameReader {
  readonly #session: Session;
  readonly #streaming: boolean;
  readonly #options = new Options();
  readonly #plugins: string[] = [];
  #format: string | undefined;

  /** Made by `session.readStream` and `session.read`. */
  constructor(session: Session, streaming: boolean) {
    this.#session = session;
    this.#streaming = streaming;
  }

  /** The source plugin, by name or alias. */
  format(name: string): this {
    this.#format = name;
    return this;
  }

  /** Sets an option of the source, or one of the engine such as `partitions`. */
  option(key: string, value: Json): this {
    this.#options.set(key, value);
    return this;
  }

  options(options: Readonly<Record<string, Json>>): this {
    for (const [key, value] of Object.entries(options)) this.option(key, value);
    return this;
  }

  /** The source's schema in DDL, where the source takes one. */
  schema(ddl: string): this {
    return this.option("schema", ddl);
  }

  /** Loads an outside plugin: a path, a URL or an npm package. */
  plugin(specifier: string): this {
    this.#plugins.push(specifier);
    return this;
  }

  /** The `http` source, head-node mode. */
  server(): this {
    return this.format("http");
  }

  /** Host, port and name of a service. */
  address(host: string, port: number, name: string): this {
    return this.option("host", host).option("port", port).option("name", name);
  }

  /** @throws {TypeError} without a format */
  load(): DataFrame {
    if (this.#format === undefined) {
      throw new TypeError("Cannot load: no format is set; call format(name) first");
    }
    return new DataFrame({
      session: this.#session,
      streaming: this.#streaming,
      source: { name: this.#format, options: { ...this.#options.plugin } },
      transforms: [],
      engine: { ...this.#options.engine },
      plugins: [...this.#plugins],
    });
  }
}

/** What a frame has been told so far. */
interface FrameState {
  readonly session: Session;
  readonly streaming: boolean;
  readonly source: PluginUse;
  readonly transforms: readonly PluginUse[];
  readonly engine: EngineOptions;
  readonly plugins: readonly string[];
}

/** An immutable plan over columns; every method returns a new frame. */
export class DataFrame {
  readonly #state: FrameState;

  /** Made by `load()`. */
  constructor(state: FrameState) {
    this.#state = state;
  }

  /** Whether the source has no end. */
  get isStreaming(): boolean {
    return this.#state.streaming;
  }

  /** Adds a column, or puts another in its place. */
  withColumn(name: string, expression: ColumnLike): DataFrame {
    return this.use("with_column", { [name]: String(expression) });
  }

  /** Columns by name or expression; `id` stays, so that replies find their way. */
  select(...columns: ColumnLike[]): DataFrame {
    return this.use(
      "select",
      columns.map((column) => typeof column === "string" ? nameOrStar(column) : String(column)),
    );
  }

  /** Columns by SQL text. */
  selectExpr(...expressions: string[]): DataFrame {
    return this.use("select", expressions);
  }

  /** Keeps the rows for which the condition is true. */
  filter(condition: ColumnLike): DataFrame {
    return this.use("filter", { condition: String(condition) });
  }

  /** Same as `filter`. */
  where(condition: ColumnLike): DataFrame {
    return this.filter(condition);
  }

  drop(...names: string[]): DataFrame {
    return this.use("drop", names);
  }

  withColumnRenamed(from: string, to: string): DataFrame {
    return this.use("rename", { [from]: to });
  }

  /** One row for each item of a list column. */
  explode(
    column: string,
    options: { as?: string; outer?: boolean; position?: string } = {},
  ): DataFrame {
    return this.use("explode", { column, ...options });
  }

  /**
   * JSON bodies to typed columns; a body that does not fit gets 400.
   * @param schema DDL such as `a int, b array<string>`
   */
  parseRequest(
    schema: string,
    options: { parsingCheck?: "none" | "partial" | "full"; keep?: boolean | string[] } = {},
  ): DataFrame {
    return this.use("parse_request", { schema, ...options });
  }

  /** A reply column from another column. */
  makeReply(
    column: string,
    name: string = "reply",
    options: Readonly<Record<string, Json>> = {},
  ): DataFrame {
    return this.use("make_reply", { col: column, name, ...options });
  }

  /** Answers rows for which a condition holds at once; they leave the pipeline. */
  sendReply(options: {
    when: ColumnLike;
    statusCode?: number;
    entity?: ColumnLike;
    contentType?: string;
  }): DataFrame {
    const { when, entity, ...rest } = options;
    return this.use("send_reply", {
      when: String(when),
      ...(entity === undefined ? {} : { entity: String(entity) }),
      ...rest,
    });
  }

  /**
   * Moves rows between partitions: by the values of columns, or in turn when there are none.
   * @param numPartitions how many partitions get rows, or the first column; without a number, all do
   */
  repartition(numPartitions: number | ColumnLike, ...columns: ColumnLike[]): DataFrame {
    const partitions = typeof numPartitions === "number" ? numPartitions : undefined;
    const keys = typeof numPartitions === "number" ? columns : [numPartitions, ...columns];
    return this.use("repartition", {
      ...(partitions === undefined ? {} : { partitions }),
      keys: keys.map((key) => String(typeof key === "string" ? col(key) : key)),
    });
  }

  /** Hands batches to a function of a module; a closure cannot cross a worker's wall. */
  mapBatches(
    module: string | URL,
    options: { export?: string; schema?: string; options?: Json } = {},
  ): DataFrame {
    return this.use("map_batches", { module: String(module), ...options });
  }

  /** Applies a function of yours to the frame, to keep a chain going. */
  transform(change: (frame: DataFrame) => DataFrame): DataFrame {
    return change(this);
  }

  /** Adds a transform plugin by name. */
  use(name: string, options: Json = {}): DataFrame {
    const { transforms } = this.#state;
    return new DataFrame({ ...this.#state, transforms: [...transforms, { name, options }] });
  }

  /** Writes without an end. */
  get writeStream(): DataStreamWriter {
    return new DataStreamWriter(this.#state);
  }

  /** Writes what there is, once. */
  get write(): DataFrameWriter {
    return new DataFrameWriter(this.#state);
  }

  /** Runs the plan once over what there is, and gives the rows. */
  async collect(): Promise<Record<string, unknown>[]> {
    const name = `collect-${crypto.randomUUID()}`;
    try {
      await this.write.format("memory").option("name", name).save();
      return memoryTable(name).rows();
    } finally {
      dropMemoryTable(name);
    }
  }

  /** Number of rows there are. */
  async count(): Promise<number> {
    return (await this.collect()).length;
  }

  /** Prints the first rows as a table. */
  async show(numRows: number = 20): Promise<void> {
    await this.write.format("console").option("numRows", numRows).save();
  }
}

/** What the writers for bounded and unbounded frames share. */
abstract class Writer {
  protected readonly state: FrameState;
  protected readonly sinkOptions: Options = new Options();
  protected sinkFormat: string | undefined;

  constructor(state: FrameState) {
    this.state = state;
  }

  /** The sink plugin, by name or alias. */
  format(name: string): this {
    this.sinkFormat = name;
    return this;
  }

  /** Sets an option of the sink, or one of the engine such as `checkpointLocation`. */
  option(key: string, value: Json): this {
    this.sinkOptions.set(key, value);
    return this;
  }

  options(options: Readonly<Record<string, Json>>): this {
    for (const [key, value] of Object.entries(options)) this.option(key, value);
    return this;
  }

  protected plan(name: string, trigger: NonNullable<PlanDraft["trigger"]>): Promise<Plan> {
    const { session, source, transforms, plugins } = this.state;
    if (this.sinkFormat === undefined) {
      throw new TypeError("Cannot start: no format is set; call format(name) first");
    }
    const draft: PlanDraft = {
      name,
      source,
      transforms,
      sink: { name: this.sinkFormat, options: { ...this.sinkOptions.plugin } },
      trigger,
      engine: { ...this.state.engine, ...this.sinkOptions.engine },
      plugins,
      baseUrl: pathToFileURL(`${Deno.cwd()}/`).href,
    };
    return makePlan(draft, session.newRegistry());
  }
}

/** Names a sink, and runs the plan once: `df.write.format("console").save()`. */
export class DataFrameWriter extends Writer {
  /** Resolves when all rows are in the sink. */
  async save(): Promise<void> {
    if (this.state.streaming) {
      throw new TypeError("Cannot save a stream: use writeStream...start(), or session.read");
    }
    const name = `batch-${crypto.randomUUID()}`;
    await this.state.session.start(this.plan(name, { availableNow: true }), name)
      .awaitTermination();
  }
}

/** Names a sink, and starts a query. Spark's `DataStreamWriter`. */
export class DataStreamWriter extends Writer {
  #name: string | undefined;
  #trigger: Trigger | { readonly processingTime: string } = { continuous: true };

  /** The query's name. Default: a random one. */
  queryName(name: string): this {
    this.#name = name;
    return this;
  }

  /**
   * When a micro-batch starts; `processingTime` in ms, or text such as `"5 seconds"`. Default: as soon
   * as a partition is idle.
   */
  trigger(trigger: Trigger | { readonly processingTime: string }): this {
    this.#trigger = trigger;
    return this;
  }

  /** Only `append`: each batch's rows are added to what is there. */
  outputMode(mode: "append"): this {
    if (mode !== "append") {
      throw new TypeError(`Cannot use output mode "${mode}": append is allowed`);
    }
    return this;
  }

  /** The service to answer, for the `http` sink. */
  replyTo(name: string): this {
    return this.option("name", name);
  }

  /** The `http` sink. */
  server(): this {
    return this.format("http");
  }

  /** Hands each batch to a function of a module. */
  foreachBatch(module: string | URL, exportName: string = "default"): this {
    return this.format("foreach_batch").option("module", String(module)).option(
      "export",
      exportName,
    );
  }

  /**
   * Starts the query. It returns at once; what is wrong with the plan comes out at `ready`.
   * @throws {Error} when a query of this name is active
   */
  start(): StreamingQuery {
    if (!this.state.streaming) {
      throw new TypeError(
        "Cannot start a bounded frame: use write...save(), or session.readStream",
      );
    }
    const name = this.#name ?? `query-${crypto.randomUUID()}`;
    return this.state.session.start(this.plan(name, this.#trigger), name);
  }
}

/** In Spark's `select` a text is a column's name, not an expression. */
function nameOrStar(name: string): string {
  return name === "*" ? name : String(col(name));
}
