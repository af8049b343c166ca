/**
 * What commands use of the process, so that tests can give them something else.
 *
 * @module
 */
import type { Env } from "../engine/config.ts";

/** Exit code of a command that did what it was asked to. */
export const DONE = 0;
/** Exit code of a command that failed while it ran. */
export const FAILED = 1;
/** Exit code of bad use or a bad config. */
export const BAD_USE = 2;

/** The process's ways in and out. */
export interface Io {
  /** Writes to stdout, as it is. */
  out(text: string): void;
  /** Writes to stderr, as it is. */
  err(text: string): void;
  readonly env: Env;
  /** Width of the terminal in characters; Infinity where there is none. */
  readonly width: number;
  /**
   * Calls the handler for every SIGINT and SIGTERM, in place of the process's end.
   * @returns a function that takes the handler away
   */
  onSignal(handler: () => void): () => void;
  /** The same for SIGHUP. */
  onHangUp(handler: () => void): () => void;
}

/** The process itself. */
export const processIo: Io = {
  out: (text) => write(Deno.stdout, text),
  err: (text) => write(Deno.stderr, text),
  env: (name) => Deno.env.get(name),
  get width() {
    return Deno.stdout.isTerminal() ? Deno.consoleSize().columns : Infinity;
  },
  onSignal: (handler) => {
    // Windows knows no SIGTERM.
    const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
    for (const signal of signals) Deno.addSignalListener(signal, handler);
    return () => {
      for (const signal of signals) Deno.removeSignalListener(signal, handler);
    };
  },
  onHangUp: (handler) => {
    if (Deno.build.os === "windows") return () => {};
    Deno.addSignalListener("SIGHUP", handler);
    return () => Deno.removeSignalListener("SIGHUP", handler);
  },
};

const encoder = new TextEncoder();

/** Writes all of a text; a reader that has gone (`millrace list | head`) is no error. */
function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = encoder.encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
