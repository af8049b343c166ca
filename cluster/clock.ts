/**
 * Time as the supervisor sees it, so that tests can make it pass.
 *
 * @module
 */

/** What time it is, and what is to happen later. */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /**
   * Calls back once, after so many ms.
   * @returns a function that takes the call back; safe afterwards and twice
   */
  after(ms: number, callback: () => void): () => void;
}

/** The machine's own. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
