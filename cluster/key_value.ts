/**
 * What a cluster keeps in common: values by key, changed by compare-and-set.
 *
 * @module
 */
import type { Json } from "../plugins/contract.ts";

/** A key's newest value. */
export interface Entry {
  readonly key: string;
  /** Undefined when the key was deleted. */
  readonly value: Json | undefined;
  /** Rises with every change of any key. */
  readonly revision: number;
  /** When it was written, by the servers' clock, ms since 1970. */
  readonly created: number;
}

/** Hears of changes. */
export interface WatchListener {
  /** First the newest entry of every key, then each change. */
  entry(entry: Entry): void;
  /** All that had been there at the beginning has been told. */
  synced(): void;
  /** No more is told; not called for a watch that was stopped. */
  ended(): void;
}

/** A watch; to be stopped. */
export interface Watch {
  stop(): void;
}

/**
 * Values by key. Every method rejects when the store cannot be reached; a change may have been made
 * nevertheless.
 */
export interface KeyValue {
  /** Makes the store if it is not there. */
  ensure(): Promise<void>;
  /** The newest value, or undefined when there is none. */
  get(key: string): Promise<Entry | undefined>;
  /**
   * Writes a value if the key is at a revision; at 0, if it has no value.
   * @returns the new revision; undefined when the key is not at that one
   */
  put(key: string, value: Json, revision: number): Promise<number | undefined>;
  /** Deletes a key if it is at a revision. Returns whether it was. */
  delete(key: string, revision: number): Promise<boolean>;
  watch(listener: WatchListener): Promise<Watch>;
}

/** Text as one part of a key or subject: letters, digits, `_` and `-` stay, the rest becomes `=XX`. */
export function keyPart(text: string): string {
  return Array.from(
    new TextEncoder().encode(text),
    (byte) =>
      /[\w-]/.test(String.fromCharCode(byte)) && byte < 128
        ? String.fromCharCode(byte)
        : `=${byte.toString(16).padStart(2, "0").toUpperCase()}`,
  ).join("");
}
