/**
 * A port that nobody uses at the moment.
 *
 * @module
 */

/** A free port of the loopback interface; another process may still take it before the caller does. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}
