/**
 * A lean HTTP/1.1 client over raw sockets: a connection sends exactly what a test says, one request
 * after another, and costs little enough for a load of hundreds of thousands.
 *
 * @module
 */

/** An answer as it came over the wire. */
export interface RawResponse {
  readonly status: number;
  /** Status line and header lines, without the empty line after them. */
  readonly head: string;
  readonly body: Uint8Array;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const latin1 = new TextDecoder("latin1");

/** One keep-alive connection. Not for several callers at once. */
export class HttpConnection {
  readonly #connection: Deno.TcpConn;
  readonly #host: string;
  readonly #path: string;
  #buffer = new Uint8Array(16_384);
  #start = 0;
  #end = 0;

  private constructor(connection: Deno.TcpConn, { host, pathname }: URL) {
    this.#connection = connection;
    this.#host = host;
    this.#path = pathname;
  }

  /** Connects to the host of a URL; its path is that of the requests. */
  static async open(url: string): Promise<HttpConnection> {
    const target = new URL(url);
    const { hostname, port } = target;
    const connection = await Deno.connect({ hostname, port: Number(port) });
    connection.setNoDelay();
    return new HttpConnection(connection, target);
  }

  /** Sends bytes, or text as UTF-8, as they are. */
  async send(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    for (let sent = 0; sent < bytes.length;) {
      sent += await this.#connection.write(sent === 0 ? bytes : bytes.subarray(sent));
    }
  }

  /** Posts a body and waits for the answer. */
  async post(body: string | Uint8Array, headers: string = ""): Promise<RawResponse> {
    await this.send(this.request("POST", body, headers));
    return await this.answer();
  }

  /** A request as bytes. `headers` are whole lines, each with its line break. */
  request(method: string, body: string | Uint8Array, headers: string = ""): Uint8Array {
    const bytes = typeof body === "string" ? encoder.encode(body) : body;
    const head = encoder.encode(
      `${method} ${this.#path} HTTP/1.1\r\nhost: ${this.#host}\r\n` +
        `content-length: ${bytes.length}\r\n${headers}\r\n`,
    );
    const whole = new Uint8Array(head.length + bytes.length);
    whole.set(head);
    whole.set(bytes, head.length);
    return whole;
  }

  /** The next answer. @throws {Error} when the connection ends first */
  async answer(): Promise<RawResponse> {
    const response = await this.receive();
    if (response === undefined) throw new Error("The connection was closed before an answer came");
    return response;
  }

  /** The next answer; undefined when the connection ends first. */
  async receive(): Promise<RawResponse | undefined> {
    let headEnd: number;
    for (let from = this.#start;;) {
      headEnd = this.#blankLine(from);
      if (headEnd >= 0) break;
      const seen = this.#end - this.#start;
      if (!await this.#fill()) return undefined;
      from = Math.max(this.#start, this.#start + seen - 3);
    }
    const head = latin1.decode(this.#buffer.subarray(this.#start, headEnd));
    const status = Number(head.slice(9, 12));
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
    this.#start = headEnd + 4;
    while (this.#end - this.#start < length) if (!await this.#fill()) return undefined;
    const body = this.#buffer.slice(this.#start, this.#start + length);
    this.#start += length;
    return { status, head, body };
  }

  /** Hangs up. Safe twice. */
  close(): void {
    try {
      this.#connection.close();
    } catch {
      // It is closed already.
    }
  }

  #blankLine(from: number): number {
    const buffer = this.#buffer;
    for (let at = from; at + 3 < this.#end; at++) {
      at = buffer.indexOf(13, at);
      if (at < 0 || at + 3 >= this.#end) return -1;
      if (buffer[at + 1] === 10 && buffer[at + 2] === 13 && buffer[at + 3] === 10) return at;
    }
    return -1;
  }

  /** Reads more; false when there is none, or the other side has broken off. */
  async #fill(): Promise<boolean> {
    if (this.#start === this.#end) this.#start = this.#end = 0;
    else if (this.#end === this.#buffer.length) {
      const held = this.#buffer.subarray(this.#start, this.#end);
      const roomy = held.length * 2 > this.#buffer.length
        ? new Uint8Array(this.#buffer.length * 2)
        : this.#buffer;
      roomy.set(held);
      this.#buffer = roomy;
      this.#end = held.length;
      this.#start = 0;
    }
    let count: number | null;
    try {
      count = await this.#connection.read(this.#buffer.subarray(this.#end));
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return false;
      throw error;
    }
    if (count === null) return false;
    this.#end += count;
    return true;
  }
}

/** A body as text. */
export function textOf({ body }: RawResponse): string {
  return decoder.decode(body);
}
