/**
 * The values of a cluster in a bucket of JetStream's key-value store.
 *
 * @module
 */
import { jetstream, JetStreamApiError, type JetStreamClient } from "@nats-io/jetstream";
import { type KV, type KvEntry, Kvm } from "@nats-io/kv";
import type { Json } from "../plugins/contract.ts";
import type { Entry, KeyValue, Watch, WatchListener } from "./key_value.ts";
import type { NatsLink } from "./nats.ts";

/** What a {@linkcode NatsKeyValue} is made of. */
export interface NatsKeyValueOptions {
  readonly link: NatsLink;
  readonly bucket: string;
  /** How many servers keep the bucket; undefined: 3 where they are a cluster and can, else 1. */
  readonly replicas: number | undefined;
  /** How long a server may take for one call, in ms. */
  readonly timeoutMs: number;
}

const WRONG_REVISION = [10_071, 10_164];
const NAME_IN_USE = 10_058;
const BAD_REQUEST = 400;

/** A bucket of values, which are JSON. */
export class NatsKeyValue implements KeyValue {
  readonly #options: NatsKeyValueOptions;
  readonly #jetstream: JetStreamClient;
  #bucket: KV | undefined;

  constructor(options: NatsKeyValueOptions) {
    this.#options = options;
    this.#jetstream = jetstream(options.link.connection, { timeout: options.timeoutMs });
  }

  async ensure(): Promise<void> {
    const { replicas, link } = this.#options;
    if (replicas !== undefined) return await this.#open(replicas);
    if (link.connection.info?.cluster === undefined) return await this.#open(1);
    try {
      await this.#open(3);
    } catch (error) {
      // A cluster of two, or one that stores on fewer than three.
      if (!(error instanceof JetStreamApiError) || error.status !== BAD_REQUEST) throw error;
      await this.#open(1);
    }
  }

  async get(key: string): Promise<Entry | undefined> {
    const entry = await this.#opened.get(key);
    return entry === null || entry.operation !== "PUT" ? undefined : entryOf(entry);
  }

  async put(key: string, value: Json, revision: number): Promise<number | undefined> {
    const text = JSON.stringify(value);
    try {
      return revision === 0
        ? await this.#opened.create(key, text)
        : await this.#opened.update(key, text, revision);
    } catch (error) {
      if (isConflict(error)) return undefined;
      throw error;
    }
  }

  async delete(key: string, revision: number): Promise<boolean> {
    try {
      await this.#opened.purge(key, { previousSeq: revision });
      return true;
    } catch (error) {
      if (isConflict(error)) return false;
      throw error;
    }
  }

  async watch(listener: WatchListener): Promise<Watch> {
    const iterator = await this.#opened.watch();
    let isStopped = false;
    let isSynced = false;
    const synced = () => {
      if (isSynced || isStopped) return;
      isSynced = true;
      listener.synced();
    };
    (async () => {
      try {
        for await (const entry of iterator) {
          if (isStopped) return;
          listener.entry(entryOf(entry));
          // `delta`: how many more were there when this one was sent.
          if (entry.delta === 0) synced();
        }
      } finally {
        if (!isStopped) listener.ended();
      }
    })().catch(() => {});
    return {
      stop: () => {
        isStopped = true;
        iterator.stop();
      },
    };
  }

  get #opened(): KV {
    if (this.#bucket === undefined) throw new Error("The bucket has not been opened");
    return this.#bucket;
  }

  async #open(replicas: number): Promise<void> {
    const options = {
      replicas,
      history: 1,
      // The followers of a stream answer direct reads, and may lag behind.
      allow_direct: false,
      description: "Members, plans and leases of a Millrace cluster",
    };
    const manager = new Kvm(this.#jetstream);
    try {
      this.#bucket = await manager.create(this.#options.bucket, options);
    } catch (error) {
      // Another process has made it in the same moment, by other options.
      if (!(error instanceof JetStreamApiError) || error.code !== NAME_IN_USE) throw error;
      this.#bucket = await manager.create(this.#options.bucket, options);
    }
  }
}

function entryOf(entry: KvEntry): Entry {
  return {
    key: entry.key,
    value: entry.operation === "PUT" ? parse(entry) : undefined,
    revision: entry.revision,
    created: entry.created.getTime(),
  };
}

/** What is no JSON was not written by us: null, which nobody here writes. */
function parse(entry: KvEntry): Json {
  try {
    return entry.json<Json>();
  } catch {
    return null;
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof JetStreamApiError && WRONG_REVISION.includes(error.code);
}
