/**
 * Which of a store's entries are alive: those that are written again and again.
 *
 * Time passes here by what the watch brings, the servers' time of each write: while it brings nothing,
 * because the connection is gone, nobody ages. Nobody goes either who was heard here a moment ago.
 *
 * @module
 */
import type { Entry } from "./key_value.ts";

interface Life<T> {
  readonly value: T;
  readonly revision: number;
  readonly created: number;
  /** When it was heard last, by this process's clock. */
  readonly heardAt: number;
  /** Whether the snapshot that is being told has it. */
  readonly isTold: boolean;
}

/** What hears of the entries. */
export interface LiveEntriesListener<T> {
  joined(key: string, value: T): void;
  changed(key: string, value: T, before: T): void;
  left(key: string, value: T, why: "deleted" | "silent"): void;
}

/** An entry that is not written any more, with its last revision. */
export interface Silent {
  readonly key: string;
  readonly revision: number;
}

/** The entries that are alive, by key. */
export class LiveEntries<T> {
  readonly #ttlMs: number;
  readonly #now: () => number;
  readonly #listener: LiveEntriesListener<T>;
  readonly #lives = new Map<string, Life<T>>();
  /** The servers' time, as far as the watch has come. */
  #serverTime = -Infinity;
  #messageAt = -Infinity;
  #isFirst = true;
  #isSynced = false;

  /**
   * @param ttlMs how long an entry may be silent
   * @param now this process's clock, in ms
   */
  constructor(ttlMs: number, now: () => number, listener: LiveEntriesListener<T>) {
    this.#ttlMs = ttlMs;
    this.#now = now;
    this.#listener = listener;
  }

  /** Begins anew: what there is will be told from the beginning. */
  restart(): void {
    this.#isSynced = false;
    for (const [key, life] of this.#lives) this.#lives.set(key, { ...life, isTold: false });
  }

  /** Takes in the servers' time of a write, of whatever key. */
  passed(created: number): void {
    const now = this.#now();
    // After a silence of the watch all that was written meanwhile comes at once, in some order.
    if (now - this.#messageAt > this.#ttlMs / 2) this.#hearAll(now);
    this.#messageAt = now;
    if (created > this.#serverTime) this.#serverTime = created;
  }

  /** Takes in an entry. */
  set({ key, revision, created }: Omit<Entry, "value">, value: T): void {
    this.passed(created);
    const before = this.#lives.get(key);
    if (before !== undefined && before.revision > revision && this.#isSynced) return;
    this.#lives.set(key, { value, revision, created, heardAt: this.#now(), isTold: true });
    // The first snapshot has entries of processes that are long gone: they are told when it is whole.
    if (before !== undefined) this.#listener.changed(key, value, before.value);
    else if (!this.#isFirst) this.#listener.joined(key, value);
  }

  /** Takes in that an entry was deleted. */
  delete({ key, created }: Omit<Entry, "value">): void {
    this.passed(created);
    const life = this.#lives.get(key);
    if (life === undefined) return;
    this.#lives.delete(key);
    if (!this.#isFirst) this.#listener.left(key, life.value, "deleted");
  }

  /**
   * All that had been there at the restart has been told.
   * @returns those that were dead already
   */
  synced(): Silent[] {
    this.#isSynced = true;
    const now = this.#now();
    if (this.#isFirst) {
      this.#isFirst = false;
      const dead: Silent[] = [];
      for (const [key, { value, created, revision }] of [...this.#lives]) {
        if (this.#serverTime - created <= this.#ttlMs) this.#listener.joined(key, value);
        else {
          this.#lives.delete(key);
          dead.push({ key, revision });
        }
      }
      return dead;
    }
    for (const [key, { value, isTold }] of [...this.#lives]) {
      if (isTold) continue;
      this.#lives.delete(key);
      this.#listener.left(key, value, "deleted");
    }
    // They could not be heard, and could not make themselves heard: they all get their time.
    this.#hearAll(now);
    return [];
  }

  /**
   * Lets go of those that have been silent for too long. To be called every now and then.
   */
  expire(): Silent[] {
    if (!this.#isSynced) return [];
    const now = this.#now();
    const silent: Silent[] = [];
    for (const [key, { value, created, heardAt, revision }] of [...this.#lives]) {
      if (now - heardAt <= this.#ttlMs || this.#serverTime - created <= this.#ttlMs) continue;
      this.#lives.delete(key);
      silent.push({ key, revision });
      this.#listener.left(key, value, "silent");
    }
    return silent;
  }

  get(key: string): T | undefined {
    return this.#lives.get(key)?.value;
  }

  /** Keys and values. */
  entries(): [key: string, value: T][] {
    return [...this.#lives].map(([key, { value }]) => [key, value]);
  }

  #hearAll(now: number): void {
    for (const [key, life] of this.#lives) this.#lives.set(key, { ...life, heardAt: now });
  }
}
