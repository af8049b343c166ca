/**
 * The stages of a partition that come after a shuffle, in a query that runs in its partitions: rows come
 * from this partition and from others, and go on to the next stage, here or elsewhere, or into the sink.
 *
 * Each stage does one batch at a time, in the order in which batches come. A partition that waits for
 * others to do its rows goes on doing theirs, so that two which wait for one another do not wait for ever.
 *
 * @module
 */
import type {
  Exchange,
  PartitionAddress,
  StageRequest,
  StageResponse,
} from "../cluster/exchange.ts";
import type { PluginLogger, Reply, Sink } from "../plugins/contract.ts";
import type { Batch } from "./batch.ts";
import { addBatch } from "./execution.ts";
import type { Outcome, Pipeline, RowFailure } from "./pipeline.ts";
import type { Plan } from "./plan.ts";
import { splitShares } from "./shuffle.ts";

/** Who is told what becomes of rows. */
export interface RowsOwner {
  /** Whether the rows came in here, and their callers are known here. */
  readonly isLocal: boolean;
  reply(id: string, reply: Reply): void;
  fail(failures: readonly RowFailure[]): void;
}

/** What {@linkcode StageRunner} is made of. */
export interface StageRunnerHost {
  readonly plan: Plan;
  readonly logger: PluginLogger;
  /** By stage; the first one's is not run here. */
  readonly pipelines: readonly Pipeline[];
  readonly exchange: Exchange;
  /** This partition. */
  readonly self: PartitionAddress;
  /** Number of peers, each with the plan's number of partitions. */
  readonly peers: number;
  /** The partitions of the moment, this one's address among them, where they come and go. */
  addresses?(): { readonly all: readonly PartitionAddress[]; readonly self: PartitionAddress };
  readonly sink: Sink;
  /** Aborted when the query stops at once. */
  readonly signal: AbortSignal;
  /** The id of the next micro-batch. */
  nextBatchId(): number;
  /** Hears of rows that are in the sink. */
  delivered(rows: number): void;
  /** The query cannot go on. */
  fatal(error: Error): void;
}

/** A partition's end of the stages after the first one. */
export class StageRunner {
  readonly #host: StageRunnerHost;
  readonly #stages: readonly Turns[];
  readonly #sink = new Turns();
  readonly #addresses: () => {
    readonly all: readonly PartitionAddress[];
    readonly self: PartitionAddress;
  };
  /** Rows under way to each partition, by its address. */
  readonly #inFlight = new Map<string, number>();

  constructor(host: StageRunnerHost) {
    const { plan, peers, self, pipelines } = host;
    this.#host = host;
    this.#stages = pipelines.map(() => new Turns());
    const all = Array.from({ length: peers * plan.partitions }, (_, at) => ({
      peer: Math.floor(at / plan.partitions),
      partition: at % plan.partitions,
    }));
    const fixed = { all, self };
    this.#addresses = host.addresses ?? (() => fixed);
  }

  /** Starts to take rows of others. */
  async open(): Promise<void> {
    await this.#host.exchange.open((request) => this.#serve(request));
  }

  /** How long the batch that has been going on for longest has been at it, in ms; 0 when there is none. */
  get busyForMs(): number {
    return Math.max(this.#sink.busyForMs, ...this.#stages.map((stage) => stage.busyForMs));
  }

  /** Whose rows the sink has at the moment. */
  get sinking(): RowsOwner | undefined {
    return this.#sink.owner;
  }

  /** A transform answers one of the rows that its stage has at the moment. */
  reply(stage: number, id: string, reply: Reply): void {
    this.#stages[stage]?.owner?.reply(id, reply);
  }

  /**
   * Sends rows to where the next stage is to do them. It resolves when that and all that follows is
   * done, and does not reject: the owner hears of failures.
   * @param stage which stage comes next
   * @param batch with destinations
   */
  async forward(stage: number, batch: Batch, owner: RowsOwner): Promise<void> {
    const { all, self } = this.#addresses();
    const shares = splitShares(batch, all.length);
    await Promise.all(shares.map(({ destination, batch }) => {
      const to = all[destination]!;
      const isSelf = to.peer === self.peer && to.partition === self.partition;
      return this.#send(to, isSelf, { stage, batch }, owner);
    }));
  }

  /** Answers those who wait for rows here, then gives up the own ones that are elsewhere. */
  async close(): Promise<void> {
    await this.#host.exchange.close();
  }

  async #send(
    to: PartitionAddress,
    isSelf: boolean,
    request: StageRequest,
    owner: RowsOwner,
  ): Promise<void> {
    const { batch, stage } = request;
    const { numRows } = batch;
    const key = `${to.peer}.${to.partition}`;
    const inFlight = this.#inFlight.get(key) ?? 0;
    // A batch may be larger than the queue: alone it goes.
    if (inFlight > 0 && inFlight + numRows > this.#host.plan.batching.maxQueueSize) {
      owner.fail(failuresOf(batch, 503, "Too many requests wait: try again later"));
      return;
    }
    this.#inFlight.set(key, inFlight + numRows);
    try {
      if (isSelf) await this.#run(stage, batch, owner);
      else {
        const { replies, failures } = await this.#host.exchange.call(to, request);
        for (const [id, reply] of replies) owner.reply(id, reply);
        if (failures.length > 0) owner.fail(failures);
      }
    } catch (error) {
      this.#lost(to, batch, error, owner);
    } finally {
      const left = this.#inFlight.get(key)! - numRows;
      if (left > 0) this.#inFlight.set(key, left);
      else this.#inFlight.delete(key);
    }
  }

  async #serve({ stage, batch }: StageRequest): Promise<StageResponse> {
    if (!(stage >= 1 && stage < this.#stages.length)) {
      throw new RangeError(
        `Cannot run stage ${stage}: this plan has stages 1 to ${
          this.#stages.length - 1
        } for rows of others`,
      );
    }
    const replies: [string, Reply][] = [];
    const failures: RowFailure[] = [];
    await this.#run(stage, batch, {
      isLocal: false,
      reply: (id, reply) => replies.push([id, reply]),
      fail: (more) => failures.push(...more),
    });
    return { replies, failures };
  }

  async #run(stage: number, batch: Batch, owner: RowsOwner): Promise<void> {
    const pipeline = this.#host.pipelines[stage]!;
    let outcome: Outcome;
    try {
      outcome = await this.#stages[stage]!.run(owner, () => pipeline.run(batch));
    } catch (error) {
      this.#failed(batch, error, owner);
      return;
    }
    if (outcome.failures.length > 0) owner.fail(outcome.failures);
    if (stage < this.#stages.length - 1) await this.forward(stage + 1, outcome.batch, owner);
    else await this.#deliver(outcome.batch, owner);
  }

  async #deliver(batch: Batch, owner: RowsOwner): Promise<void> {
    const { sink, signal, plan } = this.#host;
    if (batch.numRows === 0) return;
    try {
      await this.#sink.run(owner, () => addBatch(sink, this.#host.nextBatchId(), batch, signal));
      this.#host.delivered(batch.numRows);
    } catch (error) {
      const { name, message } = asError(error);
      this.#failed(
        batch,
        Object.assign(new Error(`${plan.sink.name}: ${message}`), { name }),
        owner,
      );
    }
  }

  /** A stage or the sink cannot do rows at all. */
  #failed(batch: Batch, cause: unknown, owner: RowsOwner): void {
    const error = asError(cause);
    this.#host.logger.error(`A batch of ${batch.numRows} rows failed: ${error.message}`);
    owner.fail(failuresOf(batch, 500, error.message));
    if (error.name === "Permanent") this.#host.fatal(error);
  }

  /** Rows did not come back from where they went. */
  #lost(
    { peer, partition }: PartitionAddress,
    batch: Batch,
    cause: unknown,
    owner: RowsOwner,
  ): void {
    const error = asError(cause);
    if (error.name !== "ExchangeError") return this.#failed(batch, error, owner);
    this.#host.logger.warn(
      `${batch.numRows} rows were lost with partition ${partition} of peer ${peer}: ${error.message}`,
    );
    const message = "The partition that had the request was lost: try again later";
    owner.fail(failuresOf(batch, 503, message));
  }
}

/** Work of one kind: one batch at a time, first come, first served. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();
  #since: number | undefined;
  /** Whose rows are at work. */
  owner: RowsOwner | undefined;

  get busyForMs(): number {
    return this.#since === undefined ? 0 : performance.now() - this.#since;
  }

  run<T>(owner: RowsOwner, work: () => T | Promise<T>): Promise<T> {
    const mine = this.#last.then(async () => {
      this.#since = performance.now();
      this.owner = owner;
      try {
        return await work();
      } finally {
        this.owner = undefined;
        this.#since = undefined;
      }
    });
    this.#last = mine.catch(() => {});
    return mine;
  }
}

/** The same failure of every row. A row that stands there several times fails several times. */
function failuresOf(batch: Batch, status: number, message: string): RowFailure[] {
  const ids = batch.schema.has("id") ? batch.column("id") as string[] : [];
  return ids.map((id) => ({ id, status, message }));
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
