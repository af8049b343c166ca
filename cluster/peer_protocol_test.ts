import assert from "node:assert/strict";
import fc from "fast-check";
import {
  encodeFromPeer,
  encodeToPeer,
  type FromPeer,
  FromPeerReader,
  LineReader,
} from "./peer_protocol.ts";

const log = (message: string): FromPeer => ({
  type: "log",
  level: "info",
  message,
  properties: {},
});

/** What a reader makes of bytes that come in pieces of these sizes. */
function read(bytes: Uint8Array, sizes: readonly number[] = [Infinity]) {
  const messages: FromPeer[] = [];
  const lines: string[] = [];
  const reader = new FromPeerReader(
    (message) => messages.push(message),
    (line) => lines.push(line),
  );
  for (let at = 0, piece = 0; at < bytes.length; piece++) {
    const size = sizes[piece % sizes.length]!;
    reader.push(bytes.subarray(at, at + size));
    at += size;
  }
  reader.end();
  return { messages, lines };
}

const joined = (parts: readonly (Uint8Array | string)[]) =>
  new Uint8Array(
    parts.flatMap((
      part,
    ) => [...(typeof part === "string" ? new TextEncoder().encode(part) : part)]),
  );

Deno.test("messages of any length and text come out as they went in, however they are cut", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.integer({ min: 3_900, max: 9_000 }).map((length) => "é\u2028😀".repeat(length / 4)),
  );
  fc.assert(fc.property(
    fc.array(text, { maxLength: 4 }),
    fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 5 }),
    (texts, sizes) => {
      const sent = texts.map((each) => log(each.toWellFormed()));
      assert.deepEqual(read(joined(sent.flatMap(encodeFromPeer)), sizes), {
        messages: sent,
        lines: [],
      });
    },
  ));
});

Deno.test("what plugins print is told from messages, before, between and inside of them", () => {
  const long = log("x".repeat(10_000));
  const parts = encodeFromPeer(long);
  assert.equal(parts.length, 3);
  assert.ok(parts.every(({ length }) => length <= 4096));
  const bytes = joined([
    "first\r\n",
    "no line end",
    parts[0]!,
    '{"type":"ready"}\n',
    parts[1]!,
    "ü\n\n",
    parts[2]!,
    "last",
  ]);
  assert.deepEqual(read(bytes), {
    messages: [long],
    lines: ["first", "no line end", '{"type":"ready"}', "ü", "last"],
  });
});

Deno.test("a marked line that is no message is text", () => {
  assert.deepEqual(read(joined(["\x1e=nonsense\n"])), { messages: [], lines: ["nonsense"] });
});

Deno.test("a message to a peer is one line", () => {
  const lines: string[] = [];
  const reader = new LineReader((line) => lines.push(line));
  reader.push(encodeToPeer({ type: "ping" }));
  reader.push(encodeToPeer({ type: "close", timeoutMs: 1 }));
  assert.deepEqual(lines, ['{"type":"ping"}', '{"type":"close","timeoutMs":1}']);
});
