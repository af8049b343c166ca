/**
 * The address in each request row's `id`: who holds the caller's connection. Replies are routed by it.
 *
 * @module
 */

/** Where a request came in, and which one it is there. */
export interface Origin {
  /** The peer (process). */
  readonly peer: string;
  /** The partition whose listener took it; -1 for the head's. */
  readonly partition: number;
  /** Count of requests at that listener. */
  readonly request: number;
}

/** The origin as text: `peer/partition/request`. */
export function formatOrigin({ peer, partition, request }: Origin): string {
  return `${peer}/${partition}/${request}`;
}

/**
 * The origin of what {@linkcode formatOrigin} gave; a peer's name may hold slashes.
 * @throws {SyntaxError} when the text is no origin
 */
export function parseOrigin(id: string): Origin {
  const match = /^(.*)\/(-1|\d+)\/(\d+)$/s.exec(id);
  if (match === null) {
    throw new SyntaxError(`Cannot read origin "${id}": wanted "peer/partition/request"`);
  }
  return { peer: match[1]!, partition: Number(match[2]), request: Number(match[3]) };
}
