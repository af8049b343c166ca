/**
 * The places that the processes of a service take among them, so that rows can be sent to "the one that
 * has these keys": a process has a slot, a number from 0 up, for as long as it renews its lease. The slots
 * that are taken are the ring over which keys are spread; when they change, the ring does.
 *
 * @module
 */
import { keyPart } from "./key_value.ts";
import type { Holder, Lease } from "./lease.ts";

/** A slot that is taken. */
export interface TakenSlot {
  readonly slot: number;
  /** The name of the process that has it. */
  readonly peer: string;
}

/** Most slots of a service. */
export const MAX_SLOTS = 1024;

/** The slots of one service, and this process's own. */
export class Slots {
  readonly #service: string;
  readonly #newLease: (key: string) => Lease;
  readonly #listeners = new Set<(ring: readonly TakenSlot[]) => void>();
  #own: { readonly slot: number; readonly lease: Lease } | undefined;
  #isSuspended = false;
  #ring: readonly TakenSlot[] = [];

  /** @param newLease gives the lease of this process on a key */
  constructor(service: string, newLease: (key: string) => Lease) {
    this.#service = service;
    this.#newLease = newLease;
  }

  /** This process's slot; undefined while it has none for sure. */
  get slot(): number | undefined {
    return this.#own?.lease.isHeld === true && !this.#isSuspended ? this.#own.slot : undefined;
  }

  /** The slots that are taken, in order. */
  get ring(): readonly TakenSlot[] {
    return this.#ring;
  }

  /** The slot for a hash; undefined when none is taken. */
  slotOf(hash: number): number | undefined {
    return this.#ring.length === 0 ? undefined : this.#ring[hash % this.#ring.length]!.slot;
  }

  /** Calls the listener whenever the ring has changed. Returns what ends that. */
  listen(listener: (ring: readonly TakenSlot[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Renews the own slot, or takes the first one that is free. To be called several times a lease.
   * @throws when the store cannot be reached, or no slot is free
   */
  async step(): Promise<void> {
    if (this.#own !== undefined && await this.#own.lease.step()) {
      this.#isSuspended = false;
      return;
    }
    // Another has it now: the process was cut off for too long.
    this.#own = undefined;
    for (let slot = 0; slot < MAX_SLOTS; slot++) {
      const lease = this.#newLease(slotKey(this.#service, slot));
      if (!await lease.step()) continue;
      this.#own = { slot, lease };
      this.#isSuspended = false;
      return;
    }
    throw new Error(`Cannot take a slot of service "${this.#service}": all ${MAX_SLOTS} are taken`);
  }

  /** The connection broke: until the next step nobody knows whose the slot is. */
  disconnected(): void {
    this.#isSuspended = true;
    this.#own?.lease.disconnected();
  }

  /** Gives the slot up. */
  async release(): Promise<void> {
    const own = this.#own;
    this.#own = undefined;
    await own?.lease.release();
  }

  /** Takes in who holds which leases now. */
  update(holders: readonly (readonly [key: string, holder: Holder])[]): void {
    const prefix = slotKey(this.#service, "");
    const ring = holders.flatMap(([key, { peer }]) =>
      key.startsWith(prefix) ? [{ slot: Number(key.slice(prefix.length)), peer }] : []
    ).sort((a, b) => a.slot - b.slot);
    if (isSame(ring, this.#ring)) return;
    this.#ring = ring;
    for (const listener of [...this.#listeners]) listener(ring);
  }
}

function slotKey(service: string, slot: number | ""): string {
  return `slot.${keyPart(service)}.${slot}`;
}

function isSame(a: readonly TakenSlot[], b: readonly TakenSlot[]): boolean {
  return a.length === b.length &&
    a.every(({ slot, peer }, index) => slot === b[index]!.slot && peer === b[index]!.peer);
}
