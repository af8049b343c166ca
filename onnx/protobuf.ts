/**
 * Reads protobuf messages field by field, from bytes or straight from a file: what is skipped is never
 * read, so the names in a model of gigabytes cost some kilobytes.
 *
 * @module
 */

/** Bytes at a position; fewer than asked for only at the end. */
export interface ByteSource {
  readonly length: number;
  read(start: number, end: number): Uint8Array;
}

/** One field of a message. */
export interface ProtobufField {
  readonly number: number;
  /** The value of a number field; 0n for others. */
  readonly value: bigint;
  /** Where the content of a nested message, text or bytes begins and ends. */
  readonly start: number;
  readonly end: number;
}

const text = new TextDecoder("utf-8", { fatal: true });
/** The least that is read at a time. */
const WINDOW = 16_384;

/** Bytes in memory. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return { length: bytes.length, read: (start, end) => bytes.subarray(start, end) };
}

/** An open file. */
export function fileSource(file: Deno.FsFile): ByteSource {
  const length = file.statSync().size;
  let windowStart = 0, window = new Uint8Array(0);
  return {
    length,
    read(start, end) {
      if (start < windowStart || end > windowStart + window.length) {
        const wanted = Math.min(Math.max(end - start, WINDOW), length - start);
        window = new Uint8Array(Math.max(wanted, 0));
        windowStart = start;
        file.seekSync(start, Deno.SeekMode.Start);
        for (let filled = 0; filled < window.length;) {
          const read = file.readSync(window.subarray(filled));
          if (read === null) {
            window = window.subarray(0, filled);
            break;
          }
          filled += read;
        }
      }
      return window.subarray(start - windowStart, end - windowStart);
    },
  };
}

/**
 * The fields of the message between two positions.
 * @throws {RangeError} when the bytes are no message
 */
export function* protobufFields(
  source: ByteSource,
  start: number,
  end: number,
): Generator<ProtobufField> {
  let position = start;
  while (position < end) {
    const tag = varint();
    const number = Number(tag >> 3n), wireType = Number(tag & 7n);
    if (number === 0) throw new RangeError(`no field has the number 0 (byte ${position})`);
    if (wireType === 0) {
      yield { number, value: varint(), start: position, end: position };
      continue;
    }
    const length = wireType === 2
      ? Number(varint())
      : wireType === 1
      ? 8
      : wireType === 5
      ? 4
      : fail(`fields of the kind ${wireType} are not known`);
    if (length > end - position) fail(`a field of ${length} bytes does not fit`);
    yield { number, value: 0n, start: position, end: position + length };
    position += length;
  }

  function varint(): bigint {
    const bytes = source.read(position, Math.min(position + 10, end));
    let value = 0n;
    for (let at = 0; at < bytes.length; at++) {
      value |= BigInt(bytes[at]! & 0x7f) << BigInt(7 * at);
      if (bytes[at]! < 0x80) {
        position += at + 1;
        return value;
      }
    }
    return fail("a number has no end");
  }

  function fail(why: string): never {
    throw new RangeError(`${why} (byte ${position})`);
  }
}

/**
 * The text in a field.
 * @throws {TypeError} when it is no UTF-8
 */
export function protobufText(source: ByteSource, { start, end }: ProtobufField): string {
  return text.decode(source.read(start, end));
}

/** The numbers of a repeated field, of which this is one: packed or not. */
export function protobufNumber({ value }: ProtobufField): number {
  return Number(BigInt.asIntN(64, value));
}
