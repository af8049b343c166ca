/**
 * Closing a port while its connections live on. The runtime's HTTP server cannot: its shutdown hangs up
 * on clients that ask for nothing at the moment, and on those whose request is still on its way. So the
 * kernel is told, where it can be: on Linux, with the permission to call foreign functions.
 *
 * @module
 */

const SHUT_RD = 0;
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const LIBRARIES = ["libc.so.6", "libc.so"];

/** Sockets of the process: what each file descriptor leads to. */
export type Sockets = ReadonlyMap<number, string>;

/** All sockets that the process has open; undefined where they cannot be told. */
export function openSockets(): Sockets | undefined {
  // Asking first: without the permission, a look would prompt a person on a terminal.
  if (Deno.build.os !== "linux" || !isGranted("read") || !isGranted("ffi")) return undefined;
  const sockets = new Map<number, string>();
  try {
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      const target = targetOf(Number(name));
      if (target?.startsWith("socket:")) sockets.set(Number(name), target);
    }
  } catch {
    return undefined;
  }
  return sockets;
}

/** The sockets that were not open before. */
export function newSockets(before: Sockets | undefined): Sockets | undefined {
  const now = before && openSockets();
  return now && new Map([...now].filter(([fd, target]) => before.get(fd) !== target));
}

/**
 * Makes those of the sockets that listen stop listening. New connections are refused, or go to another
 * process that shares the port; those that are open stay.
 *
 * A connection that waits to be accepted at that moment is reset, or goes to another process where
 * `net.ipv4.tcp_migrate_req` is set. So the moment is made short: all is prepared, the caller lets the
 * event loop accept what waits, and then calls what it got.
 *
 * @returns a function that does it, to be called once; undefined where that is not possible
 */
export function prepareToStopListening(sockets: Sockets): (() => void) | undefined {
  const library = open();
  if (library === undefined) return undefined;
  const { shutdown, getsockopt } = library.symbols;
  const size = new Int32Array([4]);
  const value = new Int32Array(1);
  const listens = (fd: number) =>
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, size) === 0 && value[0] === 1;
  // Descriptors are used again: one that was a listener may be a connection by now.
  const descriptors = [...sockets].filter(([fd, target]) => targetOf(fd) === target && listens(fd));
  return () => {
    for (const [fd] of descriptors) if (listens(fd)) shutdown(fd, SHUT_RD);
    library.close();
  };
}

function isGranted(name: "read" | "ffi"): boolean {
  return Deno.permissions.querySync({ name }).state === "granted";
}

function targetOf(fd: number): string | undefined {
  try {
    return Deno.readLinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // It was closed meanwhile.
    return undefined;
  }
}

function open() {
  for (const name of LIBRARIES) {
    try {
      return Deno.dlopen(name, {
        shutdown: { parameters: ["i32", "i32"], result: "i32" },
        getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
      });
    } catch {
      // Another C library has another name.
    }
  }
  return undefined;
}
