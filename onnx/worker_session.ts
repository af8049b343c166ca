/**
 * A session in a worker of its own, so that a long run holds up nothing else: the partition goes on
 * taking requests meanwhile, answers health checks, and prepares the next run.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import type { ModelSession, RunResult, SessionOptions, Tensors } from "./session.ts";
import {
  type FromSession,
  fromWire,
  type ToSession,
  toWire,
  wholeBuffer,
} from "./session_protocol.ts";

/** A session that gets a new worker when the model brings one down. */
export class WorkerSession implements ModelSession {
  readonly #options: SessionOptions;
  #worker: SessionWorker;
  #isClosed = false;

  private constructor(options: SessionOptions, worker: SessionWorker) {
    this.#options = options;
    this.#worker = worker;
  }

  /** @throws {Error} when the runtime cannot load the model */
  static async open(options: SessionOptions): Promise<WorkerSession> {
    return new WorkerSession(options, await SessionWorker.start(options));
  }

  async run(feeds: Tensors, fetches: readonly string[]): Promise<RunResult> {
    if (this.#worker.hasEnded && !this.#isClosed) {
      const worker = await SessionWorker.start(this.#options);
      this.#worker = worker;
      if (this.#isClosed) await worker.end(CLOSED);
    }
    return await this.#worker.run(feeds, fetches);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#worker.end(CLOSED);
  }
}

const CLOSED = "the transform was closed";

/** One worker, from its start to its end. */
class SessionWorker {
  readonly #worker: Worker;
  /** Those who wait for an answer, in order. */
  #waiting: PromiseWithResolvers<FromSession>[] = [];
  #ended: Error | undefined;

  private constructor() {
    this.#worker = new Worker(new URL("./session_worker.ts", import.meta.url), { name: "onnx" });
    this.#worker.on("message", (message: FromSession) => this.#receive(message));
    this.#worker.on("error", (error: Error) => void this.end(`it threw: ${error.message}`));
    this.#worker.on("exit", (code: number) => void this.end(`it exited with code ${code}`));
  }

  static async start(options: SessionOptions): Promise<SessionWorker> {
    const worker = new SessionWorker();
    try {
      const { bytes } = options;
      // It is copied, since it is needed again when the worker must be replaced.
      const copy = bytes === undefined ? undefined : wholeBuffer(bytes);
      await worker.#ask({ type: "open", options: { ...options, bytes: copy } });
      return worker;
    } catch (error) {
      await worker.end("it could not load the model");
      throw error;
    }
  }

  get hasEnded(): boolean {
    return this.#ended !== undefined;
  }

  async run(feeds: Tensors, fetches: readonly string[]): Promise<RunResult> {
    const { wire, buffers } = toWire(feeds);
    const answer = await this.#ask({ type: "run", feeds: wire, fetches }, buffers);
    const { outputs, ms } = answer as FromSession & { type: "outputs" };
    return { outputs: fromWire(outputs), ms };
  }

  /** Ends the worker, also in the middle of a run; that fails. */
  async end(why: string): Promise<void> {
    if (this.#ended !== undefined) return;
    this.#ended = new Error(`The model's worker has ended: ${why}`);
    for (const waiting of this.#waiting) waiting.reject(this.#ended);
    this.#waiting = [];
    await this.#worker.terminate();
  }

  async #ask(message: ToSession, transfer: ArrayBuffer[] = []): Promise<FromSession> {
    if (this.#ended !== undefined) throw this.#ended;
    const waiting = Promise.withResolvers<FromSession>();
    this.#waiting.push(waiting);
    this.#worker.postMessage(message, transfer);
    const answer = await waiting.promise;
    if (answer.type !== "failed") return answer;
    if (answer.isBroken) await this.end(`the runtime broke down: ${answer.message}`);
    throw new Error(answer.message);
  }

  #receive(answer: FromSession): void {
    this.#waiting.shift()?.resolve(answer);
  }
}
