/**
 * Holds batches up inside the partitions until a test lets them through; see `plugins/gate.ts`.
 *
 * @module
 */

/** The test's end of a gate: a server that answers when a batch may pass. */
export class Gate {
  readonly #abort = new AbortController();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #watching: (() => void)[] = [];
  readonly #held: (() => void)[] = [];
  #mayPass = 0;
  /** Values of the rows that have come to the gate, in order; rows that come twice are here twice. */
  readonly arrived: string[] = [];

  constructor() {
    this.#server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      onListen: () => {},
      signal: this.#abort.signal,
    }, async (request) => {
      this.arrived.push(...await request.json() as string[]);
      for (const check of this.#watching) check();
      if (this.#mayPass > 0) this.#mayPass--;
      else await new Promise<void>((resolve) => this.#held.push(resolve));
      return new Response();
    });
  }

  /** Holds up what comes to it: one of `transforms`. */
  get transform(): { gate: { url: string } } {
    return { gate: { url: `http://127.0.0.1:${this.#server.addr.port}` } };
  }

  /** Resolves when so many rows have come to the gate. */
  async rows(count: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = () => this.arrived.length >= count && resolve();
      this.#watching.push(check);
      check();
    });
    this.#watching = [];
  }

  /** Lets one batch through: the oldest that waits, else the next that comes. */
  pass(): void {
    const release = this.#held.shift();
    if (release === undefined) this.#mayPass++;
    else release();
  }

  /** Lets through what waits, and all that comes. */
  open(): void {
    this.#mayPass = Infinity;
    for (const release of this.#held.splice(0)) release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.open();
    this.#abort.abort();
    await this.#server.finished;
  }
}
