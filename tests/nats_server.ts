/**
 * Real NATS servers for tests: one, or several that form a cluster, on free ports, with stores of their
 * own that go when they do.
 *
 * @module
 */
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "../cluster/nats_transport.ts";
import { freePort } from "./free_port.ts";

/** What a server is told besides. */
export interface NatsServerOptions {
  /** Address to listen on. Default `127.0.0.1`. */
  readonly host?: string;
  /** More arguments of the program: `--user`, `--pass`, `--max_payload`... */
  readonly args?: readonly string[];
  /** Whether the server stores nothing. Default false. */
  readonly withoutJetStream?: boolean;
  /** Words to put before the program's name: `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
  /** Whether it is ready when its port is open; by default it has to answer a client. */
  readonly portOnly?: boolean;
}

const READY_MS = 20_000;

/** Why tests that need the server cannot run here; undefined when they can. */
export const NO_NATS: string | undefined = whyNot(
  ["nats-server", "--version"],
  "nats-server is not installed: apt-get install nats-server",
);

/** Skips a test, saying why, when there is a reason to. */
export function skipped(reason: string | undefined): { ignore: boolean } {
  if (reason !== undefined) console.log(`Skipped: ${reason}`);
  return { ignore: reason !== undefined };
}

/** A reason when a command cannot be run or fails. */
export function whyNot(command: readonly string[], reason: string): string | undefined {
  try {
    const { success } = new Deno.Command(command[0]!, {
      args: command.slice(1),
      stdout: "null",
      stderr: "null",
    }).outputSync();
    return success ? undefined : reason;
  } catch {
    return reason;
  }
}

/** A running server; it can be killed and started again with what it had stored. */
export class NatsServer {
  readonly host: string;
  readonly port: number;
  readonly #args: readonly string[];
  readonly #options: NatsServerOptions;
  readonly #directory: string;
  #process: Deno.ChildProcess | undefined;

  private constructor(port: number, args: readonly string[], options: NatsServerOptions) {
    this.host = options.host ?? "127.0.0.1";
    this.port = port;
    this.#options = options;
    this.#directory = Deno.makeTempDirSync({ prefix: "millrace-nats-" });
    this.#args = [
      ...(options.prefix ?? []),
      ...["nats-server", "-a", this.host, "-p", String(port)],
      ...(options.withoutJetStream === true ? [] : ["-js", "-sd", `${this.#directory}/store`]),
      ...args,
      ...(options.args ?? []),
    ];
  }

  /** Starts a server by itself and waits until it answers. */
  static async start(options: NatsServerOptions = {}): Promise<NatsServer> {
    const server = new NatsServer(freePort(), [], options);
    await server.start();
    return server;
  }

  /** Starts servers that form a cluster and waits until it can store. */
  static async startCluster(size: number): Promise<NatsServer[]> {
    const routes = Array.from({ length: size }, freePort);
    const urls = routes.map((port) => `nats://127.0.0.1:${port}`);
    const servers = routes.map((_, index) =>
      new NatsServer(freePort(), [
        ...["--name", `server-${index}`, "--cluster_name", "tests"],
        ...["--cluster", urls[index]!, "--routes", urls.filter((_, at) => at !== index).join(",")],
        "--no_advertise",
      ], {})
    );
    await Promise.all(servers.map((server) => server.start()));
    await servers[0]!.#stores(size);
    return servers;
  }

  /** As a config wants it. */
  get address(): string {
    return `${this.host}:${this.port}`;
  }

  /** Starts the server, again when it has been killed. */
  async start(): Promise<void> {
    this.#process = new Deno.Command(this.#args[0]!, {
      args: this.#args.slice(1),
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await until(`nats-server on ${this.address}`, async () => {
      if (this.#options.portOnly === true) {
        (await Deno.connect({ hostname: this.host, port: this.port })).close();
        return true;
      }
      const client = await connect({ servers: this.address, reconnect: false, timeout: 1000 });
      await client.close();
      return true;
    });
  }

  /** Ends the server at once; its store stays. */
  async kill(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined) return;
    running.kill(signal);
    await running.status;
  }

  /** Loses what a server that has been killed had stored. */
  async forget(): Promise<void> {
    await Deno.remove(`${this.#directory}/store`, { recursive: true });
  }

  /** The server takes and sends nothing until {@linkcode NatsServer.resume}. */
  pause(): void {
    this.#process?.kill("SIGSTOP");
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#directory, { recursive: true });
  }

  /** Waits until a stream of so many copies can be made. */
  async #stores(replicas: number): Promise<void> {
    const client = await connect({ servers: this.address });
    try {
      await until("a stream in the cluster", async () => {
        const manager = await jetstreamManager(client, { timeout: 1000 });
        await manager.streams.add({
          name: "probe",
          subjects: ["probe"],
          num_replicas: Math.min(replicas, 3),
        });
        return await manager.streams.delete("probe");
      });
    } finally {
      await client.close();
    }
  }
}

/** Tries again and again until the check gives true; servers tell nobody when they are ready. */
export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  timeoutMs: number = READY_MS,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      if (await check()) return;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`Waited ${timeoutMs} ms for ${what}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
