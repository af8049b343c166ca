/**
 * A query whose listeners are behind a balancer.
 *
 * @module
 */
import type { Execution } from "../engine/execution.ts";
import type { ServiceInfo } from "../plugins/contract.ts";
import type { Backend } from "./upstream.ts";

/** What it needs of the balancer. */
export interface BalancerLike {
  start(): Promise<void>;
  update(backends: readonly Backend[]): void;
  readonly url: string;
  close(): Promise<void>;
}

/** Runs an execution, and keeps its balancer told of who listens. */
export class BalancedExecution implements Execution {
  readonly #inner: Execution;
  readonly #balancer: BalancerLike;
  #state: "starting" | "ready" | "stopping" = "starting";
  #closing: Promise<void> | undefined;

  /** @param create makes the execution, which is to call back when its services change */
  constructor(balancer: BalancerLike, create: (servicesChanged: () => void) => Execution) {
    this.#balancer = balancer;
    this.#inner = create(() => this.#update());
  }

  get finished(): Promise<void> {
    return this.#inner.finished;
  }

  async start(): Promise<void> {
    await this.#balancer.start();
    await this.#inner.start();
    if (this.#state === "starting") this.#state = "ready";
    this.#update();
  }

  processAllAvailable(): Promise<void> {
    return this.#inner.processAllAvailable();
  }

  async drain(): Promise<void> {
    // What has come to the balancer is answered, while those behind it still take it.
    await this.#closeBalancer();
    await this.#inner.drain();
  }

  async close(timeoutMs: number): Promise<void> {
    this.#state = "stopping";
    const closed = this.#inner.close(timeoutMs);
    await Promise.all([closed, this.#closeBalancer()]);
  }

  replacePartition(partition: number): void {
    this.#inner.replacePartition(partition);
  }

  partitionBatches(): readonly number[] {
    return this.#inner.partitionBatches();
  }

  restarts(): number {
    return this.#inner.restarts();
  }

  queueLength(): number {
    return this.#inner.queueLength();
  }

  /** The balancer's own comes first, as that of the head. */
  services(): readonly ServiceInfo[] {
    const services = this.#inner.services();
    const [first] = services;
    if (first === undefined) return services;
    const url = new URL(this.#balancer.url);
    return [{
      name: first.name,
      url: this.#balancer.url + (first.path === "/" ? "/" : first.path),
      host: url.hostname,
      port: Number(url.port),
      path: first.path,
      peer: -1,
      partition: -1,
      state: this.#state === "ready" ? "ready" : "stopping",
    }, ...services];
  }

  async restart(): Promise<void> {
    if (this.#inner.restart === undefined) {
      throw new Error('Cannot restart a query that has no peers; set "peers"');
    }
    await this.#inner.restart();
  }

  #update(): void {
    if (this.#state !== "ready") return;
    this.#balancer.update(
      this.#inner.services()
        .filter(({ state }) => state === "ready")
        .map(({ url, peer, partition }) => ({ url, key: `${peer}/${partition}` })),
    );
  }

  #closeBalancer(): Promise<void> {
    this.#state = "stopping";
    this.#closing ??= this.#balancer.close();
    return this.#closing;
  }
}
