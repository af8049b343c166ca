/**
 * Request bodies: bounded, decompressed, whole.
 *
 * @module
 */
import { joinBytes } from "../join_bytes.ts";

/** A request that is answered with an error before it becomes a row. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

const FORMATS: Readonly<Record<string, CompressionFormat>> = {
  "gzip": "gzip",
  "x-gzip": "gzip",
  "deflate": "deflate",
};

const EMPTY = new Uint8Array(0);

/**
 * Reads the body of a request, decompressed by its `Content-Encoding` (gzip, deflate).
 *
 * @param maxBytes the limit, before and after decompression
 * @throws {HttpError} 413 over the limit, 415 for another encoding, 400 for data that is cut short or
 *   does not decompress
 */
export function readBody(request: Request, maxBytes: number): Promise<Uint8Array> | Uint8Array {
  const { headers } = request;
  const length = headers.get("content-length");
  const encoding = headers.get("content-encoding");
  // Where both are given the chunks count, and Deno before 2.9 lets both pass.
  if (length !== null && !headers.has("transfer-encoding")) {
    if (Number(length) > maxBytes) throw tooLarge(maxBytes);
    // The server holds senders to their Content-Length, so a body that has one is bounded by it.
    // Asking for `request.body` would make a stream, which costs more than all the rest.
    if (encoding === null || encoding === "identity") return request.bytes();
  }
  if (request.body === null) return EMPTY;
  if (encoding === null || encoding === "identity") return collect(request.body, maxBytes);
  const format = FORMATS[encoding.trim().toLowerCase()];
  if (format === undefined) {
    throw new HttpError(
      415,
      `Cannot read a body of Content-Encoding "${encoding}": gzip, deflate and identity are allowed`,
    );
  }
  return decompress(request.body, format, encoding, maxBytes);
}

async function decompress(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  format: CompressionFormat,
  encoding: string,
  maxBytes: number,
): Promise<Uint8Array> {
  try {
    return await collect(body.pipeThrough(new DecompressionStream(format)), maxBytes);
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(400, `Cannot decompress the body: it is not valid ${encoding}`);
  }
}

async function collect(body: ReadableStream<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of body) {
    total += chunk.byteLength;
    // Leaving the loop cancels the stream, so no more than one chunk over the limit is ever held.
    if (total > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return joinBytes(chunks);
}

function tooLarge(maxBytes: number): HttpError {
  return new HttpError(413, `Body too large: at most ${maxBytes} bytes are allowed`);
}
