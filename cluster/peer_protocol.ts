/**
 * The messages between a supervisor and its peers, and how they travel: down as JSON lines on the peer's
 * stdin, up as marked lines on its stdout, so that what plugins print there is told from them.
 *
 * @module
 */
import type { ServiceInfo } from "../plugins/contract.ts";
import type { ErrorMessage, LogLevel, PartitionInit } from "../engine/partition_protocol.ts";
import type { Plan } from "../engine/plan.ts";
import type { BatchRecord } from "../engine/progress.ts";

/** Supervisor to peer. */
export type ToPeer =
  | PeerInit
  | { readonly type: "ping" }
  /** Take in no more, and say when all is done; with `handOver`, send callers elsewhere first. */
  | { readonly type: "drain"; readonly handOver: boolean }
  | { readonly type: "replace_partition"; readonly partition: number }
  /** End; plugins may take so many ms to close. */
  | { readonly type: "close"; readonly timeoutMs: number };

/** The first message: what the peer is to run. */
export interface PeerInit {
  readonly type: "init";
  readonly plan: Plan;
  readonly peer: number;
  /** Where other peers listen already. */
  readonly siblings: readonly ServiceInfo[];
  /** The lowest level of log lines that are wanted. */
  readonly logLevel: string;
  /** Where rows are exchanged, if the plan moves any. */
  readonly exchange?: NonNullable<PartitionInit["exchange"]>;
}

/** Peer to supervisor. */
export type FromPeer =
  /** All partitions serve. */
  | { readonly type: "ready"; readonly services: readonly ServiceInfo[] }
  /** It cannot start: the plan, a plugin or the port is at fault. The peer ends. */
  | { readonly type: "init_failed"; readonly error: ErrorMessage }
  | { readonly type: "services"; readonly services: readonly ServiceInfo[] }
  | {
    readonly type: "report";
    readonly record: BatchRecord;
    /** Batches done by each of its partitions since it began. */
    readonly partitionBatches: readonly number[];
  }
  | {
    readonly type: "log";
    readonly level: LogLevel;
    readonly message: string;
    readonly properties: Record<string, unknown>;
  }
  /** Workers replaced since it began, and rows that wait. */
  | { readonly type: "pong"; readonly restarts: number; readonly queueLength: number }
  | { readonly type: "drained" }
  /** Its query cannot go on. The peer ends. */
  | { readonly type: "fatal"; readonly error: ErrorMessage };

/** Begins a marked line. JSON has no such character, and nobody prints it: it is ASCII's record separator. */
const MARK = "\x1e";
/** Follows the mark when the message goes on in the next marked line. */
const MORE = "+";
const LAST = "=";
/** Writes of up to 4096 bytes into a pipe are never mixed with those of other threads. */
const PART = 4_000;
/** Longest line that is waited for, in characters; a longer one is told in pieces. */
const MAX_LINE = 65_536;

const encoder = new TextEncoder();

/** A message as the bytes of one or more writes. */
export function encodeFromPeer(message: FromPeer): Uint8Array[] {
  // ASCII, so that it can be cut anywhere.
  const json = JSON.stringify(message).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const parts: Uint8Array[] = [];
  for (let from = 0; from < json.length; from += PART) {
    const kind = from + PART < json.length ? MORE : LAST;
    parts.push(encoder.encode(`${MARK}${kind}${json.slice(from, from + PART)}\n`));
  }
  return parts;
}

/** A message as one line. */
export function encodeToPeer(message: ToPeer): Uint8Array {
  return encoder.encode(`${JSON.stringify(message)}\n`);
}

/** Takes a peer's stdout apart: messages, and lines that something else has printed. */
export class FromPeerReader {
  readonly #message: (message: FromPeer) => void;
  readonly #text: (line: string) => void;
  readonly #lines: LineReader;
  #parts = "";

  constructor(message: (message: FromPeer) => void, text: (line: string) => void) {
    this.#message = message;
    this.#text = text;
    this.#lines = new LineReader((line) => this.#line(line), MAX_LINE);
  }

  push(bytes: Uint8Array): void {
    this.#lines.push(bytes);
  }

  /** There is no more. What has no line end is text. */
  end(): void {
    this.#lines.end();
  }

  #line(line: string): void {
    const at = line.indexOf(MARK);
    if (at < 0) return this.#print(line);
    // Text without a line end came before the mark.
    if (at > 0) this.#print(line.slice(0, at));
    const part = line.slice(at + 2);
    if (line[at + 1] === MORE) {
      this.#parts += part;
      return;
    }
    const json = this.#parts + part;
    this.#parts = "";
    let message: FromPeer;
    try {
      message = JSON.parse(json);
    } catch {
      return this.#print(json);
    }
    this.#message(message);
  }

  #print(line: string): void {
    if (line !== "") this.#text(line);
  }
}

/** Bytes to lines of UTF-8, without their ends. */
export class LineReader {
  readonly #line: (line: string) => void;
  readonly #maxLength: number;
  readonly #decoder = new TextDecoder();
  #rest = "";

  /** @param maxLength a line is cut once it has so many characters */
  constructor(line: (line: string) => void, maxLength: number = Infinity) {
    this.#line = line;
    this.#maxLength = maxLength;
  }

  push(bytes: Uint8Array): void {
    this.#take(this.#decoder.decode(bytes, { stream: true }));
  }

  /** There is no more: what is left is a line. */
  end(): void {
    this.#take(this.#decoder.decode());
    if (this.#rest !== "") this.#line(this.#rest);
    this.#rest = "";
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
    if (this.#rest.length < this.#maxLength) return;
    this.#line(this.#rest);
    this.#rest = "";
  }
}
