/**
 * A server under test, in a process of its own.
 *
 * @module
 */
import { freePort } from "../tests/free_port.ts";

/** What to start. `PORT` in arguments and environment values is replaced by a free port. */
export interface ContenderOptions {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Path of its service. */
  readonly path: string;
  /** The program. Default: the Deno that runs the benchmark. */
  readonly program?: string;
  /** Default: a free one. */
  readonly port?: number;
}

/** A running server. */
export class Contender {
  readonly name: string;
  readonly url: string;
  readonly #process: Deno.ChildProcess;

  private constructor(name: string, url: string, process: Deno.ChildProcess) {
    this.name = name;
    this.url = url;
    this.#process = process;
  }

  /** Starts it; resolves at its first reply. */
  static async start(options: ContenderOptions): Promise<Contender> {
    const { name, args, env = {}, path, program = Deno.execPath() } = options;
    const port = String(options.port ?? freePort());
    const fill = (text: string) => text.replaceAll("PORT", port);
    const process = new Deno.Command(program, {
      args: args.map(fill),
      env: Object.fromEntries(Object.entries(env).map(([key, value]) => [key, fill(value)])),
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const url = `http://127.0.0.1:${port}${path}`;
    const contender = new Contender(name, url, process);
    let ended = false;
    process.status.then(() => ended = true);
    for (;;) {
      if (ended) throw new Error(`Contender "${name}" ended before it replied`);
      try {
        const response = await fetch(url, { method: "POST", body: "hello" });
        const text = await response.text();
        if (text !== "5") throw new Error(`Contender "${name}" replied ${response.status} ${text}`);
        return contender;
      } catch (error) {
        // Not bound yet.
        if (!(error instanceof TypeError)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  /** Its process id. */
  get pid(): number {
    return this.#process.pid;
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
  }
}
