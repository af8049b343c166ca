/**
 * What a plugin is. A module whose default export is a {@linkcode SourcePlugin}, a
 * {@linkcode TransformPlugin} or a {@linkcode SinkPlugin} can be named in a config; those that come
 * with Millrace are such modules too, with no other way into the engine.
 *
 * A plugin of yours needs no import from Millrace at run time, only types: `options` may be a
 * function that is handed valibot, and `context` hands out `Batch` and `Schema`.
 *
 * Life: `create` → `warmUp` (transforms) or `start` / `open` → work → `close`. `close` is called
 * once work has ended, also when `start` or `warmUp` failed; it must be safe unstarted and safe
 * twice, and it flushes.
 *
 * Errors thrown while working are signals, see `errors.ts`: `EndOfInput`, `NotConnected`,
 * `RetryAfter`, `Permanent`, `BatchError`. A plugin without imports may throw any error whose `name`
 * is one of these (with the same fields).
 *
 * @module
 */
import type * as v from "valibot";
import type { Batch, Schema } from "../engine/batch.ts";

/** The three kinds of plugin. */
export type PluginKind = "source" | "transform" | "sink";

/**
 * Where a plugin's instance lives: `head` is the thread that owns the query, `partition` is each of
 * its workers (one instance in each).
 */
export type Placement = "head" | "partition";

/** Plain data, as JSON has it. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The columns of a plan that are needed: `"all"`, or these names. */
export type Columns = "all" | ReadonlySet<string>;

/** An answer to one request, ready to be sent. */
export interface Reply {
  /** HTTP status, 200 to 599. */
  readonly status: number;
  /** Names and values, sent as they are; a name may repeat. */
  readonly headers?: readonly (readonly [string, string])[];
  /** Text is sent as UTF-8; null is an empty body. */
  readonly body: string | Uint8Array | null;
}

/** Log lines with the service's and the partition's name on them. */
export interface PluginLogger {
  debug(message: string, properties?: Record<string, unknown>): void;
  info(message: string, properties?: Record<string, unknown>): void;
  warn(message: string, properties?: Record<string, unknown>): void;
  error(message: string, properties?: Record<string, unknown>): void;
}

/** Counts that appear under `observedMetrics` in the query's progress. */
export interface PluginMetrics {
  /** Adds to a count; it starts at 0. */
  add(name: string, amount: number): void;
}

/** What the engine gives to the static functions of a plugin while it makes a plan. */
export interface PlanContext {
  /** What relative paths and module names in options are relative to; ends in `/`. */
  readonly baseUrl: string;
  readonly Batch: typeof Batch;
  readonly Schema: typeof Schema;
}

/** What the engine gives to every plugin when it is created. */
export interface PluginContext extends PlanContext {
  /** The query's name. */
  readonly service: string;
  readonly logger: PluginLogger;
  readonly metrics: PluginMetrics;
  /** Aborted when the query stops at once; a graceful stop calls `close` instead. */
  readonly signal: AbortSignal;
  /** Index of the peer (process) in its cluster, from 0. */
  readonly peer: number;
  /** Index of the partition, from 0; -1 on the head. */
  readonly partition: number;
  /** Number of partitions of this peer. */
  readonly partitions: number;
  /** What the worker of a partition may do (Deno's permission names); `"inherit"`: all the process may. */
  readonly permissions: "inherit" | Readonly<Record<string, boolean | readonly string[]>>;
}

/** What a source gets besides: which of its columns the rest of the plan reads. */
export interface SourceContext extends PluginContext {
  /** Columns not among these may be left out of the batches. */
  readonly columns: Columns;
  /** Where sources offer, by service name, to send replies. */
  readonly replies: ReplyRouter;
  /** Where the instances of this source in other partitions and peers listen already. */
  readonly siblings: readonly ServiceInfo[];
  /** Number of peers, this one among them. Default: 1. */
  readonly peers?: number;
}

/** What a transform gets besides: a way to answer a row at once. */
export interface TransformContext extends PluginContext {
  /**
   * The columns of the batches it will be given, so that it can prepare for them; undefined when only
   * the data can tell.
   */
  readonly input: Schema | undefined;
  /**
   * Answers the request of a row before the pipeline ends. The transform then leaves the row out of
   * the batch it returns. In a query without requests this does nothing.
   */
  reply(id: string, reply: Reply): void;
}

/** What a sink gets besides. */
export interface SinkContext extends PluginContext {
  readonly replies: ReplyRouter;
}

/** How the replies of a sink find the source that holds the caller's connection. */
export interface ReplyRouter {
  /**
   * Offers to answer the requests of a service.
   * @returns a function that takes the offer back
   * @throws {PlanError} when the name is taken
   */
  offer(service: string, answer: Answer): () => void;
  /**
   * Says that a sink answers the requests of a service, whether it runs yet or not.
   * @param service its name; without one, the service of the query's own source
   * @returns how; it returns false while there is no such service
   */
  claim(service?: string): Answer;
  /** Whether a sink has claimed the service. */
  isClaimed(service: string): boolean;
}

/**
 * Answers one request. Returns false when the id is not waiting any more: it was answered before,
 * timed out, or its caller hung up.
 */
export type Answer = (id: string, reply: Reply) => boolean;

/** An options schema of valibot; entries carry descriptions (`v.description`) and defaults. */
export type OptionsSchema = v.GenericSchema<unknown, unknown>;

/** What plugins of all kinds declare. `Options` is the output type of the options schema. */
export interface PluginBase<Options> {
  /** The name in configs, lower_snake_case; equal to the file's name for those that come with Millrace. */
  readonly name: string;
  /** Other names that are accepted, such as Spark's. */
  readonly aliases?: readonly string[];
  /** One sentence: what it does. */
  readonly summary: string;
  /** Delivery guarantee, ordering, when to use something else. Markdown. */
  readonly description?: string;
  /** The schema, or a function that makes it with the valibot that Millrace uses. */
  readonly options:
    | v.GenericSchema<unknown, Options>
    | ((valibot: typeof v) => v.GenericSchema<unknown, Options>);
  /** Titled options that validate; tests run over them, docs and `create` show them. */
  readonly examples?: readonly { readonly title: string; readonly options: Json }[];
  /**
   * Where instances live. Default: transforms in the partitions, the rest on the head. With a source in
   * the partitions each of them takes, transforms and answers rows by itself.
   */
  readonly placement?: Placement;
}

/** One request or event on its way into a batch. What else it carries is the source's own business. */
export interface SourceRow {
  /** The origin, unique among all that are in flight. */
  readonly id: string;
  /**
   * How far it has come: the source makes it `new`, the engine moves it on. A `cancelled` row never
   * starts.
   */
  state: "new" | "waiting" | "started" | "cancelled";
}

/** The engine's end of a push source. */
export interface RowQueue<Row extends SourceRow> {
  /**
   * Takes a row in. Returns false, and does not take it, when the queue is full or the query is
   * stopping.
   */
  offer(row: Row): boolean;
  /** Takes a row that has not started out again. Returns whether it had not started. */
  cancel(row: Row): boolean;
  /** Rows that wait, cancelled ones left out. */
  readonly length: number;
  /** Why `offer` refuses now, or undefined when it does not. */
  readonly refusal: "full" | "stopping" | undefined;
}

/**
 * A source whose rows come when they come, each awaiting one reply. For every row that `offer` took,
 * the engine calls exactly one of `done` and `fail` (unless it was cancelled before it started).
 */
export interface PushSource<Row extends SourceRow = SourceRow> {
  /** Begins to take rows. When it resolves, callers can reach it: the port is bound. */
  start(queue: RowQueue<Row>): Promise<void> | void;
  /** The columns of rows, by the plugin's output schema; only `context.columns` are needed. */
  toBatch(rows: readonly Row[]): Batch;
  /**
   * The rows have been through the pipeline and the sink. A row that has had no reply was dropped by
   * a transform; its caller gets the source's answer for that.
   */
  done(rows: readonly Row[]): void;
  /** The row cannot be processed. The caller gets the error. */
  fail(row: Row, error: Error): void;
  /**
   * Sends callers to another instance, which has taken this one's place: no new connection is taken, and
   * what comes over open ones is still answered. It resolves when callers have had the time to go; then
   * `stopAccepting` follows.
   */
  handOver?(): Promise<void> | void;
  /** Refuses what comes from now on; rows that were taken are still answered. */
  stopAccepting(): Promise<void> | void;
  /** Frees everything. Callers still waiting get an error. */
  close(): Promise<void> | void;
  /** Listeners for service discovery. */
  services?(): readonly ServiceInfo[];
}

/** Where a service can be reached. */
export interface ServiceInfo {
  readonly name: string;
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Index of the peer that listens. */
  readonly peer: number;
  /** Index of the partition that listens; -1 for the head. */
  readonly partition: number;
  /** Whether requests are taken; `stopping`: callers are to go elsewhere. */
  readonly state: "ready" | "stopping";
}

/** A position in a replayable source: plain data, compared by the source alone. */
export type Offset = Json;

/**
 * A source that can give the same rows again. The engine logs `(start, end]` before it asks for the
 * batch, and calls `commit(end)` after the sink has it, so a batch cut short by a crash is read again.
 */
export interface ReplayableSource {
  /**
   * The newest position there is, or null when there is nothing yet.
   * @param start where the last batch ended, maybe in an earlier run; null before the first one
   */
  latestOffset(start: Offset | null): Promise<Offset | null> | Offset | null;
  /** The rows after `start` (null: from the beginning) up to and including `end`; always the same ones. */
  getBatch(start: Offset | null, end: Offset): Promise<Batch> | Batch;
  /** Rows up to here will not be asked for again. */
  commit(end: Offset): Promise<void> | void;
  /** Resolves when there may be more than `after`. The engine polls without it. */
  waitForMore?(after: Offset | null, signal: AbortSignal): Promise<void>;
  /** Whether the source has ended: nothing comes after what `latestOffset` gives now. */
  ended?(): boolean;
  close(): Promise<void> | void;
}

/** A module that brings rows in. */
export interface SourcePlugin<Options = unknown> extends PluginBase<Options> {
  readonly kind: "source";
  /** The columns of its batches. */
  outputSchema(options: Options, context: PlanContext): Schema | Promise<Schema>;
  create(
    options: Options,
    context: SourceContext,
    // deno-lint-ignore no-explicit-any -- a source's row type is its own business
  ): PushSource<any> | ReplayableSource | Promise<PushSource<any> | ReplayableSource>;
}

/** How a transform wants rows spread over the partitions before it gets them. */
export interface Shuffle {
  /**
   * SQL expressions over its input: rows for which all of them are equal come to the same partition.
   * Null is a key like any other. Without any, rows are dealt out in turn.
   */
  readonly keys: readonly string[];
  /** Number of partitions that get rows, the first ones of all peers. Default: all of them. */
  readonly partitions?: number | undefined;
}

/** A running transform. */
export interface Transform {
  /**
   * The batch's successor. It must keep the `id` column of the rows it keeps. It is called with one
   * batch at a time, and with any number of rows, also none. What it returns it gives away: columns
   * may be moved to another thread afterwards, so return a copy of what you keep.
   */
  transform(batch: Batch): Batch | Promise<Batch>;
  /** Called once before the first batch, and before the service says it is ready. */
  warmUp?(): Promise<void> | void;
  /** The state, for the checkpoint: bytes or plain data. */
  snapshot?(): Promise<Json | Uint8Array> | Json | Uint8Array;
  /** Called before the first batch with what `snapshot` gave. */
  restore?(state: Json | Uint8Array): Promise<void> | void;
  close?(): Promise<void> | void;
}

/** A module that changes batches. It runs in the partitions. */
export interface TransformPlugin<Options = unknown> extends PluginBase<Options> {
  readonly kind: "transform";
  /**
   * The columns of the batches it returns, given those it gets. Throw a `PlanError` when the input
   * does not fit. Leave it out, or return undefined, when only the data can tell: checks downstream then
   * wait for the data.
   */
  outputSchema?(
    options: Options,
    input: Schema,
    context: PlanContext,
  ): Schema | undefined | Promise<Schema | undefined>;
  /**
   * The columns it needs, given those that are needed after it; columns nobody needs are never made.
   * Without it, all are.
   */
  requires?(options: Options, needed: Columns): Columns;
  /**
   * Declares that rows must be moved before the transform gets them, so that all rows of a key meet in
   * one instance. The engine cuts the plan here into stages: it evaluates the keys, moves the rows, and
   * brings replies home. Rows of one key keep their order. Columns that the keys read are kept, and
   * `requires` need not name them. Check the keys in `outputSchema`, whose errors have a path.
   */
  shuffle?(options: Options): Shuffle | undefined;
  create(options: Options, context: TransformContext): Transform | Promise<Transform>;
}

/** A running sink. */
export interface Sink {
  /** Called once before the first batch. */
  open?(): Promise<void> | void;
  /**
   * Takes a batch. It may get a batch id again after a crash: it must then leave the same result
   * (idempotent), or the plugin says `atLeastOnce`.
   */
  addBatch(batchId: number, batch: Batch): Promise<void> | void;
  close?(): Promise<void> | void;
}

/** A module that takes batches out. It runs on the head, its `prepare` in the partitions. */
export interface SinkPlugin<Options = unknown> extends PluginBase<Options> {
  readonly kind: "sink";
  /** Whether a batch repeated after a crash may appear twice. Default false. */
  readonly atLeastOnce?: boolean;
  /**
   * Whether it may also live in the partitions, next to a source that does: each instance then gets the
   * batches of its partition alone. Default false.
   */
  readonly perPartition?: boolean;
  /** Throws a `PlanError` when the columns do not fit. `input` is undefined when only the data can tell. */
  check?(options: Options, input: Schema | undefined, context: PlanContext): void | Promise<void>;
  /** The columns it needs. Without it, all are. */
  requires?(options: Options): Columns;
  /** Work that is better done in the partitions, such as encoding; the head gets what it returns. */
  prepare?(options: Options, context: TransformContext): Transform | Promise<Transform>;
  create(options: Options, context: SinkContext): Sink | Promise<Sink>;
}

/** Any plugin. */
export type Plugin = SourcePlugin | TransformPlugin | SinkPlugin;

/**
 * Gives a plugin the types of its options: `export default defineTransform({ ... })`. It returns what
 * it is given; a plain object does as well.
 */
export function defineSource<Options>(plugin: SourcePlugin<Options>): SourcePlugin<Options> {
  return plugin;
}

/** See {@linkcode defineSource}. */
export function defineTransform<Options>(
  plugin: TransformPlugin<Options>,
): TransformPlugin<Options> {
  return plugin;
}

/** See {@linkcode defineSource}. */
export function defineSink<Options>(plugin: SinkPlugin<Options>): SinkPlugin<Options> {
  return plugin;
}
