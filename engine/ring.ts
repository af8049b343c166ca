/**
 * Over which partitions of which processes a plan's rows are spread, where the processes are on many
 * machines and come and go.
 *
 * @module
 */

/** The processes of a service, by their slots, as one of them sees it. Plain data. */
export interface Ring {
  /** This process's slot; what it was last, while nobody knows. */
  readonly slot: number;
  /** For how long, in ms, the slot is this process's for sure. */
  readonly remainingMs: number;
  /** The slots whose processes take rows, in order; this one's is among them. */
  readonly ready: readonly number[];
  /** The slots that are taken: rows that are at one that is not are lost. */
  readonly taken: readonly number[];
}

/** Tells the ring, and when it changes. */
export interface RingSource {
  current(): Ring;
  /** Calls the listener from now on, several times a lease. Returns what ends that. */
  listen(listener: (ring: Ring) => void): () => void;
}

/**
 * So many destinations are keys spread over, and destinations over the partitions of the moment. It can
 * be divided by the numbers from 1 to 12, so that all get the same share.
 */
export const RING_DESTINATIONS = 55_440;
