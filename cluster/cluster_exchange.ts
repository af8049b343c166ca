/**
 * The exchange of a partition whose rows are spread over many machines: over sockets to the partitions of
 * its own process, over NATS to all others.
 *
 * The ring comes from the process's head, which knows the other processes. Each knows of a change at
 * another moment; until all do, rows with the same key may come to two places.
 *
 * @module
 */
import type { Plan } from "../engine/plan.ts";
import type { Ring } from "../engine/ring.ts";
import type { PluginLogger } from "../plugins/contract.ts";
import type { ClusterOptions } from "./cluster_options.ts";
import type {
  Exchange,
  ExchangeHandler,
  PartitionAddress,
  StageRequest,
  StageResponse,
} from "./exchange.ts";
import { NatsLink } from "./nats.ts";
import { NatsExchange } from "./nats_exchange.ts";

/** What {@linkcode ClusterExchange} is made of. */
export interface ClusterExchangeOptions {
  readonly plan: Plan & { readonly cluster: ClusterOptions };
  readonly partition: number;
  readonly ring: Ring;
  /** Between the partitions of this process, which is peer 0 there. */
  readonly local: Exchange;
  readonly logger: PluginLogger;
}

/** Exchange between the partitions of all processes of a service. */
export class ClusterExchange implements Exchange {
  readonly #options: ClusterExchangeOptions;
  readonly #remote: NatsExchange;
  #ring: Ring;
  /** When the slot may be another's, by `performance.now()`. */
  #until = 0;
  #addresses!: { readonly all: readonly PartitionAddress[]; readonly self: PartitionAddress };

  private constructor(options: ClusterExchangeOptions, link: NatsLink) {
    const { plan: { name, cluster, batching }, partition, ring, logger } = options;
    this.#options = options;
    this.#ring = ring;
    this.#remote = new NatsExchange({
      link,
      closesLink: true,
      cluster: cluster.nats.name,
      service: name,
      self: { peer: ring.slot, partition },
      logger,
      // A call waits for those before it, each of which may take that long.
      callTimeoutMs: 2 * batching.batchTimeoutMs,
      probeMs: cluster.heartbeatMs,
      accepts: () => performance.now() < this.#until,
    });
    this.update(ring);
  }

  /** @throws {PlanError} when NATS cannot be reached */
  static async create(options: ClusterExchangeOptions): Promise<ClusterExchange> {
    const { plan: { name, cluster }, partition, logger } = options;
    const link = await NatsLink.open(cluster.nats, {
      name: `millrace ${cluster.nats.name} ${name}/${partition}`,
      logger,
      pingMs: cluster.heartbeatMs,
      maxPauseMs: Math.min(2_000, 2 * cluster.heartbeatMs),
    });
    return new ClusterExchange(options, link);
  }

  /** All partitions of the moment, in the same order in all processes, and which one this is. */
  get addresses(): { readonly all: readonly PartitionAddress[]; readonly self: PartitionAddress } {
    return this.#addresses;
  }

  /** Takes in which processes there are now. */
  update(ring: Ring): void {
    const { plan: { partitions }, partition } = this.#options;
    const before = this.#ring;
    this.#ring = ring;
    this.#until = performance.now() + ring.remainingMs;
    if (ring.slot !== before.slot) this.#remote.moveTo({ peer: ring.slot, partition });
    for (const slot of before.taken) if (!ring.taken.includes(slot)) this.#remote.lost(slot);
    this.#addresses = {
      all: ring.ready.flatMap((peer) =>
        Array.from({ length: partitions }, (_, partition) => ({ peer, partition }))
      ),
      self: { peer: ring.slot, partition },
    };
  }

  async open(handler: ExchangeHandler): Promise<void> {
    await this.#options.local.open((request, { partition }) =>
      handler(request, { peer: this.#ring.slot, partition })
    );
    await this.#remote.open(handler);
  }

  call(to: PartitionAddress, request: StageRequest): Promise<StageResponse> {
    if (to.peer !== this.#ring.slot) return this.#remote.call(to, request);
    return this.#options.local.call({ peer: 0, partition: to.partition }, request);
  }

  async close(): Promise<void> {
    await Promise.all([this.#options.local.close(), this.#remote.close()]);
  }
}
