/**
 * The hash by which rows find their partition: MurmurHash3 (x86, 32 bits, seed 42 as in Spark) over the
 * values of the key columns, written down so that equal values have equal bytes. It is the same in every
 * process, on every run.
 *
 * Numbers are equal across types: int32 1, int64 1, float32 1 and float64 1 hash alike, -0 as 0, and
 * every NaN as every other. A number that is no whole one hashes by its 64 bits; so float32 0.1 and
 * float64 0.1, which are different numbers, do not meet. Null is a value like any other.
 *
 * @module
 */
import type { ColumnData, DataType } from "./batch.ts";

const SEED = 42;

/** What stands before a value, so that those of different kinds differ. */
const NULL = 0, FALSE = 1, TRUE = 2, WHOLE = 3, FRACTION = 4, TEXT = 5, BYTES = 6, LIST = 7;

/** A column of a key. */
export interface KeyColumn {
  readonly type: DataType;
  readonly data: ColumnData;
}

const encoder = new TextEncoder();

/** Hashes of rows; it keeps its scratch memory. */
export class KeyHasher {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** The hash of each row's values in the columns: unsigned, 32 bits. */
  hash(columns: readonly KeyColumn[], numRows: number): Uint32Array {
    const hashes = new Uint32Array(numRows);
    for (let row = 0; row < numRows; row++) {
      this.#length = 0;
      for (const { type, data } of columns) this.#write(type, data[row]);
      hashes[row] = murmur3(this.#bytes, this.#length, SEED);
    }
    return hashes;
  }

  #write(type: DataType, value: unknown): void {
    if (value === null || value === undefined) return this.#tag(NULL);
    if (typeof type === "object") {
      if ("struct" in type) {
        this.#count(LIST, type.struct.length);
        const struct = value as Record<string, unknown>;
        for (const field of type.struct) this.#write(field.type, struct[field.name]);
        return;
      }
      const items = value as ArrayLike<unknown>;
      const inner = "list" in type ? type.list : type.tensor;
      this.#count(LIST, items.length);
      for (let at = 0; at < items.length; at++) this.#write(inner, items[at]);
      return;
    }
    switch (type) {
      case "string":
        return this.#text(value as string);
      case "boolean":
        return this.#tag(value === true ? TRUE : FALSE);
      case "binary": {
        const bytes = value as Uint8Array;
        this.#count(BYTES, bytes.length);
        this.#grow(bytes.length);
        this.#bytes.set(bytes, this.#length);
        this.#length += bytes.length;
        return;
      }
      case "int64":
        return this.#whole(value as bigint);
      default:
        return this.#number(value as number);
    }
  }

  #number(value: number): void {
    if (Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 63) {
      if (!Number.isSafeInteger(value)) return this.#whole(BigInt(value));
      this.#tag(WHOLE);
      this.#grow(8);
      this.#view.setInt32(this.#length, value | 0, true);
      this.#view.setInt32(this.#length + 4, Math.floor(value / 2 ** 32), true);
    } else {
      this.#tag(FRACTION);
      this.#grow(8);
      // The bits of a NaN are not all the same everywhere.
      if (Number.isNaN(value)) this.#view.setBigUint64(this.#length, 0x7ff8000000000000n, true);
      else this.#view.setFloat64(this.#length, value, true);
    }
    this.#length += 8;
  }

  #whole(value: bigint): void {
    this.#tag(WHOLE);
    this.#grow(8);
    this.#view.setBigInt64(this.#length, value, true);
    this.#length += 8;
  }

  #text(text: string): void {
    this.#tag(TEXT);
    this.#grow(4 + text.length * 3);
    const { written } = encoder.encodeInto(text, this.#bytes.subarray(this.#length + 4));
    this.#view.setUint32(this.#length, written, true);
    this.#length += 4 + written;
  }

  #count(tag: number, count: number): void {
    this.#tag(tag);
    this.#grow(4);
    this.#view.setUint32(this.#length, count, true);
    this.#length += 4;
  }

  #tag(tag: number): void {
    this.#grow(1);
    this.#bytes[this.#length++] = tag;
  }

  #grow(more: number): void {
    const wanted = this.#length + more;
    if (wanted <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(wanted, this.#bytes.length * 2));
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

/** MurmurHash3_x86_32 of the first `length` bytes. */
export function murmur3(bytes: Uint8Array, length: number, seed: number): number {
  const C1 = 0xcc9e2d51, C2 = 0x1b873593;
  let hash = seed;
  const blocks = length & ~3;
  for (let at = 0; at < blocks; at += 4) {
    let k = bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24;
    k = Math.imul(k, C1);
    k = Math.imul(k << 15 | k >>> 17, C2);
    hash ^= k;
    hash = Math.imul(hash << 13 | hash >>> 19, 5) + 0xe6546b64 | 0;
  }
  let rest = 0;
  for (let at = length - 1; at >= blocks; at--) rest = rest << 8 | bytes[at]!;
  if (length > blocks) {
    rest = Math.imul(rest, C1);
    hash ^= Math.imul(rest << 15 | rest >>> 17, C2);
  }
  hash ^= length;
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}
