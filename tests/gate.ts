/**
 * Holds batches up inside the partitions until a test lets them through; see `plugins/gate.ts`.
 *
 * @module
 */

/** What passes over the channel. */
export type GateMessage =
  | { readonly arrived: readonly string[] }
  /** So many batches may pass, in each partition. */
  | { readonly pass: number };

/** The test's end of a gate. */
export class Gate {
  /** The option `channel` of the transform. */
  readonly name: string = `gate-${crypto.randomUUID()}`;
  readonly #channel = new BroadcastChannel(this.name);
  #waiting: (() => void)[] = [];
  /** Values of the rows that have come to the gate, in order; rows that come twice are here twice. */
  readonly arrived: string[] = [];

  constructor() {
    this.#channel.onmessage = ({ data }: MessageEvent<GateMessage>) => {
      if (!("arrived" in data)) return;
      this.arrived.push(...data.arrived);
      for (const check of this.#waiting) check();
    };
  }

  /** Resolves when so many rows have come to the gate. */
  async rows(count: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = () => this.arrived.length >= count && resolve();
      this.#waiting.push(check);
      check();
    });
    this.#waiting = [];
  }

  /** Lets one batch through in each partition: the one that waits, else the next that comes. */
  pass(): void {
    this.#channel.postMessage({ pass: 1 } satisfies GateMessage);
  }

  /** Lets through what waits, and all that comes. */
  open(): void {
    this.#channel.postMessage({ pass: Infinity } satisfies GateMessage);
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}
