/**
 * A process of a cluster, as the others know it.
 *
 * @module
 */
import type { Json, ServiceInfo } from "../plugins/contract.ts";

/** What a process tells the others of itself. */
export interface Member {
  /** Its name, unique in the cluster. */
  readonly peer: string;
  /** Differs from start to start. */
  readonly instance: string;
  readonly pid: number;
  /** The machine's name. */
  readonly host: string;
  /** When it began, ISO 8601. */
  readonly startedAt: string;
  readonly state: MemberState;
  /** Where its services listen. */
  readonly services: readonly MemberService[];
  /** Versions of the plans it runs, by service. */
  readonly plans: Readonly<Record<string, string>>;
}

/** Where a query of a process listens. */
export interface MemberService extends ServiceInfo {
  /** The query's name. */
  readonly query: string;
}

/** `joining` until all its services are ready. */
export type MemberState = "joining" | "ready" | "leaving";

/** Where a service of the cluster listens. */
export interface ClusterServiceInfo extends MemberService {
  /** The name of the process that listens. */
  readonly member: string;
  /** The name of its machine. */
  readonly machine: string;
  readonly memberState: MemberState;
}

/** A member as it is stored. */
export function writeMember(member: Member): Json {
  return member as unknown as Json;
}

/** A stored member; undefined when it is none, a newer version's say. */
export function readMember(value: Json | undefined): Member | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { peer, instance, pid, host, startedAt, state, services, plans } = value;
  const isMember = typeof peer === "string" && typeof instance === "string" &&
    typeof pid === "number" && typeof host === "string" && typeof startedAt === "string" &&
    STATES.includes(state as MemberState) && Array.isArray(services) &&
    typeof plans === "object" && plans !== null && !Array.isArray(plans);
  return isMember ? value as unknown as Member : undefined;
}

const STATES: readonly MemberState[] = ["joining", "ready", "leaving"];

/**
 * The listeners of members, by service and place.
 * @param query the name of the query that they are of; default: any
 */
export function servicesOf(members: readonly Member[], query?: string): ClusterServiceInfo[] {
  return members.flatMap(({ peer: member, host: machine, state: memberState, services }) =>
    services.filter((service) => query === undefined || service.query === query)
      .map((service) => ({ ...service, member, machine, memberState }))
  );
}

/**
 * A listener as others can reach it: under the advertised host; or, where it listens on all addresses,
 * under one of the machine's.
 */
export function advertised(service: ServiceInfo, host: string | undefined): ServiceInfo {
  const isAnywhere = service.host === "0.0.0.0" || service.host === "::";
  const reached = host ?? (isAnywhere ? ownAddress(service.host === "::") : undefined);
  if (reached === undefined) return service;
  const url = new URL(service.url);
  url.hostname = reached.includes(":") ? `[${reached}]` : reached;
  return { ...service, host: reached, url: url.href };
}

/** The machine's first address that is not its loopback. */
function ownAddress(allowsIpv6: boolean): string | undefined {
  const outside = Deno.networkInterfaces().filter(({ address, scopeid }) =>
    !/^127\.|^::1$/.test(address) && !scopeid
  );
  const ipv4 = outside.find(({ family }) => family === "IPv4");
  return (ipv4 ?? (allowsIpv6 ? outside.find(({ family }) => family === "IPv6") : undefined))
    ?.address;
}
