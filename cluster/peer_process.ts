/**
 * Starting this program again, as a peer.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import {
  encodeToPeer,
  type FromPeer,
  FromPeerReader,
  LineReader,
  type ToPeer,
} from "./peer_protocol.ts";

/** What a process tells its owner. */
export interface PeerProcessEvents {
  message(message: FromPeer): void;
  /** A line that is no message. */
  text(stream: "stdout" | "stderr", line: string): void;
  /** It is gone, and so is all that it has said. Told once, and last. */
  exited(why: string): void;
}

/** A process that runs as a peer. */
export interface PeerProcess {
  readonly pid: number;
  /** Sends a message, which is lost if the process is gone. */
  send(message: ToPeer): void;
  /** Ends it at once. Safe twice. */
  kill(): void;
}

/** Starts a process. */
export type LaunchPeer = (events: PeerProcessEvents) => PeerProcess;

/** How long what a process has written is waited for after its end, in ms: a child of its own may hold its pipes. */
const LAST_WORDS_MS = 1_000;

/** Starts this program again as a peer: the compiled binary, or `deno run` of the same modules. */
export const launchPeer: LaunchPeer = (events) => {
  const [command, ...args] = peerCommand();
  const child = new Deno.Command(command!, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const input = child.stdin.getWriter();
  input.closed.catch(() => {});
  const messages = new FromPeerReader(events.message, (line) => events.text("stdout", line));
  const lines = new LineReader((line) => line !== "" && events.text("stderr", line), 65_536);
  const streams = [pump(child.stdout, messages), pump(child.stderr, lines)];
  child.status.then(async ({ code, signal }) => {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, LAST_WORDS_MS);
    await Promise.race([Promise.all(streams.map(({ ended }) => ended)), late.promise]);
    clearTimeout(timer);
    for (const { cancel } of streams) cancel();
    await input.abort().catch(() => {});
    events.exited(signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`);
  });
  return {
    pid: child.pid,
    send: (message) => {
      input.write(encodeToPeer(message)).catch(() => {});
    },
    kill: () => {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
    },
  };
};

/** The program and its arguments that make this program a peer. */
export function peerCommand(): string[] {
  const self = Deno.execPath();
  if (Deno.build.standalone) return [self, "peer"];
  const main = new URL("../main.ts", import.meta.url);
  const config = new URL("../deno.json", import.meta.url);
  return [
    self,
    "run",
    "--quiet",
    "--no-check",
    "--no-prompt",
    "--unstable-net",
    ...(config.protocol === "file:" ? ["--config", fileURLToPath(config)] : []),
    ...permissionFlags(),
    main.href,
    "peer",
  ];
}

/** Flags for what this process may do without limits: a peer may not do more. */
function permissionFlags(): string[] {
  const names = ["read", "write", "net", "env", "run", "sys", "ffi", "import"] as const;
  const granted = names.filter((name) =>
    Deno.permissions.querySync({ name } as Deno.PermissionDescriptor).state === "granted"
  );
  return granted.length === names.length ? ["-A"] : granted.map((name) => `--allow-${name}`);
}

/** Reads a stream to its end. */
function pump(
  stream: ReadableStream<Uint8Array>,
  into: { push(bytes: Uint8Array): void; end(): void },
): { readonly ended: Promise<void>; cancel(): void } {
  const reader = stream.getReader();
  const ended = (async () => {
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        into.push(value);
      }
    } catch {
      // A broken pipe is an end as well.
    }
    into.end();
  })();
  return { ended, cancel: () => void reader.cancel().catch(() => {}) };
}
