/**
 * `millrace peer`: what a supervisor starts. It is not for people, and not in the help.
 *
 * @module
 */
import { runPeer } from "../cluster/peer.ts";
import { BAD_USE, type Io } from "./io.ts";

/**
 * Serves for the supervisor at the other end of stdin and stdout, and ends the process.
 * @returns the exit code of bad use
 */
export async function peer(io: Io): Promise<number> {
  if (Deno.stdin.isTerminal()) {
    io.err("error: Cannot start a peer by hand: set `peers` in a config, and use `millrace run`\n");
    return BAD_USE;
  }
  // A terminal and a service manager signal all processes of a service; the supervisor says what to do.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    if (Deno.build.os !== "windows" || signal === "SIGINT") {
      Deno.addSignalListener(signal, () => {});
    }
  }
  await runPeer({
    input: Deno.stdin.readable,
    write: (bytes) => {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(Deno.stdout.writeSync(rest));
    },
    exit: Deno.exit,
  });
  return BAD_USE;
}
