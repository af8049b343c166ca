import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { Batch, Schema } from "../engine/batch.ts";
import { arbitraryBatch } from "../tests/arbitrary_batch.ts";
import {
  decodeRequest,
  decodeResponse,
  encodeFrame,
  encodeRequest,
  encodeResponse,
  FrameError,
  FrameReader,
  MAX_FRAME_BYTES,
} from "./frame.ts";

const columnsOf = (batch: Batch) => batch.schema.fields.map((_, at) => batch.columnAt(at));

Deno.test("a batch arrives exactly as it was sent, whatever its types and values", () => {
  fc.assert(
    fc.property(arbitraryBatch(), fc.nat(), (batch, stage) => {
      const request = decodeRequest(encodeRequest({ stage, batch }));
      assert.equal(request.stage, stage);
      assert.equal(request.batch.numRows, batch.numRows);
      assert.deepEqual(request.batch.schema.fields, batch.schema.fields);
      // Strict equality tells -0 from 0, NaN from null, an int from a bigint, and typed arrays from arrays.
      assert.deepEqual(columnsOf(request.batch), columnsOf(batch));
    }),
    { numRuns: 500 },
  );
});

Deno.test("lists that are typed arrays stay what they are", () => {
  const schema = new Schema([{ name: "x", type: { list: "float32" } }]);
  const column = [Float32Array.of(0.5, -0, NaN), [0.1, null], null, new Float32Array(0), []];
  const { batch } = decodeRequest(encodeRequest({ stage: 1, batch: new Batch(schema, [column]) }));
  assert.deepEqual(batch.column("x"), column);
});

Deno.test("a value that is not of its column's type is refused by name", () => {
  const cases: readonly [Schema, unknown[], string][] = [
    [of("string"), ["a", 1], 'Cannot send column "x": wanted string, got number'],
    [of("int64"), [1n, 1], 'Cannot send column "x": wanted int64, got number'],
    [of("float64"), [1n], 'Cannot send column "x": wanted float64, got bigint'],
    [of("boolean"), [() => true], 'Cannot send column "x": wanted boolean, got function'],
    [of("binary"), ["a"], 'Cannot send column "x": wanted binary, got string'],
    [of({ list: "int32" }), [{}], 'Cannot send column "x": wanted list<int32>, got Object'],
  ];
  for (const [schema, column, message] of cases) {
    const batch = new Batch(schema, [column]);
    assert.throws(() => encodeRequest({ stage: 1, batch }), { name: "TypeError", message });
  }
});

Deno.test("replies and failures arrive as they were sent; what is no reply becomes a 500", () => {
  const response = {
    replies: [
      ["0/0/1", { status: 200, body: "\ud800 text" }],
      ["0/0/2", { status: 204, body: null }],
      ["0/1/3", { status: 201, headers: [["a", "b"], ["a", "c"]], body: Uint8Array.of(0, 255) }],
    ],
    failures: [{ id: "2/0/1", status: 400, message: "no" }],
  } as const;
  assert.deepEqual(decodeResponse(encodeResponse(response)), response);
  const broken = { status: 200, body: (() => {}) as unknown as string };
  const { replies } = decodeResponse(
    encodeResponse({ replies: [["0/0/1", broken]], failures: [] }),
  );
  assert.deepEqual(replies[0]![1], {
    status: 500,
    headers: [["content-type", "application/json"]],
    body: '{"error":"Cannot send a reply home: wanted binary, got function"}',
  });
});

Deno.test("bytes that are cut or garbled are an error, and nothing else", () => {
  const response = encodeResponse({
    replies: [["a", { status: 200, headers: [["x", "y"]], body: "z" }]],
    failures: [{ id: "b", status: 500, message: "m" }],
  });
  fc.assert(
    fc.property(
      arbitraryBatch().map((batch) => encodeRequest({ stage: 1, batch })),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (whole, at, flip) => {
        for (
          const [bytes, decode] of [[whole, decodeRequest], [response, decodeResponse]] as const
        ) {
          assert.throws(() => decode(bytes.subarray(0, at % bytes.length)), FrameError);
          const garbled = bytes.slice();
          garbled[at % bytes.length]! ^= flip;
          try {
            decode(garbled);
          } catch (error) {
            assert.ok(error instanceof FrameError, String(error));
          }
        }
      },
    ),
    { numRuns: 1000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
    for (const decode of [decodeRequest, decodeResponse]) {
      try {
        decode(bytes);
      } catch (error) {
        assert.ok(error instanceof FrameError, String(error));
      }
    }
  }));
});

Deno.test("a stream of frames is read whole, however it is cut into pieces", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 200_000 }), { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 90_000 }), { minLength: 1 }),
      (lengths, pieces) => {
        const frames = lengths.map((length, at) => ({
          kind: at,
          number: 2 ** 32 - 1 - at,
          payload: new Uint8Array(length).fill(at),
        }));
        const stream = Buffer.concat(
          frames.map(({ kind, number, payload }) => encodeFrame(kind, number, payload)),
        );
        const reader = new FrameReader();
        const read = [];
        for (let start = 0, piece = 0; start < stream.length; piece++) {
          const room = reader.room();
          const size = Math.min(pieces[piece % pieces.length]!, room.length, stream.length - start);
          room.set(stream.subarray(start, start + size));
          reader.filled(size);
          start += size;
          for (let frame; (frame = reader.next()) !== undefined;) read.push(frame);
        }
        assert.deepEqual(read, frames);
        assert.equal(reader.isCut, false);
      },
    ),
    { numRuns: 30 },
  );
});

Deno.test("a frame's length that cannot be is an error before anything is set aside for it", () => {
  for (const length of [0, 4, MAX_FRAME_BYTES, 2 ** 32 - 1]) {
    const reader = new FrameReader();
    new DataView(reader.room().buffer).setUint32(0, length);
    reader.filled(4);
    assert.equal(reader.isCut, true);
    assert.throws(() => reader.next(), {
      name: "FrameError",
      message: `Cannot read a frame of ${length} bytes: that is no length of one`,
    });
  }
});

function of(type: Schema["fields"][number]["type"]): Schema {
  return new Schema([{ name: "x", type }]);
}
