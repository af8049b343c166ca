/**
 * A peer: a process that serves a plan for its supervisor. It reads what to do on its stdin and answers
 * on its stdout; the end of stdin means that the supervisor is gone, and the peer goes too.
 *
 * The main thread runs no code of plugins, so that it hears of that end whatever they do.
 *
 * @module
 */
import type { PluginLogger } from "../plugins/contract.ts";
import { DistributedExecution } from "../engine/distributed_execution.ts";
import { errorMessage } from "../engine/error_message.ts";
import { LOG_LEVELS } from "../engine/logging.ts";
import type { LogLevel } from "../engine/partition_protocol.ts";
import {
  encodeFromPeer,
  type FromPeer,
  LineReader,
  type PeerInit,
  type ToPeer,
} from "./peer_protocol.ts";

/** The process's ways in and out. */
export interface PeerIo {
  readonly input: ReadableStream<Uint8Array>;
  /** Writes all of the bytes in one piece. */
  write(bytes: Uint8Array): void;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** Exit code of a peer whose supervisor is gone. */
const ORPHANED = 3;
/** Exit code of a peer that cannot start or go on; the supervisor has been told why. */
const FAILED = 1;

/** Serves until told to end. It ends the process by itself. */
export async function runPeer(io: PeerIo): Promise<void> {
  const peer = new Peer(io);
  const lines = new LineReader((line) => peer.receive(JSON.parse(line)));
  try {
    for await (const bytes of io.input) lines.push(bytes);
  } catch {
    // A broken pipe is an end as well.
  }
  io.exit(ORPHANED);
}

class Peer {
  readonly #io: PeerIo;
  #execution: DistributedExecution | undefined;

  constructor(io: PeerIo) {
    this.#io = io;
  }

  receive(message: ToPeer): void {
    switch (message.type) {
      case "init":
        this.#start(message);
        return;
      case "ping":
        return this.#say({
          type: "pong",
          restarts: this.#execution?.restarts() ?? 0,
          queueLength: this.#execution?.queueLength() ?? 0,
        });
      case "drain":
        this.#drain(message.handOver);
        return;
      case "replace_partition":
        return this.#execution?.replacePartition(message.partition);
      case "close":
        this.#close(message.timeoutMs);
    }
  }

  async #start({ plan, peer, siblings, logLevel, exchange }: PeerInit): Promise<void> {
    try {
      const execution: DistributedExecution = new DistributedExecution({
        plan,
        init: {
          type: "init",
          plan,
          peer,
          partition: 0,
          logLevel,
          siblings,
          ...(exchange === undefined ? {} : { exchange }),
        },
        logger: this.#logger(logLevel),
        progress: (record) =>
          this.#say({ type: "report", record, partitionBatches: execution.partitionBatches() }),
        fatal: (error) => this.#fail({ type: "fatal", error: errorMessage(error) }),
        servicesChanged: () => this.#say({ type: "services", services: execution.services() }),
      });
      this.#execution = execution;
      await execution.start();
      this.#say({ type: "ready", services: execution.services() });
    } catch (error) {
      this.#fail({ type: "init_failed", error: errorMessage(error) });
    }
  }

  async #drain(handOver: boolean): Promise<void> {
    await this.#execution?.drain({ handOver });
    this.#say({ type: "drained" });
  }

  async #close(timeoutMs: number): Promise<void> {
    await this.#execution?.close(timeoutMs);
    this.#io.exit(0);
  }

  #fail(message: FromPeer): void {
    this.#say(message);
    this.#io.exit(FAILED);
  }

  #say(message: FromPeer): void {
    try {
      for (const bytes of encodeFromPeer(message)) this.#io.write(bytes);
    } catch {
      this.#io.exit(ORPHANED);
    }
  }

  #logger(lowest: string): PluginLogger {
    const from = LOG_LEVELS.indexOf(lowest as LogLevel);
    const at = (level: LogLevel) => (message: string, properties: Record<string, unknown> = {}) => {
      if (from < 0 || LOG_LEVELS.indexOf(level) < from) return;
      this.#say({ type: "log", level, message, properties });
    };
    return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  }
}
