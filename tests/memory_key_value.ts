/**
 * A store for tests: in memory, and as slow and unreliable as the test wants.
 *
 * @module
 */
import type { Entry, KeyValue, Watch, WatchListener } from "../cluster/key_value.ts";
import type { Json } from "../plugins/contract.ts";

/** A call that the store has not done or not answered yet. */
export interface PendingCall {
  /** Does it; the caller does not hear of it yet. Once. */
  apply(): void;
  /** Lets the caller hear what became of it; does it first if need be. */
  answer(): void;
  /** The caller hears that the store cannot be reached, whether it was done or not. */
  fail(): void;
}

/** Values in memory. Calls are done at once, unless the test holds them. */
export class MemoryKeyValue implements KeyValue {
  readonly #entries = new Map<string, Entry>();
  readonly #watches = new Set<WatchListener>();
  #revision = 0;
  /** The servers' clock. */
  now = 0;
  /** Takes the calls when it is there. */
  hold: ((call: PendingCall) => void) | undefined;

  ensure(): Promise<void> {
    return this.#call(() => {});
  }

  get(key: string): Promise<Entry | undefined> {
    return this.#call(() => this.#entries.get(key));
  }

  put(key: string, value: Json, revision: number): Promise<number | undefined> {
    return this.#call(() => {
      if ((this.#entries.get(key)?.revision ?? 0) !== revision) return undefined;
      const entry = { key, value, revision: ++this.#revision, created: this.now };
      this.#entries.set(key, entry);
      for (const watch of this.#watches) watch.entry(entry);
      return entry.revision;
    });
  }

  delete(key: string, revision: number): Promise<boolean> {
    return this.#call(() => {
      if (this.#entries.get(key)?.revision !== revision) return false;
      this.#entries.delete(key);
      const entry = { key, value: undefined, revision: ++this.#revision, created: this.now };
      for (const watch of this.#watches) watch.entry(entry);
      return true;
    });
  }

  watch(listener: WatchListener): Promise<Watch> {
    return this.#call(() => {
      for (const entry of this.#entries.values()) listener.entry(entry);
      listener.synced();
      this.#watches.add(listener);
      return { stop: () => this.#watches.delete(listener) };
    });
  }

  /** Forgets all values, as a server does that has lost its disk; revisions begin anew. */
  lose(): void {
    this.#entries.clear();
    this.#revision = 0;
  }

  #call<T>(work: () => T): Promise<T> {
    if (this.hold === undefined) return Promise.resolve().then(work);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    promise.catch(() => {});
    let result: { readonly value: T } | undefined;
    const apply = () => result ??= { value: work() };
    this.hold({
      apply,
      answer: () => resolve(apply().value),
      fail: () => reject(new Error("The store cannot be reached")),
    });
    return promise;
  }
}
