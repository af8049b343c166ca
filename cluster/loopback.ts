/**
 * The exchange between the partitions of one machine: a Unix socket for each partition, and a connection
 * for each pair of caller and called, made at the first call. Requests share it by number, and replies
 * come in any order. A connection that breaks takes the calls in flight along; the next call makes
 * another.
 *
 * @module
 */
import { join } from "node:path";
import { joinBytes } from "../engine/join_bytes.ts";
import type { PluginLogger } from "../plugins/contract.ts";
import {
  type Exchange,
  exchangeClosed,
  ExchangeError,
  type ExchangeHandler,
  type PartitionAddress,
  type StageRequest,
  type StageResponse,
} from "./exchange.ts";
import {
  decodeError,
  decodeRequest,
  decodeResponse,
  decodeValues,
  encodeError,
  encodeFrame,
  encodeRequest,
  encodeResponse,
  encodeValues,
  type Frame,
  FrameError,
  FrameReader,
} from "./frame.ts";

/** What {@linkcode LoopbackExchange} needs. */
export interface LoopbackOptions {
  /** Directory of all partitions' sockets. */
  readonly dir: string;
  /** Whose end this is. */
  readonly self: PartitionAddress;
  readonly logger: PluginLogger;
  /** How long, in ms, a call waits for a partition that has never listened yet. Default 5000. */
  readonly startMs?: number;
}

/**
 * Kinds of frames. The first one on a connection says who calls. One that is called says goodbye when it
 * is about to end: the caller ends the connection when it has its answers, and calls a successor if there
 * is one; so no call is lost that way.
 */
const HELLO = 1, REQUEST = 2, RESPONSE = 3, ERROR = 4, GOODBYE = 5;
const NOTHING = new Uint8Array(0);

const START_MS = 5_000;
const POLL_MS = 10;
/** How long, in ms, callers may take to end their connections after a goodbye. */
const GOODBYE_MS = 1_000;
/** Longest path of a socket that the operating system takes, in bytes. */
const MAX_PATH_BYTES = 107;

/** Exchange over Unix sockets. */
export class LoopbackExchange implements Exchange {
  readonly #options: LoopbackOptions;
  readonly #callers = new Map<string, Caller>();
  readonly #served = new Set<Link>();
  #handler: ExchangeHandler | undefined;
  #listener: Deno.UnixListener | undefined;
  #serving = 0;
  #idle: (() => void) | undefined;
  #left: (() => void) | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;

  constructor(options: LoopbackOptions) {
    this.#options = options;
  }

  /** @throws {Error} when the socket cannot be made */
  async open(handler: ExchangeHandler): Promise<void> {
    this.#handler = handler;
    const { dir, self } = this.#options;
    const path = pathOf(dir, self);
    // Bound under another name, it takes the place of one that a predecessor has left behind, and a
    // predecessor that closes late removes its own name only.
    const bound = join(dir, crypto.randomUUID().slice(0, 8));
    this.#listener = Deno.listen({ transport: "unix", path: bound });
    await Deno.rename(bound, path);
    this.#accept(this.#listener);
  }

  async call(to: PartitionAddress, request: StageRequest): Promise<StageResponse> {
    if (this.#closed) throw exchangeClosed();
    const payload = encodeRequest(request);
    const path = pathOf(this.#options.dir, to);
    let caller = this.#callers.get(path);
    if (caller === undefined || !caller.isOpen) {
      caller = new Caller(path, this.#options.self, this.#options.startMs ?? START_MS);
      this.#callers.set(path, caller);
    }
    return await caller.call(payload);
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    // The socket stays: a successor may have its own there by now. The directory's owner removes it.
    closeQuietly(this.#listener);
    for (const link of this.#served) link.send(GOODBYE, 0, NOTHING);
    // What is served here may need to call elsewhere.
    if (this.#serving > 0) await new Promise<void>((resolve) => this.#idle = resolve);
    await this.#goodbyes();
    this.#closed = true;
    for (const caller of this.#callers.values()) caller.close();
    for (const link of this.#served) link.close();
  }

  /** Waits for callers to end their connections, but not for long. */
  async #goodbyes(): Promise<void> {
    if (this.#served.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, GOODBYE_MS);
      this.#left = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #accept(listener: Deno.UnixListener): Promise<void> {
    for (;;) {
      let connection: Deno.UnixConn;
      try {
        connection = await listener.accept();
      } catch (error) {
        if (this.#closing !== undefined || error instanceof Deno.errors.BadResource) return;
        // Too many open files, say: it may get better.
        this.#options.logger.warn(`Cannot take a connection: ${(error as Error).message}`);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        continue;
      }
      this.#serve(connection);
    }
  }

  async #serve(connection: Deno.UnixConn): Promise<void> {
    let from: PartitionAddress | undefined;
    const link = new Link(connection);
    this.#served.add(link);
    try {
      await link.read((frame) => {
        if (from === undefined) from = readHello(frame);
        else if (frame.kind === REQUEST) this.#run(link, frame, from);
        else throw new FrameError(`Cannot read a frame of kind ${frame.kind}: wanted a request`);
      });
    } catch (error) {
      // The caller hears of it by the end of the connection. One that died is told of elsewhere.
      const level = error instanceof FrameError ? "warn" : "debug";
      this.#options.logger[level](`A connection was ended: ${(error as Error).message}`);
    }
    this.#served.delete(link);
    link.close();
    if (this.#served.size === 0) this.#left?.();
  }

  /** @throws {FrameError} when the frame is no request */
  #run(link: Link, { number, payload }: Frame, from: PartitionAddress): void {
    const request = decodeRequest(payload);
    this.#serving++;
    this.#handle(request, from).then((response) => {
      link.send(RESPONSE, number, encodeResponse(response));
    }).catch((error) => link.send(ERROR, number, encodeError(error))).finally(() => {
      this.#serving--;
      if (this.#serving === 0) this.#idle?.();
    });
  }

  async #handle(request: StageRequest, from: PartitionAddress): Promise<StageResponse> {
    return await this.#handler!(request, from);
  }
}

/** The calling end of a connection. */
class Caller {
  readonly #link: Promise<Link>;
  readonly #calls = new Map<number, PromiseWithResolvers<StageResponse>>();
  #connected: Link | undefined;
  #number = 0;
  #lost: ExchangeError | undefined;
  /** The called one is about to end. */
  #leaving = false;

  constructor(path: string, self: PartitionAddress, startMs: number) {
    this.#link = this.#connect(path, self, startMs);
    this.#link.catch(() => {});
  }

  /** Whether calls can be made. */
  get isOpen(): boolean {
    return this.#lost === undefined && !this.#leaving;
  }

  async call(payload: Uint8Array): Promise<StageResponse> {
    // Those that wait for the connection go on in the order in which they came.
    const link = this.#connected ?? await this.#link;
    if (this.#lost !== undefined) throw this.#lost;
    const number = this.#number;
    this.#number = (number + 1) % 2 ** 32;
    const answer = Promise.withResolvers<StageResponse>();
    this.#calls.set(number, answer);
    try {
      link.send(REQUEST, number, payload);
    } catch (error) {
      // Too long for a frame.
      this.#calls.delete(number);
      throw error;
    }
    return await answer.promise;
  }

  close(): void {
    this.#end(exchangeClosed());
  }

  async #connect(path: string, self: PartitionAddress, startMs: number): Promise<Link> {
    let connection: Deno.UnixConn;
    try {
      connection = await connect(path, startMs, () => this.#lost !== undefined);
    } catch (error) {
      this.#end(new ExchangeError(`cannot connect: ${(error as Error).message}`, { cause: error }));
      throw this.#lost;
    }
    const link = new Link(connection);
    if (this.#lost !== undefined) {
      link.close();
      throw this.#lost;
    }
    link.send(HELLO, 0, encodeValues([self.peer, self.partition]));
    this.#connected = link;
    link.read((frame) => this.#receive(frame)).then(
      () => this.#end(new ExchangeError("the connection was closed")),
      (error: Error) => this.#end(new ExchangeError(`the connection broke: ${error.message}`)),
    );
    return link;
  }

  #receive({ kind, number, payload }: Frame): void {
    if (kind === GOODBYE) {
      this.#leaving = true;
      return this.#leave();
    }
    const answer = this.#calls.get(number);
    if (answer === undefined) throw new FrameError(`Cannot take an answer to call ${number}: none`);
    if (kind === RESPONSE) answer.resolve(decodeResponse(payload));
    else if (kind === ERROR) answer.reject(decodeError(payload));
    else throw new FrameError(`Cannot read a frame of kind ${kind}: wanted an answer`);
    this.#calls.delete(number);
    this.#leave();
  }

  /** After a goodbye, ends the connection with the last answer. */
  #leave(): void {
    if (this.#leaving && this.#calls.size === 0) this.#end(exchangeClosed());
  }

  #end(error: ExchangeError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    this.#connected?.close();
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }
}

/** A connection that carries frames. */
class Link {
  readonly #connection: Deno.UnixConn;
  #outbox: Uint8Array[] = [];
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  /**
   * Sends a frame after those before it; on a connection that has ended it does nothing.
   * @throws {FrameError} when the frame is too long
   */
  send(kind: number, number: number, payload: Uint8Array): void {
    if (this.#closed) return;
    this.#outbox.push(encodeFrame(kind, number, payload));
    this.#writing ??= this.#write();
  }

  /**
   * Hands on frames until the connection ends.
   * @throws {FrameError} when what comes is no frame, or ends inside one
   */
  async read(receive: (frame: Frame) => void): Promise<void> {
    const reader = new FrameReader();
    for (;;) {
      let count: number | null;
      try {
        count = await this.#connection.read(reader.room());
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
      if (count === null) {
        if (reader.isCut && !this.#closed) throw new FrameError("The connection ended in a frame");
        return;
      }
      reader.filled(count);
      for (let frame; (frame = reader.next()) !== undefined;) receive(frame);
    }
  }

  /** Ends the connection at once. Safe twice. */
  close(): void {
    this.#closed = true;
    closeQuietly(this.#connection);
  }

  async #write(): Promise<void> {
    try {
      // What comes in one turn of the event loop goes out together.
      await Promise.resolve();
      while (this.#outbox.length > 0 && !this.#closed) {
        const bytes = joinBytes(this.#outbox.splice(0));
        for (let sent = 0; sent < bytes.length;) {
          sent += await this.#connection.write(sent === 0 ? bytes : bytes.subarray(sent));
        }
      }
    } catch {
      // The reading end sees it too, and tells.
      this.close();
    }
    this.#writing = undefined;
  }
}

/** Connects; a partition that is still to start is waited for, one that is gone is not. */
async function connect(
  path: string,
  startMs: number,
  isGivenUp: () => boolean,
): Promise<Deno.UnixConn> {
  const deadline = performance.now() + startMs;
  for (;;) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      const starts = error instanceof Deno.errors.NotFound;
      if (!starts || isGivenUp() || performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** @throws {Error} when the operating system would cut the path short */
function pathOf(dir: string, { peer, partition }: PartitionAddress): string {
  const path = join(dir, `${peer}-${partition}.sock`);
  const { length } = new TextEncoder().encode(path);
  if (length > MAX_PATH_BYTES) {
    throw new Error(
      `Cannot use socket "${path}": it has ${length} bytes, at most ${MAX_PATH_BYTES} are allowed`,
    );
  }
  return path;
}

function readHello({ kind, payload }: Frame): PartitionAddress {
  if (kind !== HELLO) throw new FrameError(`Cannot read a frame of kind ${kind}: wanted a hello`);
  const [peer, partition] = decodeValues(payload, 2);
  return { peer: Number(peer), partition: Number(partition) };
}

function closeQuietly(resource: { close(): void } | undefined): void {
  try {
    resource?.close();
  } catch {
    // It is closed already.
  }
}
