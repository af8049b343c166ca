import assert from "node:assert/strict";
import fc from "fast-check";
import { ChunkedDecoder, findHeadEnd, latin1Bytes, parseHead } from "./reply_head.ts";

const parse = (text: string, method = "GET") => parseHead(latin1Bytes(text), method);

Deno.test("a head is read: status, headers without those of the connection, framing", () => {
  const head = parse(
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=1\r\nset-cookie:b=2\r\n" +
      "Connection: x-own, keep-alive\r\nX-Own: 1\r\nKeep-Alive: 5\r\nContent-Length: 12\r\nX: \xe9 \t",
  );
  assert.deepEqual(head, {
    status: 200,
    headers: [
      ["content-type", "text/plain"],
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
      ["content-length", "12"],
      ["x", "\xe9"],
    ],
    framing: 12,
    keepAlive: true,
  });
});

const framings: [head: string, method: string, framing: unknown, keepAlive: boolean][] = [
  ["HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked", "GET", "chunked", true],
  ["HTTP/1.1 200 OK", "GET", undefined, false],
  ["HTTP/1.1 200", "GET", undefined, false],
  ["HTTP/1.1 200 OK\r\ncontent-length: 5", "HEAD", 0, true],
  ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", "HEAD", 0, true],
  ["HTTP/1.1 204 No Content", "GET", 0, true],
  ["HTTP/1.1 304 Not Modified\r\ncontent-length: 5", "GET", 0, true],
  ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5", "GET", 5, true],
  ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: Close", "GET", 5, false],
  ["HTTP/1.0 200 OK\r\ncontent-length: 5", "GET", 5, false],
  ["HTTP/1.1 100 Continue", "POST", 0, true],
];
for (const [text, method, framing, keepAlive] of framings) {
  Deno.test(`framing of ${JSON.stringify(text)} to ${method}`, () => {
    const head = parse(text, method);
    assert.deepEqual([head.framing, head.keepAlive], [framing, keepAlive]);
  });
}

const wrong: [head: string, message: string][] = [
  ["", "it does not begin with an HTTP/1.1 status line"],
  ["HTTP/2 200 OK", "it does not begin with an HTTP/1.1 status line"],
  ["HTTP/1.1 2000 OK", "it does not begin with an HTTP/1.1 status line"],
  ["HTTP/1.1 200 OK\r\nno colon", "a header line is broken"],
  ["HTTP/1.1 200 OK\r\nspace : 1", "a header line is broken"],
  ["HTTP/1.1 200 OK\r\na: 1\r\n folded", "a header line is broken"],
  ["HTTP/1.1 200 OK\r\na: 1\n2", "a header line is broken"],
  ["HTTP/1.1 200 OK\r\na: \0", "a header line is broken"],
  ["HTTP/1.1 200 OK\r\ncontent-length: +5", "its Content-Length is no number"],
  ["HTTP/1.1 200 OK\r\ncontent-length: 5, 5", "its Content-Length is no number"],
  ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6", "its Content-Length is no number"],
  [
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
    "it has both Content-Length and Transfer-Encoding",
  ],
  [
    "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
    'its Transfer-Encoding is "gzip, chunked", wanted chunked',
  ],
];
for (const [text, message] of wrong) {
  Deno.test(`the head ${JSON.stringify(text)} is refused`, () => {
    assert.throws(() => parse(text), { name: "ReplyError", message });
  });
}

Deno.test("the end of a head is found wherever it is, and nowhere else", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(13, 10, 65), { maxLength: 30 }), (codes) => {
      const bytes = Uint8Array.from(codes);
      const text = String.fromCharCode(...codes);
      assert.equal(findHeadEnd(bytes, 0, bytes.length), text.indexOf("\r\n\r\n"));
    }),
  );
});

Deno.test("any text of bytes goes to bytes and back", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
      assert.deepEqual([...latin1Bytes(text, 3)], [...bytes, 0, 0, 0]);
    }),
  );
});

Deno.test("a chunked body comes out whole, wherever its bytes are cut", () => {
  const piece = fc.uint8Array({ minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(fc.array(piece), fc.array(fc.nat(30)), fc.boolean(), (pieces, cuts, extras) => {
      const chunks = pieces.map((bytes) =>
        `${bytes.length.toString(16)}${extras ? ";a=b" : ""}\r\n${
          String.fromCharCode(...bytes)
        }\r\n`
      );
      const wire = latin1Bytes(`${chunks.join("")}0\r\n${extras ? "X: 1\r\n" : ""}\r\n`);
      const decoder = new ChunkedDecoder();
      const data: number[] = [];
      let at = 0;
      for (const cut of [...cuts, wire.length]) {
        assert.equal(decoder.done, at >= wire.length);
        const part = wire.subarray(at, at + cut);
        at += cut;
        for (const bytes of decoder.push(part)) data.push(...bytes);
      }
      assert.deepEqual(data, pieces.flatMap((bytes) => [...bytes]));
      assert.ok(decoder.done);
    }),
  );
});

const brokenChunks: [text: string, message: string][] = [
  ["x\r\n", "the size of a chunk is no number"],
  ["\r\n", "the size of a chunk is no number"],
  ["-1\r\n", "the size of a chunk is no number"],
  ["fffffffffffff\r\n", "the size of a chunk is no number"],
  ["1\nA\r\n", "a chunk is broken"],
  ["1\r\nABC\r\n", "a chunk is longer than its size"],
  ["0\r\n\r\nX", "something follows its last chunk"],
  [`${"1".repeat(9000)}`, "a line between chunks is too long"],
];
for (const [text, message] of brokenChunks) {
  Deno.test(`the chunks ${JSON.stringify(text.slice(0, 20))} are refused`, () => {
    assert.throws(() => new ChunkedDecoder().push(latin1Bytes(text)), {
      name: "ReplyError",
      message,
    });
  });
}
