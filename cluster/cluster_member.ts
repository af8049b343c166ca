/**
 * A query's place in its cluster. The queries of a process that give the same options are one member.
 *
 * @module
 */
import type { Plan } from "../engine/plan.ts";
import { pluginLogger } from "../engine/logging.ts";
import type { RingSource } from "../engine/ring.ts";
import type { ServiceInfo } from "../plugins/contract.ts";
import type { ClusterOptions } from "./cluster_options.ts";
import type { ClusterServiceInfo } from "./member.ts";
import { Membership } from "./membership.ts";

/** What a {@linkcode ClusterMember} needs of its query. */
export interface ClusterMemberHost {
  /** Where the query listens, at the moment. */
  services(): readonly ServiceInfo[];
  /** The query cannot go on: another version of its plan has taken its place. */
  fatal(error: Error): void;
}

/** A membership and how many queries use it. */
interface Shared {
  readonly joining: Promise<Membership>;
  users: number;
}

const memberships = new Map<string, Shared>();

/** One query as a part of a cluster. */
export class ClusterMember {
  /** The process's membership, which other queries may share. */
  readonly membership: Membership;
  readonly #service: string;
  readonly #key: string;
  #left: Promise<void> | undefined;

  private constructor(membership: Membership, service: string, key: string) {
    this.membership = membership;
    this.#service = service;
    this.#key = key;
  }

  /**
   * Joins, and registers the query under its plan's version; it counts as not ready.
   * @throws {PlanError} when the servers cannot be reached, or other processes run another plan
   */
  static async join(
    plan: Plan & { readonly cluster: ClusterOptions },
    host: ClusterMemberHost,
  ): Promise<ClusterMember> {
    const { cluster, name } = plan;
    const key = JSON.stringify(cluster);
    let shared = memberships.get(key);
    if (shared === undefined) {
      const joining = Membership.join(cluster, pluginLogger(`cluster ${cluster.nats.name}`));
      memberships.set(key, shared = { joining, users: 0 });
    }
    shared.users++;
    try {
      const membership = await shared.joining;
      await membership.addService(plan, {
        services: () => host.services(),
        refused: (error) => host.fatal(error),
      });
      return new ClusterMember(membership, name, key);
    } catch (error) {
      await release(key, shared);
      throw error;
    }
  }

  /** The query takes requests. */
  async ready(): Promise<void> {
    await this.membership.serviceReady(this.#service);
  }

  /** The processes over which the plan's rows are spread; this one has a slot among them then. */
  async ring(): Promise<RingSource> {
    return await this.membership.slots(this.#service);
  }

  /** Where this service listens, on all machines. */
  services(): ClusterServiceInfo[] {
    return this.membership.services(this.#service);
  }

  /** The query will end: others are to send nothing here any more. */
  async leaving(): Promise<void> {
    await this.membership.serviceLeaving(this.#service);
  }

  /** Takes the query off; the last one of the process leaves the cluster. Safe twice. */
  leave(): Promise<void> {
    return this.#left ??= this.#leave();
  }

  async #leave(): Promise<void> {
    await this.membership.removeService(this.#service);
    const shared = memberships.get(this.#key);
    if (shared !== undefined) await release(this.#key, shared);
  }
}

/** Gives a membership back; nobody else uses it: it ends. */
async function release(key: string, shared: Shared): Promise<void> {
  if (--shared.users > 0) return;
  if (memberships.get(key) === shared) memberships.delete(key);
  const membership = await shared.joining.catch(() => undefined);
  await membership?.leave();
}
