/**
 * A server over raw sockets that fails in the ways a test asks for, and counts what has reached it.
 *
 * @module
 */

/** What it does with a request. */
export type Behaviour =
  /** Answers it with the text `done`. */
  | "answer"
  /** The same, in chunks. */
  | "chunked"
  /** Breaks the connection off when the request begins to arrive. */
  | "break at once"
  /** Breaks off when the whole request is there. */
  | "break after request"
  /** Breaks off within the head of the reply. */
  | "break in head"
  /** Breaks off within a reply of a known, small length. */
  | "break in body"
  /** Breaks off within a reply in chunks. */
  | "break in chunks"
  /** Says something that is no HTTP. */
  | "talk nonsense"
  /** Refuses the request unseen, as a service that stops. */
  | "refuse"
  /** Answers and hangs up without having said so. */
  | "hang up after answer";

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

const REPLIES: Readonly<Record<Exclude<Behaviour, "break at once">, readonly [string, boolean]>> = {
  "answer": ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone", false],
  "chunked": ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n", false],
  "break after request": ["", true],
  "break in head": ["HTTP/1.1 200 OK\r\ncontent-le", true],
  "break in body": ["HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\ndone", true],
  "break in chunks": ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndone\r\n", true],
  "talk nonsense": ["SSH-2.0-x\r\n\r\n", true],
  "refuse": [
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n" +
    "x-millrace-refused: stopping\r\ncontent-length: 4\r\n\r\nstop",
    true,
  ],
  "hang up after answer": ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone", true],
};

/** The server. `/readyz` is answered with 200. */
export class RawBackend {
  readonly url: string;
  /** Heads of the requests that have reached the handler: all but those that it refused or cut short. */
  readonly handled: string[] = [];
  readonly #listener: Deno.TcpListener;
  readonly #next: () => Behaviour;
  readonly #connections = new Set<Deno.TcpConn>();
  readonly #serving: Promise<void>;

  /** @param next tells the behaviour for each request */
  constructor(next: () => Behaviour) {
    this.#next = next;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.url = `http://127.0.0.1:${this.#listener.addr.port}/api`;
    this.#serving = this.#accept();
  }

  async close(): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) connection.close();
    await this.#serving;
  }

  async #accept(): Promise<void> {
    const all: Promise<void>[] = [];
    try {
      for await (const connection of this.#listener) all.push(this.#serve(connection));
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    await Promise.all(all);
  }

  async #serve(connection: Deno.TcpConn): Promise<void> {
    this.#connections.add(connection);
    try {
      let text = "";
      const more = async () => {
        const bytes = new Uint8Array(4096);
        const count = await connection.read(bytes);
        text += decoder.decode(bytes.subarray(0, count ?? 0));
        return count !== null;
      };
      while (text !== "" || await more()) {
        const isProbe = text.startsWith("GET /readyz");
        const behaviour = isProbe ? "answer" : this.#next();
        if (behaviour === "break at once") return;
        let headEnd: number;
        while ((headEnd = text.indexOf("\r\n\r\n")) < 0) if (!await more()) return;
        const head = text.slice(0, headEnd);
        const length = Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1] ?? 0);
        while (text.length < headEnd + 4 + length) if (!await more()) return;
        text = text.slice(headEnd + 4 + length);
        if (!isProbe && behaviour !== "refuse") this.handled.push(head);
        const [reply, breaks] = REPLIES[behaviour];
        const bytes = encoder.encode(reply);
        for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
        if (breaks || isProbe) return;
      }
    } catch {
      // The other side has broken off, or the test is over.
    } finally {
      this.#connections.delete(connection);
      try {
        connection.close();
      } catch {
        // It is closed already.
      }
    }
  }
}
