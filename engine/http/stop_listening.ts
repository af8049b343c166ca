/**
 * Closing a port while its connections live on. The runtime's HTTP server cannot: its shutdown hangs up
 * on clients that ask for nothing at the moment, and on those whose request is still on its way. So the
 * kernel is told, where it can be.
 *
 * @module
 */

/** `TCP_LISTEN` in `/proc/net/tcp`. */
const LISTEN = "0A";
const SHUT_RD = 0;
const LIBRARIES = ["libc.so.6", "libc.so"];

/**
 * Makes all listeners that this process has on a TCP port stop listening: the kernel gives new
 * connections to other processes that share the port. Connections that are open stay.
 * @returns whether that was possible: it takes Linux and the permission to call foreign functions
 */
export function stopListening(port: number): boolean {
  if (Deno.build.os !== "linux") return false;
  try {
    // Asking first: without the permission, the call below would prompt a person on a terminal.
    if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return false;
    const descriptors = listeners(port);
    if (descriptors.length === 0) return false;
    const library = open();
    if (library === undefined) return false;
    try {
      return descriptors.map((fd) => library.symbols.shutdown(fd, SHUT_RD)).includes(0);
    } finally {
      library.close();
    }
  } catch {
    return false;
  }
}

function open() {
  for (const name of LIBRARIES) {
    try {
      return Deno.dlopen(name, { shutdown: { parameters: ["i32", "i32"], result: "i32" } });
    } catch {
      // Another C library has another name.
    }
  }
  return undefined;
}

/** File descriptors of the process's sockets that listen on a TCP port. */
function listeners(port: number): number[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const sockets = new Set<string>();
  for (const table of ["tcp", "tcp6"]) {
    for (const line of Deno.readTextFileSync(`/proc/self/net/${table}`).split("\n")) {
      // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === LISTEN && local!.endsWith(suffix)) sockets.add(`socket:[${inode}]`);
    }
  }
  const found: number[] = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (sockets.has(Deno.readLinkSync(`/proc/self/fd/${name}`))) found.push(Number(name));
    } catch {
      // It was closed meanwhile.
    }
  }
  return found;
}
