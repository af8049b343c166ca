/**
 * The places that the processes of a service take among them, so that rows can be sent to "the one that
 * has these keys": a process has a slot, a number from 0 up, for as long as it renews its lease. The slots
 * whose processes are ready are the ring over which keys are spread; when they change, the ring does.
 *
 * @module
 */
import type { Ring, RingSource } from "../engine/ring.ts";
import { keyPart } from "./key_value.ts";
import type { Holder, Lease } from "./lease.ts";

/** A slot that is taken. */
export interface TakenSlot {
  readonly slot: number;
  /** The name of the process that has it. */
  readonly peer: string;
  /** Whether the process takes rows. */
  readonly isReady: boolean;
}

/** Most slots of a service. */
export const MAX_SLOTS = 1024;

/** The slots of one service, and this process's own. */
export class Slots implements RingSource {
  /** Whether the process takes rows; others hear of it with the next step. */
  isReady: boolean = false;
  readonly #service: string;
  readonly #newLease: (key: string) => Lease;
  readonly #listeners = new Set<(ring: Ring) => void>();
  #own: { readonly slot: number; readonly lease: Lease } | undefined;
  #lastSlot: number | undefined;
  #taken: readonly TakenSlot[] = [];
  #stepping: Promise<unknown> = Promise.resolve();

  /** @param newLease gives the lease of this process on a key */
  constructor(service: string, newLease: (key: string) => Lease) {
    this.#service = service;
    this.#newLease = newLease;
  }

  /** This process's slot; undefined while it has none for sure. */
  get slot(): number | undefined {
    return this.#own?.lease.isHeld === true ? this.#own.slot : undefined;
  }

  /** The slots that are taken, in order, as far as this process has heard. */
  get taken(): readonly TakenSlot[] {
    return this.#taken;
  }

  /** @throws {Error} before the first step */
  current(): Ring {
    const slot = this.#own?.slot ?? this.#lastSlot;
    if (slot === undefined) throw new Error(`Service "${this.#service}" has no slot yet`);
    // The own one is known sooner here than it is heard of.
    const others = this.#taken.filter((each) => each.slot !== slot);
    const slotsOf = (taken: readonly TakenSlot[]) =>
      [slot, ...taken.map((each) => each.slot)].sort((a, b) => a - b);
    return {
      slot,
      remainingMs: this.#own?.lease.remainingMs ?? 0,
      ready: slotsOf(others.filter(({ isReady }) => isReady)),
      taken: slotsOf(others),
    };
  }

  listen(listener: (ring: Ring) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Renews the own slot, or takes the first one that is free. To be called several times a lease.
   * @throws when the store cannot be reached, or no slot is free
   */
  step(): Promise<void> {
    const mine = this.#stepping.then(() => this.#step());
    this.#stepping = mine.catch(() => {});
    return mine;
  }

  /** The connection broke: until the next step nobody knows whose the slot is. */
  disconnected(): void {
    this.#own?.lease.disconnected();
  }

  /** Gives the slot up. */
  async release(): Promise<void> {
    await this.#stepping;
    const own = this.#own;
    this.#own = undefined;
    await own?.lease.release();
  }

  /** Takes in who holds which leases now. */
  update(holders: readonly (readonly [key: string, holder: Holder])[]): void {
    const prefix = slotKey(this.#service, "");
    this.#taken = holders.flatMap(([key, { peer, isMarked }]) =>
      key.startsWith(prefix)
        ? [{ slot: Number(key.slice(prefix.length)), peer, isReady: isMarked }]
        : []
    ).sort((a, b) => a.slot - b.slot);
    if (this.#own === undefined && this.#lastSlot === undefined) return;
    const ring = this.current();
    for (const listener of [...this.#listeners]) listener(ring);
  }

  async #step(): Promise<void> {
    if (this.#own !== undefined) {
      this.#own.lease.mark = this.isReady;
      if (await this.#own.lease.step()) return;
      // Another has it now: the process was cut off for too long.
      this.#own = undefined;
    }
    for (let slot = 0; slot < MAX_SLOTS; slot++) {
      const lease = this.#newLease(slotKey(this.#service, slot));
      lease.mark = this.isReady;
      if (!await lease.step()) continue;
      this.#own = { slot, lease };
      this.#lastSlot = slot;
      return;
    }
    throw new Error(`Cannot take a slot of service "${this.#service}": all ${MAX_SLOTS} are taken`);
  }
}

function slotKey(service: string, slot: number | ""): string {
  return `slot.${keyPart(service)}.${slot}`;
}
