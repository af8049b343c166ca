/**
 * Connections to NATS servers that come back by themselves, for as long as it takes.
 *
 * @module
 */
import {
  AuthorizationError,
  type ConnectionOptions,
  credsAuthenticator,
  type NatsConnection,
} from "@nats-io/transport-node";
import type { PluginLogger } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import type { NatsOptions } from "./cluster_options.ts";
import { connect } from "./nats_transport.ts";

/** What a connection is opened with besides the options. */
export interface NatsLinkHost {
  /** The connection's name, as the servers' monitoring shows it. */
  readonly name: string;
  readonly logger: PluginLogger;
  /** How often a server is asked whether it is there, in ms; after two silences it counts as lost. */
  readonly pingMs: number;
  /** Longest pause between two attempts to come back, in ms. Default 2000. */
  readonly maxPauseMs?: number;
}

/** Hears of a connection's fate. */
export interface NatsLinkListener {
  disconnected?(): void;
  reconnected?(): void;
}

/** How long a server may take to answer at the start, in ms. */
const CONNECT_TIMEOUT_MS = 5_000;
/** First and, by default, longest pause between two attempts to come back, in ms. */
const FIRST_PAUSE_MS = 100, MAX_PAUSE_MS = 2_000;

/** A connection to one of several NATS servers. */
export class NatsLink {
  /** The client's own object. */
  readonly connection: NatsConnection;
  readonly #host: NatsLinkHost;
  readonly #listeners = new Set<NatsLinkListener>();
  readonly #watching: Promise<void>;
  #isConnected = true;
  #isClosed = false;

  private constructor(connection: NatsConnection, host: NatsLinkHost, attempts: Attempts) {
    this.connection = connection;
    this.#host = host;
    this.#watching = this.#watch(attempts);
  }

  /**
   * Connects.
   * @throws {PlanError} when no server can be reached or the credentials are refused
   */
  static async open(options: NatsOptions, host: NatsLinkHost): Promise<NatsLink> {
    const attempts = { failed: 0 };
    const settings = await connectionOptions(options, host, attempts);
    try {
      const connection = await connect(settings);
      attempts.failed = 0;
      return new NatsLink(connection, host, attempts);
    } catch (error) {
      throw connectError(options, error);
    }
  }

  get isConnected(): boolean {
    return this.#isConnected && !this.#isClosed;
  }

  /** Most bytes of a message, its headers included. */
  get maxPayload(): number {
    return this.connection.info?.max_payload ?? 1_048_576;
  }

  /** Calls the listener from now on. Returns what ends that. */
  listen(listener: NatsLinkListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends the connection. Safe twice. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.connection.close();
    await this.#watching;
  }

  async #watch(attempts: Attempts): Promise<void> {
    const { logger } = this.#host;
    for await (const status of this.connection.status()) {
      switch (status.type) {
        case "disconnect":
          if (!this.#isConnected || this.#isClosed) break;
          this.#isConnected = false;
          logger.warn(`Lost the connection to NATS at ${status.server}: trying to come back`);
          for (const each of this.#listeners) each.disconnected?.();
          break;
        case "reconnect":
          attempts.failed = 0;
          if (this.#isConnected) break;
          this.#isConnected = true;
          logger.info(`Connected to NATS again, at ${status.server}`);
          for (const each of this.#listeners) each.reconnected?.();
          break;
        case "reconnecting":
          attempts.failed++;
          break;
        case "error":
          logger.warn(`NATS reports an error: ${status.error.message}`);
          break;
        case "slowConsumer":
          logger.warn("NATS messages come in faster than they are taken");
          break;
      }
    }
  }
}

/** How often in a row a connection could not be made. */
interface Attempts {
  failed: number;
}

async function connectionOptions(
  { servers, credentials, user, password, token, tls }: NatsOptions,
  { name, pingMs, maxPauseMs = MAX_PAUSE_MS }: NatsLinkHost,
  attempts: Attempts,
): Promise<ConnectionOptions> {
  const encrypts = tls !== undefined || servers.some((server) => server.startsWith("tls://"));
  return {
    // The scheme is ours: the client asks for encryption by its options alone.
    servers: servers.map((server) => server.replace(/^(?:nats|tls):\/\//, "").replace(/\/$/, "")),
    name,
    timeout: CONNECT_TIMEOUT_MS,
    pingInterval: pingMs,
    maxPingOut: 2,
    maxReconnectAttempts: -1,
    // A password may be put right on the server while we wait.
    ignoreAuthErrorAbort: true,
    reconnectDelayHandler: () => pause(attempts.failed, maxPauseMs),
    ...(credentials === undefined ? {} : {
      authenticator: credsAuthenticator(await readFile(credentials, "credentials")),
    }),
    ...(user === undefined ? {} : { user, pass: password! }),
    ...(token === undefined ? {} : { token }),
    ...(encrypts ? { tls: await tlsOptions(tls ?? {}) } : {}),
  };
}

async function tlsOptions(files: NonNullable<NatsOptions["tls"]>): Promise<Record<string, string>> {
  const options: Record<string, string> = {};
  for (const [key, path] of Object.entries(files)) {
    if (path === undefined) continue;
    options[key] = new TextDecoder().decode(await readFile(path, "tls", key));
  }
  return options;
}

async function readFile(path: string, ...option: string[]): Promise<Uint8Array> {
  try {
    return await Deno.readFile(path);
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound
      ? "there is no such file"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new PlanError(
      `Cannot read "${path}" for "cluster.nats.${option.join(".")}": ${why}`,
      { path: ["cluster", "nats", ...option], cause },
    );
  }
}

function connectError({ servers }: NatsOptions, cause: unknown): PlanError {
  const where = `Cannot connect to NATS at ${servers.map((each) => `"${each}"`).join(", ")}`;
  const message = cause instanceof Error && cause.message !== "" ? cause.message : String(cause);
  const isRefused = cause instanceof AuthorizationError || /authori[sz]ation|nkey/i.test(message);
  const why = isRefused
    ? "the server refuses the credentials; change cluster.nats.credentials, user and password, or token"
    : /certificate|tls|secure/i.test(message)
    ? `${message}; change cluster.nats.tls`
    : `${
      /timeout/i.test(message) ? `no answer in ${CONNECT_TIMEOUT_MS} ms` : message
    }; start a server there or change cluster.nats.servers`;
  return new PlanError(`${where}: ${why}`, {
    path: ["cluster", "nats", ...(isRefused ? [] : ["servers"])],
    cause,
  });
}

/** Grows from attempt to attempt up to a bound, and differs from process to process. */
function pause(failed: number, maxPauseMs: number): number {
  const longest = Math.min(maxPauseMs, FIRST_PAUSE_MS * 2 ** Math.min(failed, 10));
  return longest * (0.5 + Math.random() / 2);
}
