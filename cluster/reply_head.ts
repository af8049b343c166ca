/**
 * HTTP/1.1 replies as bytes: their heads and chunked bodies. What is not certain to be well-formed is
 * refused: a reply that two programs read differently is how requests are smuggled.
 *
 * @module
 */

/** A reply that is no HTTP. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
}

/** The head of a reply. */
export interface ReplyHead {
  readonly status: number;
  /** Without those that concern the connection alone. Names in lower case. */
  readonly headers: [name: string, value: string][];
  /** Bytes of the body, `chunked`, or undefined when the end of the connection ends it. */
  readonly framing: number | "chunked" | undefined;
  /** Whether the connection takes another request afterwards. */
  readonly keepAlive: boolean;
}

/** Longest head that is read, in bytes. */
export const MAX_HEAD_BYTES = 65_536;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [^\r\n\0]*)?$/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const CONTROL = /[\0\r\n]/;
const PADDING = /^[ \t]+|[ \t]+$/g;
const DIGITS = /^\d{1,15}$/;
const HEX = /^[0-9a-f]{1,12}$/i;

/** Headers that concern one connection, and none beyond it. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Where the empty line after a head begins, or -1. Looks from `from` to `end`. */
export function findHeadEnd(bytes: Uint8Array, from: number, end: number): number {
  for (let at = from; at + 3 < end; at++) {
    at = bytes.indexOf(13, at);
    if (at < 0 || at + 3 >= end) return -1;
    if (bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at;
  }
  return -1;
}

/**
 * Reads a head.
 * @param bytes without the empty line
 * @param method of the request
 * @throws {ReplyError}
 */
export function parseHead(bytes: Uint8Array, method: string): ReplyHead {
  const lines = latin1(bytes).split("\r\n");
  const match = STATUS_LINE.exec(lines[0]!);
  if (match === null) throw new ReplyError("it does not begin with an HTTP/1.1 status line");
  const status = Number(match[2]);
  let keepAlive = match[1] === "1";
  let length: string | undefined;
  let encoding: string | undefined;
  let named: string[] | undefined;
  let headers: [string, string][] = [];
  for (let at = 1; at < lines.length; at++) {
    const line = lines[at]!;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    const value = line.slice(colon + 1).replace(PADDING, "");
    if (!TOKEN.test(name) || CONTROL.test(value)) throw new ReplyError("a header line is broken");
    if (name === "content-length") {
      if (!DIGITS.test(value) || (length ?? value) !== value) {
        throw new ReplyError("its Content-Length is no number");
      }
      if (length === undefined) headers.push([name, value]);
      length = value;
    } else if (name === "transfer-encoding") {
      encoding = encoding === undefined ? value : `${encoding}, ${value}`;
    } else if (name === "connection") {
      named = [...named ?? [], ...value.toLowerCase().split(",").map((each) => each.trim())];
    } else if (!HOP_BY_HOP.has(name)) headers.push([name, value]);
  }
  if (named !== undefined) {
    const dropped = named;
    if (dropped.includes("close")) keepAlive = false;
    headers = headers.filter(([name]) => !dropped.includes(name) || name === "content-length");
  }
  if (encoding !== undefined && length !== undefined) {
    throw new ReplyError("it has both Content-Length and Transfer-Encoding");
  }
  if (encoding !== undefined && encoding.toLowerCase() !== "chunked") {
    throw new ReplyError(`its Transfer-Encoding is "${encoding}", wanted chunked`);
  }
  const bodiless = method === "HEAD" || status < 200 || status === 204 || status === 304;
  if (bodiless) return { status, headers, framing: 0, keepAlive };
  if (encoding !== undefined) return { status, headers, framing: "chunked", keepAlive };
  if (length !== undefined) return { status, headers, framing: Number(length), keepAlive };
  return { status, headers, framing: undefined, keepAlive: false };
}

/** Takes a chunked body apart, however its bytes arrive. Trailers are dropped. */
export class ChunkedDecoder {
  #state: "size" | "data" | "data end" | "trailer" = "size";
  #line = "";
  #left = 0;
  #trailerBytes = 0;

  /** Whether the last chunk has been seen. */
  done = false;

  /**
   * The data in the next bytes of the connection, which it shares.
   * @throws {ReplyError} when they are no chunks, or something follows the last one
   */
  push(bytes: Uint8Array): Uint8Array[] {
    const data: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) {
      if (this.done) throw new ReplyError("something follows its last chunk");
      if (this.#state === "data") {
        const taken = bytes.subarray(at, at + this.#left);
        data.push(taken);
        at += taken.length;
        this.#left -= taken.length;
        if (this.#left === 0) this.#state = "data end";
      } else {
        const newline = bytes.indexOf(10, at);
        const end = newline < 0 ? bytes.length : newline + 1;
        this.#line += latin1(bytes.subarray(at, end));
        at = end;
        if (this.#line.length > 8192) throw new ReplyError("a line between chunks is too long");
        if (newline >= 0) this.#endLine();
      }
    }
    return data;
  }

  #endLine(): void {
    if (!this.#line.endsWith("\r\n")) throw new ReplyError("a chunk is broken");
    const line = this.#line.slice(0, -2);
    this.#line = "";
    switch (this.#state) {
      case "size": {
        const size = line.split(";", 1)[0]!.trim();
        if (!HEX.test(size)) throw new ReplyError("the size of a chunk is no number");
        this.#left = parseInt(size, 16);
        this.#state = this.#left === 0 ? "trailer" : "data";
        return;
      }
      case "data end":
        if (line !== "") throw new ReplyError("a chunk is longer than its size");
        this.#state = "size";
        return;
      case "trailer":
        this.#trailerBytes += line.length;
        if (this.#trailerBytes > MAX_HEAD_BYTES) throw new ReplyError("its trailer is too long");
        this.done = line === "";
    }
  }
}

const decoder = new TextDecoder();

/** Bytes as text, a character each. */
function latin1(bytes: Uint8Array): string {
  // The decoder for UTF-8 is much the fastest, and for ASCII there is no difference.
  const text = decoder.decode(bytes);
  if (text.length === bytes.length && !text.includes("\uFFFD")) return text;
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** Text of which each character is a byte, as bytes; `room` bytes follow that are free. */
export function latin1Bytes(text: string, room: number = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length + room);
  const { read } = encoder.encodeInto(text, bytes.subarray(0, text.length));
  // Other than ASCII takes two bytes each in UTF-8, so the text did not fit.
  if (read !== text.length) {
    for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  }
  return bytes;
}

const encoder = new TextEncoder();
