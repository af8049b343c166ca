/**
 * The exchange between machines, over NATS: every partition has a subject of its own, and its callers an
 * inbox each, to which what became of their rows comes back.
 *
 * | subject | who listens |
 * |---|---|
 * | `millrace.CLUSTER.SERVICE.x.PEER.PARTITION` | that partition |
 * | `millrace.CLUSTER.SERVICE.q.STAGE` | all partitions of the service; one of them gets each call |
 *
 * A message is `kind u8 | index u32 | count u32 | peer u32 | partition u32 | part of a payload`,
 * big-endian; the address is the sender's. Payloads that are longer than the servers take in one message
 * travel in parts, a few at a time, so that no receiver is flooded.
 *
 * A call is given up when nobody listens at its destination, when the destination does not know of it
 * any more, when its peer is said to be lost, when the connection to the servers breaks, and when its
 * time is over.
 *
 * @module
 */
import { createInbox, type Msg, type Subscription } from "@nats-io/transport-node";
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
  encodeError,
  encodeRequest,
  encodeResponse,
  FrameError,
  MAX_FRAME_BYTES,
} from "./frame.ts";
import { keyPart } from "./key_value.ts";
import type { NatsLink } from "./nats.ts";

/** What {@linkcode NatsExchange} needs. */
export interface NatsExchangeOptions {
  readonly link: NatsLink;
  /** Whether the exchange closes the link with itself. Default false. */
  readonly closesLink?: boolean;
  readonly cluster: string;
  readonly service: string;
  /** Whose end this is; the peer is the process's slot. See {@linkcode NatsExchange.moveTo}. */
  readonly self: PartitionAddress;
  /** Stages of which it takes calls to any partition. Default: none. */
  readonly stages?: readonly number[];
  readonly logger: PluginLogger;
  /** How long a call may take, in ms. Default 30000. */
  readonly callTimeoutMs?: number;
  /** How often, in ms, a call in flight is asked after. Default 1000. */
  readonly probeMs?: number;
  /** Whether the slot is this process's for sure: calls are refused while it is not. */
  accepts?(): boolean;
}

/**
 * Kinds of messages. To a partition: a request, a question after a call. To a caller: a response, an
 * error, that a call is not known, who has taken a call. To either: go on sending parts.
 */
const REQUEST = 1, PROBE = 2, RESPONSE = 3, ERROR = 4, UNKNOWN = 5, TAKEN = 6, MORE = 7;

const HEADER_BYTES = 17;
/** Parts that are sent before the receiver has to say that it has them. */
const WINDOW = 4;
/** Bytes of a message that are left to the protocol. */
const RESERVED_BYTES = 256;
const CALL_TIMEOUT_MS = 30_000;
const PROBE_MS = 1_000;
/** Longest time that the last answers may take to go out, in ms. */
const FLUSH_MS = 1_000;
/** A part has so many bytes at least, but for the last one. */
const MIN_PART_BYTES = 256;

interface Call {
  readonly answer: PromiseWithResolvers<StageResponse>;
  /** Undefined until somebody has taken a call to anybody. */
  to: PartitionAddress | undefined;
  readonly beganAt: number;
  readonly parts: Assembly;
  /** Resolves when the receiver wants more parts. */
  more: PromiseWithResolvers<void> | undefined;
}

/** Exchange over the subjects of NATS. */
export class NatsExchange implements Exchange {
  readonly #options: NatsExchangeOptions;
  readonly #link: NatsLink;
  readonly #inbox = createInbox();
  readonly #calls = new Map<string, Call>();
  /** Calls that are being received or served here, by where their answers go. */
  readonly #served = new Map<string, Served>();
  /** The last long payload on its way to a partition; later ones wait for it. */
  readonly #sending = new Map<string, Promise<void>>();
  readonly #subscriptions: Subscription[] = [];
  readonly #stopListening: () => void;
  #self: PartitionAddress;
  #handler: ExchangeHandler | undefined;
  #number = 0;
  #prober: ReturnType<typeof setInterval> | undefined;
  #serving = 0;
  #idle: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: NatsExchangeOptions) {
    this.#options = options;
    this.#self = options.self;
    this.#link = options.link;
    this.#stopListening = this.#link.listen({
      // Answers that were on their way are lost, and nobody tells which.
      disconnected: () => {
        this.#giveUp(() => true, new ExchangeError("the connection to NATS broke"));
        for (const served of this.#served.values()) served.more?.resolve();
      },
    });
  }

  async open(handler: ExchangeHandler): Promise<void> {
    this.#handler = handler;
    const { connection } = this.#link;
    const { stages = [], probeMs = PROBE_MS } = this.#options;
    this.#subscriptions.push(
      connection.subscribe(
        `${this.#inbox}.*`,
        this.#receiver((message) => this.#answered(message)),
      ),
      connection.subscribe(this.#subject(this.#self), this.#asker),
      ...stages.map((stage) =>
        connection.subscribe(this.#anySubject(stage), { ...this.#asker, queue: "partitions" })
      ),
    );
    this.#prober = setInterval(() => this.#probe(), probeMs);
    await connection.flush();
  }

  /**
   * The partition is to be called by another address from now on: its process has another slot. Those who
   * wait for it by the old one are not answered.
   */
  moveTo(self: PartitionAddress): void {
    const own = this.#subscriptions[1];
    this.#self = self;
    if (own === undefined || this.#closing !== undefined) return;
    own.unsubscribe();
    this.#subscriptions[1] = this.#link.connection.subscribe(this.#subject(self), this.#asker);
  }

  call(to: PartitionAddress, request: StageRequest): Promise<StageResponse> {
    return this.#call(this.#subject(to), to, request);
  }

  /**
   * Has a micro-batch done by any one partition of the service.
   * @throws {ExchangeError} when nobody takes it, or who took it is lost
   */
  callAny(request: StageRequest): Promise<StageResponse> {
    return this.#call(this.#anySubject(request.stage), undefined, request);
  }

  /** A peer has left: its calls are given up. */
  lost(peer: number): void {
    this.#giveUp(({ to }) => to?.peer === peer, new ExchangeError(`peer ${peer} has left`));
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#stopListening();
    // The own subjects stay: callers ask there after what is being served.
    const [inbox, own, ...queues] = this.#subscriptions;
    for (const queue of queues) queue.unsubscribe();
    // What is served here may need to call elsewhere.
    if (this.#serving > 0) await new Promise<void>((resolve) => this.#idle = resolve);
    clearInterval(this.#prober);
    this.#giveUp(() => true, exchangeClosed());
    for (const { timer } of this.#served.values()) clearTimeout(timer);
    if (this.#link.isConnected && this.#handler !== undefined) {
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, FLUSH_MS);
      await Promise.race([this.#link.connection.flush().catch(() => {}), late.promise]);
      clearTimeout(timer);
    }
    inbox?.unsubscribe();
    own?.unsubscribe();
    if (this.#options.closesLink === true) await this.#link.close();
  }

  get #asker() {
    return this.#receiver((message) => this.#asked(message));
  }

  #receiver(take: (message: Msg) => void) {
    const { logger } = this.#options;
    return {
      callback: (error: Error | null, message: Msg) => {
        if (error !== null) {
          return logger.warn(`Cannot listen for rows from elsewhere: ${error.message}`);
        }
        try {
          take(message);
        } catch (error) {
          logger.warn(`A message was ignored: ${(error as Error).message}`);
        }
      },
    };
  }

  async #call(
    subject: string,
    to: PartitionAddress | undefined,
    request: StageRequest,
  ): Promise<StageResponse> {
    if (this.#closing !== undefined && this.#serving === 0) throw exchangeClosed();
    if (!this.#link.isConnected) throw new ExchangeError("there is no connection to NATS");
    const payload = encodeRequest(request);
    checkLength(payload);
    const id = `${this.#inbox}.${this.#number++}`;
    const call: Call = {
      answer: Promise.withResolvers<StageResponse>(),
      to,
      beganAt: performance.now(),
      parts: new Assembly(),
      more: undefined,
    };
    this.#calls.set(id, call);
    const { callTimeoutMs = CALL_TIMEOUT_MS } = this.#options;
    const timer = setTimeout(
      () => call.answer.reject(new ExchangeError(`no answer in ${callTimeoutMs} ms`)),
      callTimeoutMs,
    );
    try {
      this.#inTurn(subject, payload, () => this.#send(REQUEST, subject, payload, id, call))
        ?.catch(call.answer.reject);
      return await call.answer.promise;
    } finally {
      clearTimeout(timer);
      this.#calls.delete(id);
      call.more?.resolve();
    }
  }

  /** Sends after long payloads to the same subject that are still on their way. */
  #inTurn(
    subject: string,
    payload: Uint8Array,
    send: () => Promise<void>,
  ): Promise<void> | undefined {
    const before = this.#sending.get(subject);
    if (before === undefined && payload.length <= this.#partBytes) return send();
    const mine = (before ?? Promise.resolve()).then(send);
    const settled = mine.catch(() => {}).then(() => {
      if (this.#sending.get(subject) === settled) this.#sending.delete(subject);
    });
    this.#sending.set(subject, settled);
    return mine;
  }

  /**
   * Sends a payload in as many parts as it takes.
   * @param state is told when the receiver wants more
   */
  async #send(
    kind: number,
    subject: string,
    payload: Uint8Array,
    reply: string,
    state: Call | Served,
  ): Promise<void> {
    const size = this.#partBytes;
    const count = Math.max(1, Math.ceil(payload.length / size));
    // Whoever takes a call to anybody says where the rest of it goes.
    const isToAny = kind === REQUEST && "to" in state && state.to === undefined && count > 1;
    for (let index = 0; index < count && this.#link.isConnected; index++) {
      const isToWait = isToAny && index === 0 || index % WINDOW === WINDOW - 1;
      if (isToWait && index < count - 1) state.more = Promise.withResolvers<void>();
      const part = payload.subarray(index * size, (index + 1) * size);
      this.#publish(subject, this.#message(kind, index, count, part), reply);
      if (!isToWait || index === count - 1) continue;
      await this.#more(state);
      if (!this.#calls.has(reply) && !this.#served.has(subject)) return;
      if (isToAny && index === 0) subject = this.#subject((state as Call).to!);
    }
  }

  /** Resolves when the receiver wants more parts, or will not any more. */
  async #more(state: Call | Served): Promise<void> {
    const { promise, resolve } = state.more!;
    const timer = setTimeout(resolve, this.#options.callTimeoutMs ?? CALL_TIMEOUT_MS);
    await promise;
    clearTimeout(timer);
    state.more = undefined;
  }

  /** A message for the own inbox. */
  #answered(message: Msg): void {
    const call = this.#calls.get(message.subject);
    if (message.headers?.code === 503) {
      const to = call?.to;
      const where = to === undefined ? "" : ` at peer ${to.peer}, partition ${to.partition}`;
      return call?.answer.reject(new ExchangeError(`nobody listens${where}`));
    }
    if (call === undefined) return;
    const { kind, index, count, from, part } = readMessage(message.data);
    switch (kind) {
      case MORE:
        return call.more?.resolve();
      case TAKEN:
        call.to = from;
        return call.more?.resolve();
      case UNKNOWN:
        return call.answer.reject(
          new ExchangeError(`peer ${from.peer}, partition ${from.partition} has begun anew`),
        );
      case RESPONSE:
      case ERROR: {
        const payload = call.parts.add(index, count, part);
        if (payload === undefined) {
          if (index % WINDOW === WINDOW - 1) this.#wantMore(message);
          return;
        }
        try {
          if (kind === RESPONSE) call.answer.resolve(decodeResponse(payload));
          else call.answer.reject(decodeError(payload));
        } catch (error) {
          call.answer.reject(error as Error);
        }
      }
    }
  }

  /** A message for this partition. */
  #asked(message: Msg): void {
    const { reply } = message;
    if (reply === undefined || reply === "") return;
    const { kind, index, count, from, part } = readMessage(message.data);
    if (kind === MORE) return this.#served.get(reply)?.more?.resolve();
    const served = this.#served.get(reply);
    if (kind === PROBE) {
      if (served === undefined) this.#publish(reply, this.#message(UNKNOWN, 0, 1));
      return;
    }
    if (kind !== REQUEST) return;
    if (this.#closing !== undefined) return this.#refuse(reply, exchangeClosed());
    if (this.#options.accepts?.() === false) {
      return this.#refuse(reply, new ExchangeError("the slot is not this process's any more"));
    }
    const isToAny = message.subject !== this.#subject(this.#self);
    if (isToAny) this.#publish(reply, this.#message(TAKEN, 0, 1));
    const receiving = served ?? this.#receive(reply);
    const payload = receiving.parts.add(index, count, part);
    if (payload !== undefined) this.#serve(reply, receiving, payload, from);
    else if (!isToAny && index % WINDOW === WINDOW - 1) this.#wantMore(message);
  }

  #receive(reply: string): Served {
    const { callTimeoutMs = CALL_TIMEOUT_MS } = this.#options;
    const served: Served = {
      parts: new Assembly(),
      more: undefined,
      // A caller that is gone sends no more parts.
      timer: setTimeout(() => this.#served.delete(reply), callTimeoutMs),
    };
    this.#served.set(reply, served);
    return served;
  }

  #serve(reply: string, served: Served, payload: Uint8Array, from: PartitionAddress): void {
    clearTimeout(served.timer);
    this.#serving++;
    this.#handle(payload, from).then(
      (response) => [RESPONSE, encodeResponse(response)] as const,
      (error) => [ERROR, encodeError(error)] as const,
    ).then(([kind, answer]) => this.#answer(kind, reply, answer, served)).catch((error) => {
      this.#refuse(reply, error);
    }).finally(() => {
      this.#served.delete(reply);
      this.#serving--;
      if (this.#serving === 0) this.#idle?.();
    });
  }

  async #handle(payload: Uint8Array, from: PartitionAddress): Promise<StageResponse> {
    return await this.#handler!(decodeRequest(payload), from);
  }

  async #answer(kind: number, reply: string, answer: Uint8Array, served: Served): Promise<void> {
    checkLength(answer);
    // The caller's own address would not do: its answers to parts come to where calls come in.
    await this.#send(kind, reply, answer, this.#subject(this.#self), served);
  }

  #refuse(reply: string, error: unknown): void {
    this.#publish(reply, this.#message(ERROR, 0, 1, encodeError(error)));
  }

  /** Says that the parts so far are here. */
  #wantMore({ subject, reply }: Msg): void {
    const isAnswer = subject.startsWith(this.#inbox);
    // By the name of the call, which is its caller's inbox.
    this.#publish(reply!, this.#message(MORE, 0, 1), isAnswer ? subject : undefined);
  }

  /** Asks after the calls that take long. */
  #probe(): void {
    if (!this.#link.isConnected) return;
    const { probeMs = PROBE_MS } = this.#options;
    const now = performance.now();
    for (const [id, { to, beganAt, more }] of this.#calls) {
      // One whose parts are still on their way is known as soon as the first is there.
      if (to === undefined || more !== undefined || now - beganAt < probeMs) continue;
      if (this.#sending.has(this.#subject(to))) continue;
      this.#publish(this.#subject(to), this.#message(PROBE, 0, 1), id);
    }
  }

  #giveUp(which: (call: Call) => boolean, error: ExchangeError): void {
    for (const call of this.#calls.values()) {
      if (which(call)) call.answer.reject(error);
    }
  }

  #publish(subject: string, message: Uint8Array, reply?: string): void {
    // What is said to a server that is away would be said later, when nobody waits for it.
    if (!this.#link.isConnected) return;
    this.#link.connection.publish(subject, message, reply === undefined ? {} : { reply });
  }

  #message(kind: number, index: number, count: number, part?: Uint8Array): Uint8Array {
    const { peer, partition } = this.#self;
    const bytes = new Uint8Array(HEADER_BYTES + (part?.length ?? 0));
    const view = new DataView(bytes.buffer);
    view.setUint8(0, kind);
    view.setUint32(1, index);
    view.setUint32(5, count);
    view.setUint32(9, peer);
    view.setUint32(13, partition);
    if (part !== undefined) bytes.set(part, HEADER_BYTES);
    return bytes;
  }

  /** Bytes of a payload that one message takes. */
  get #partBytes(): number {
    return Math.max(MIN_PART_BYTES, this.#link.maxPayload - HEADER_BYTES - RESERVED_BYTES);
  }

  #subject({ peer, partition }: PartitionAddress): string {
    return `${this.#prefix}.x.${peer}.${partition}`;
  }

  #anySubject(stage: number): string {
    return `${this.#prefix}.q.${stage}`;
  }

  get #prefix(): string {
    return `millrace.${this.#options.cluster}.${keyPart(this.#options.service)}`;
  }
}

/** A call that is received or served here. */
interface Served {
  readonly parts: Assembly;
  readonly timer: ReturnType<typeof setTimeout>;
  /** Resolves when the caller wants more parts of the answer. */
  more: PromiseWithResolvers<void> | undefined;
}

/** The parts of a payload that have come. */
class Assembly {
  #parts: Uint8Array[] = [];
  #length = 0;

  /**
   * Adds the next part.
   * @returns the payload when it is whole
   * @throws {FrameError} when the part is not the next one
   */
  add(index: number, count: number, part: Uint8Array): Uint8Array | undefined {
    if (index !== this.#parts.length || index >= count) {
      throw new FrameError(`Cannot take part ${index} of ${count}: wanted ${this.#parts.length}`);
    }
    this.#length += part.length;
    if (this.#length > MAX_FRAME_BYTES) {
      throw new FrameError(`Cannot take more than ${MAX_FRAME_BYTES} bytes`);
    }
    if (count === 1) return part;
    this.#parts.push(part);
    if (this.#parts.length < count) return undefined;
    const payload = joinBytes(this.#parts);
    this.#parts = [];
    return payload;
  }
}

function readMessage(bytes: Uint8Array) {
  if (bytes.length < HEADER_BYTES) {
    throw new FrameError(`Cannot read a message of ${bytes.length} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    kind: view.getUint8(0),
    index: view.getUint32(1),
    count: view.getUint32(5),
    from: { peer: view.getUint32(9), partition: view.getUint32(13) },
    part: bytes.subarray(HEADER_BYTES),
  };
}

function checkLength(payload: Uint8Array): void {
  if (payload.length <= MAX_FRAME_BYTES) return;
  throw new FrameError(
    `Cannot send ${payload.length} bytes: at most ${MAX_FRAME_BYTES} are allowed; ` +
      "use a smaller maxBatchSize",
  );
}
