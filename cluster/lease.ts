/**
 * Leases: who may act as the one owner of something, for a while at a time.
 *
 * A lease is a key that its holder writes again and again by compare-and-set. The holder counts the time
 * from before it asked; whoever wants to take over counts it from after it saw the last write, and a bit
 * longer. So no two hold it at once, whatever their clocks say, as long as these run at about the same
 * speed; not even when the servers lose what they have stored, which they do not without breaking the
 * connections. Each term has a token that is higher than those of all terms before, until the servers lose
 * what they have: whoever acts for the holder shows it, and what has seen a higher one refuses.
 *
 * @module
 */
import type { Entry, KeyValue } from "./key_value.ts";

/** Clocks of this process, in ms. */
export interface LeaseClock {
  /** Never goes back; may stand still while the machine sleeps. */
  monotonic(): number;
  /** Goes on while the machine sleeps; may be set. */
  wall(): number;
}

/** The clocks of the machine. */
export const LEASE_CLOCK: LeaseClock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
};

/** What a {@linkcode Lease} is made of. */
export interface LeaseOptions {
  readonly store: KeyValue;
  readonly key: string;
  /** Names the process; no two are the same, not even of one peer one after another. */
  readonly owner: string;
  /** The peer's name, for others to read. */
  readonly peer: string;
  /** How long a write holds, in ms. */
  readonly leaseMs: number;
  readonly clock: LeaseClock;
  /**
   * How long a key that is not there has to be missing before it is taken, in ms. Default: like one that
   * is there, since its holder may still count on it when the store has lost it.
   */
  readonly absentMs?: number;
}

/** How much longer others wait than the holder counts, for clocks that do not run at the same speed. */
const MARGIN = 0.1;

/** A lease that this process has, or would like to have. */
export class Lease {
  readonly #options: LeaseOptions;
  /** A mark of the holder's for others to see, written with the next step. */
  mark: boolean = false;
  /** Of the last write of ours that is known. */
  #revision = 0;
  #token = 0;
  /** The ends of the term by both clocks; whichever comes first counts. */
  #until = -Infinity;
  #untilWall = -Infinity;
  /** What was seen of another's, and since when. */
  #seen: number | undefined;
  #seenAt = 0;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** Whether the lease is ours at this moment. */
  get isHeld(): boolean {
    const { clock } = this.#options;
    return clock.monotonic() < this.#until && clock.wall() < this.#untilWall;
  }

  /** How long it is ours for sure, in ms; 0 when it is not. */
  get remainingMs(): number {
    const { clock } = this.#options;
    const left = Math.min(this.#until - clock.monotonic(), this.#untilWall - clock.wall());
    return Math.max(0, left);
  }

  /** The term's token; undefined while it is not ours. */
  get token(): number | undefined {
    return this.isHeld ? this.#token : undefined;
  }

  /**
   * Takes the lease if it is free, and renews it if it is ours. To be called several times a lease, one
   * call after another.
   * @returns whether it is ours
   * @throws when the store cannot be reached; the lease then stays ours until its time is over
   */
  async step(): Promise<boolean> {
    if (this.#revision > 0 && await this.#write(this.#revision)) return this.isHeld;
    const { store, key, owner, leaseMs, clock, absentMs } = this.#options;
    const entry = await store.get(key);
    const revision = entry?.revision ?? 0;
    const holder = entry === undefined ? undefined : readHolder(entry);
    // A write of ours whose answer was lost; nobody else takes it for theirs.
    if (holder?.owner === owner) {
      await this.#write(revision);
      return this.isHeld;
    }
    if (this.#seen !== revision) {
      this.#seen = revision;
      this.#seenAt = clock.monotonic();
    }
    const wait = holder?.isReleased === true
      ? 0
      : entry === undefined && absentMs !== undefined
      ? absentMs
      : leaseMs * (1 + MARGIN);
    if (clock.monotonic() - this.#seenAt >= wait) await this.#write(revision);
    return this.isHeld;
  }

  /**
   * The connection to the store broke. What was seen counts no more: the store may have lost all it had,
   * so that what is there when it is back may only look the same. The lease stays ours until its time is
   * over.
   */
  disconnected(): void {
    this.#revision = 0;
    this.#seen = undefined;
  }

  /** Gives the lease up, so that another may take it at once. */
  async release(): Promise<void> {
    const { store, key, owner, peer } = this.#options;
    const revision = this.#revision;
    this.#revision = 0;
    this.#seen = undefined;
    this.#until = this.#untilWall = -Infinity;
    if (revision > 0) await store.put(key, { owner, peer, released: true }, revision);
  }

  async #write(revision: number): Promise<boolean> {
    const { store, key, owner, peer, leaseMs, clock } = this.#options;
    const askedAt = clock.monotonic(), askedAtWall = clock.wall();
    const wasHeld = this.isHeld;
    const value = { owner, peer, ...(this.mark ? { marked: true } : {}) };
    const written = await store.put(key, value, revision);
    if (written === undefined) {
      // Not the end of the term: the answer to a renewal may have been lost.
      this.#revision = 0;
      return false;
    }
    // A term that had run out begins anew: in between the lease may have been another's.
    if (!wasHeld || !this.isHeld) this.#token = written;
    this.#revision = written;
    this.#until = askedAt + leaseMs;
    this.#untilWall = askedAtWall + leaseMs;
    return true;
  }
}

/** Who holds a lease, by its entry. */
export interface Holder {
  readonly owner: string;
  readonly peer: string;
  readonly isReleased: boolean;
  readonly isMarked: boolean;
}

/** Reads a lease's entry; undefined when it is none. */
export function readHolder({ value }: Entry): Holder | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { owner, peer, released, marked } = value;
  if (typeof owner !== "string" || typeof peer !== "string") return undefined;
  return { owner, peer, isReleased: released === true, isMarked: marked === true };
}
