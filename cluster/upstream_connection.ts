/**
 * One HTTP/1.1 connection to a backend. It always knows how far a request has got, which decides
 * whether it may be sent again; no other client in Deno tells.
 *
 * @module
 */
import {
  ChunkedDecoder,
  findHeadEnd,
  latin1Bytes,
  MAX_HEAD_BYTES,
  parseHead,
  ReplyError,
  type ReplyHead,
} from "./reply_head.ts";

/** Where a backend listens. */
export interface Address {
  readonly hostname: string;
  readonly port: number;
}

/** A request that got no reply. */
export class UpstreamError extends Error {
  override readonly name = "UpstreamError";

  /**
   * @param sent whether the backend may have seen any of the request
   * @param broken whether the connection failed, and not what came over it
   */
  constructor(message: string, readonly sent: boolean, readonly broken: boolean = true) {
    super(message);
  }
}

/** A body that is sent on while it arrives. */
export interface BodyStream {
  /** What has been read of it already. */
  readonly prefix: Uint8Array;
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  /** Whether its length is not known, so that it goes in chunks. */
  readonly chunked: boolean;
  /** Set when more than the prefix has been read: it cannot be sent again. */
  used: boolean;
}

/**
 * How a reply ends: whole, and the connection takes another request (`reusable`) or not (`closed`, also
 * when this side breaks it off), or cut short by the backend.
 */
export type ReplyEnd = "reusable" | "closed" | "broken";

/** A reply whose head is there. */
export interface UpstreamReply extends Omit<ReplyHead, "framing"> {
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>> | null;
}

const READ_BYTES = 16_384;
const STREAM_BYTES = 65_536;
/** Bodies up to this length are gathered: a stream costs more than the rest of a request. */
const GATHER_BYTES = 65_536;

/** A connection, which has one request at a time. */
export class UpstreamConnection {
  readonly #connection: Deno.TcpConn;
  readonly #buffer = new Uint8Array(READ_BYTES);
  /** Bytes in the buffer that have not been used. */
  #start = 0;
  #end = 0;
  /** The read that is under way; there is always one while the connection is idle. */
  #reading: Promise<number | null> | undefined;
  #closed = false;
  #onLost: (() => void) | undefined;
  /** Whether a byte of the request has been written. */
  #sent = false;
  #isSending = false;
  #onWritten: (() => void) | undefined;
  #bodySent = true;
  #stream: BodyStream | undefined;
  /** Ends the reply that is being passed on. */
  #breakOff: (() => void) | undefined;

  /** When bytes came or went last, in ms since 1970. */
  lastProgress = Date.now();

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  /** @throws {UpstreamError} */
  static async connect(address: Address, timeoutMs: number): Promise<UpstreamConnection> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => late.resolve(undefined), timeoutMs);
    const connecting = Deno.connect(address);
    try {
      const connection = await Promise.race([connecting, late.promise]);
      if (connection === undefined) {
        connecting.then((tooLate) => tooLate.close(), () => {});
        throw new UpstreamError(`no connection within ${timeoutMs} ms`, false);
      }
      connection.setNoDelay();
      return new UpstreamConnection(connection);
    } catch (error) {
      throw error instanceof UpstreamError ? error : new UpstreamError(reasonOf(error), false);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Whether it can be used no more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Closes it; what is under way fails. Safe twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.close();
    this.#breakOff?.();
    this.#stream?.reader.cancel().catch(() => {});
  }

  /** Makes it idle. `onLost` is called once when the backend closes it, or says what nobody asked for. */
  park(onLost: () => void): void {
    this.#onLost = onLost;
    this.lastProgress = Date.now();
    this.#read().then(() => this.#lost(), () => this.#lost());
  }

  /**
   * Sends a request and waits for the head of its reply.
   * @param head of the request, and its body if that is no stream
   * @param onEnd called once when the reply is over; not called when this method throws
   * @throws {UpstreamError} when there is none; the connection is closed then
   */
  async exchange(
    method: string,
    head: Uint8Array,
    stream: BodyStream | undefined,
    onEnd: (end: ReplyEnd) => void,
  ): Promise<UpstreamReply> {
    this.#onLost = undefined;
    this.#sent = false;
    this.lastProgress = Date.now();
    this.#send(head, stream);
    try {
      const parsed = await this.#head(method);
      return await this.#reply(parsed, onEnd);
    } catch (error) {
      const isBroken = !(error instanceof ReplyError);
      if (!this.#sent && this.#isSending) {
        // What the first write comes to decides whether the backend may have seen the request.
        await new Promise<void>((resolve) => this.#onWritten = resolve);
      }
      this.close();
      const reason = isBroken ? reasonOf(error) : `the reply is no HTTP: ${error.message}`;
      throw new UpstreamError(reason, this.#sent, isBroken);
    }
  }

  #lost(): void {
    const onLost = this.#onLost;
    if (onLost === undefined) return;
    this.#onLost = undefined;
    this.close();
    onLost();
  }

  #read(): Promise<number | null> {
    return this.#reading ??= this.#connection.read(this.#buffer);
  }

  /** Waits for bytes in the buffer, which must be empty. False at the connection's end. */
  async #fill(): Promise<boolean> {
    const reading = this.#read();
    const count = await reading;
    this.#reading = undefined;
    this.lastProgress = Date.now();
    this.#start = 0;
    this.#end = count ?? 0;
    return count !== null;
  }

  /** Never rejects: a failed write shows in the reply, which may be there nevertheless. */
  #send(head: Uint8Array, stream: BodyStream | undefined): void {
    this.#stream = stream;
    this.#bodySent = stream === undefined;
    this.#isSending = true;
    const sending = stream === undefined ? this.#write(head) : this.#sendAll(head, stream);
    const over = () => {
      this.#isSending = false;
      this.#onWritten?.();
    };
    sending.then(over, over);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      at += await this.#connection.write(at === 0 ? bytes : bytes.subarray(at));
      this.#sent = true;
      this.#onWritten?.();
    }
  }

  async #sendAll(head: Uint8Array, stream: BodyStream): Promise<void> {
    await this.#write(head);
    if (stream.prefix.length > 0) await this.#sendChunk(stream.prefix, stream.chunked);
    for (;;) {
      stream.used = true;
      let next: ReadableStreamReadResult<Uint8Array>;
      try {
        next = await stream.reader.read();
      } catch {
        // The client broke off: what the backend has is not the request.
        this.close();
        return;
      }
      if (next.done) break;
      if (next.value.length > 0) await this.#sendChunk(next.value, stream.chunked);
    }
    if (stream.chunked) await this.#write(LAST_CHUNK);
    this.#bodySent = true;
    this.#stream = undefined;
    this.lastProgress = Date.now();
  }

  async #sendChunk(bytes: Uint8Array, chunked: boolean): Promise<void> {
    if (chunked) {
      const framed = latin1Bytes(`${bytes.length.toString(16)}\r\n`, bytes.length + 2);
      framed.set(bytes, framed.length - bytes.length - 2);
      framed.set(LINE_BREAK, framed.length - 2);
      bytes = framed;
    }
    await this.#write(bytes);
    this.lastProgress = Date.now();
  }

  async #head(method: string): Promise<ReplyHead> {
    let held: Uint8Array | undefined;
    for (;;) {
      if (this.#start === this.#end && !await this.#fill()) throw new Error(CLOSED);
      const fresh = this.#buffer.subarray(this.#start, this.#end);
      const bytes: Uint8Array = held === undefined ? fresh : concat(held, fresh);
      const from = held === undefined ? 0 : Math.max(0, held.length - 3);
      const headEnd = findHeadEnd(bytes, from, bytes.length);
      if (headEnd < 0) {
        if (bytes.length > MAX_HEAD_BYTES) throw new ReplyError("its head is too long");
        held = held === undefined ? bytes.slice() : bytes;
        this.#start = this.#end;
        continue;
      }
      this.#start = this.#end - (bytes.length - headEnd - 4);
      held = undefined;
      const head = parseHead(bytes.subarray(0, headEnd), method);
      if (head.status === 101) {
        throw new ReplyError("it switches protocols, which nobody asked for");
      }
      // Other interim replies are for the balancer alone.
      if (head.status >= 200) return head;
    }
  }

  async #reply(
    { status, headers, framing, keepAlive }: ReplyHead,
    onEnd: (end: ReplyEnd) => void,
  ): Promise<UpstreamReply> {
    const end = () => {
      const isClean = this.#start === this.#end && this.#reading === undefined;
      const isReusable = keepAlive && isClean && this.#bodySent && !this.#closed;
      if (!isReusable) this.close();
      onEnd(isReusable ? "reusable" : "closed");
    };
    if (framing === 0) {
      end();
      return { status, headers, keepAlive, body: null };
    }
    if (typeof framing === "number" && framing <= GATHER_BYTES) {
      const body = await this.#gather(framing);
      end();
      return { status, headers, keepAlive, body };
    }
    const decoder = framing === "chunked" ? new ChunkedDecoder() : undefined;
    let left = typeof framing === "number" ? framing : Infinity;
    const first = this.#buffer.slice(this.#start, this.#end);
    this.#start = this.#end;
    const take = (bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] => {
      if (decoder !== undefined) return decoder.push(bytes) as Uint8Array<ArrayBuffer>[];
      if (bytes.length > left) throw new ReplyError("it is longer than its Content-Length");
      left -= bytes.length;
      return bytes.length > 0 ? [bytes] : [];
    };
    const isOver = () => decoder !== undefined ? decoder.done : left === 0;
    const chunks = take(first);
    if (isOver()) {
      end();
      return {
        status,
        headers,
        keepAlive,
        body: chunks.length === 1 ? chunks[0]! : concat(...chunks),
      };
    }
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        this.#breakOff = () => {
          this.#breakOff = undefined;
          controller.error(new UpstreamError(CLOSED, true));
          onEnd("closed");
        };
      },
      pull: async (controller) => {
        this.lastProgress = Date.now();
        try {
          while (chunks.length === 0 && !isOver()) {
            const buffer = new Uint8Array(STREAM_BYTES);
            const count = await this.#connection.read(buffer);
            this.lastProgress = Date.now();
            if (count !== null) chunks.push(...take(buffer.subarray(0, count)));
            else if (framing === undefined) left = 0;
            else throw new Error(CLOSED);
          }
        } catch (error) {
          // By this side: all has been told already.
          if (this.#closed) return;
          this.#breakOff = undefined;
          this.close();
          controller.error(new UpstreamError(reasonOf(error), true));
          return onEnd("broken");
        }
        for (const chunk of chunks.splice(0)) controller.enqueue(chunk);
        if (!isOver()) return;
        this.#breakOff = undefined;
        controller.close();
        end();
      },
      cancel: () => {
        if (this.#breakOff === undefined) return;
        this.#breakOff = undefined;
        this.close();
        onEnd("closed");
      },
    }, { highWaterMark: 0 });
    return { status, headers, keepAlive, body };
  }

  async #gather(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const body = new Uint8Array(length);
    for (let at = 0;;) {
      const count = Math.min(length - at, this.#end - this.#start);
      body.set(this.#buffer.subarray(this.#start, this.#start + count), at);
      this.#start += count;
      at += count;
      if (at === length) return body;
      if (!await this.#fill()) throw new Error(CLOSED);
    }
  }
}

const CLOSED = "the connection was closed";
const LINE_BREAK = latin1Bytes("\r\n");
const LAST_CHUNK = latin1Bytes("0\r\n\r\n");

/** Why a connection failed, in few words. */
function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.ConnectionRefused) return "the connection was refused";
  if (error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe) {
    return "the connection was reset";
  }
  if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
    return CLOSED;
  }
  return error instanceof Error ? error.message : String(error);
}

function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
