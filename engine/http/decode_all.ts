/**
 * Many short UTF-8 texts at once: a call of the decoder costs more than the decoding.
 *
 * @module
 */

/** Texts up to this many bytes are joined; longer ones gain nothing by it. */
const SHORT = 256;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The texts of the byte strings; what is not UTF-8 becomes U+FFFD, a byte order mark stays. */
export function decodeAll(parts: readonly Uint8Array[]): string[] {
  if (parts.length < 3) return parts.map(decode);
  let length = 0;
  for (const part of parts) if (part.length <= SHORT) length += part.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    if (part.length > SHORT) continue;
    joined.set(part, offset);
    offset += part.length;
  }
  const text = decoder.decode(joined);
  // As many characters as bytes: each is ASCII, and places in one are places in the other. Broken UTF-8
  // may come out as long too, but then has characters that ASCII has not.
  if (text.length !== length || NOT_ASCII.test(text)) return parts.map(decode);
  offset = 0;
  return parts.map((part) => {
    if (part.length > SHORT) return decode(part);
    const start = offset;
    offset += part.length;
    return text.slice(start, offset);
  });
}

// deno-lint-ignore no-control-regex -- the range is all of ASCII
const NOT_ASCII = /[^\x00-\x7f]/;

function decode(bytes: Uint8Array): string {
  return bytes.length === 0 ? "" : decoder.decode(bytes);
}
