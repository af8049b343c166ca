/**
 * Which plan the processes of a cluster run under a service's name: all the same one. The store has it,
 * with the names of those who run it; to join in is to add one's own, by compare-and-set.
 *
 * @module
 */
import type { Json } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { keyPart, type KeyValue } from "./key_value.ts";

/** A plan that a process wants to run. */
export interface PlanClaim {
  readonly store: KeyValue;
  readonly cluster: string;
  readonly service: string;
  /** The same for plans that mean the same. */
  readonly version: string;
  /** For others to look at. */
  readonly plan: Json;
  /** The process's name. */
  readonly peer: string;
  /** Whether a process is alive and runs the version. */
  runs(peer: string, version: string): Promise<boolean>;
}

/** What became of a claim: the plan is new, or in use already, or has replaced another one. */
export interface Claimed {
  readonly outcome: "new" | "joined" | "replaced";
  /** Of the entry that says so. */
  readonly revision: number;
  /** The version before, when it was replaced. */
  readonly replaced?: string;
}

/** Compare-and-set may fail so often in a row; each time somebody else got on. */
const MAX_ATTEMPTS = 1_000;

/**
 * Joins those who run a plan. A plan of another version is replaced when nobody who is alive runs it.
 * The process has to be among the members, with the service, before.
 * @throws {PlanError} when somebody runs another version
 */
export async function claimPlan(claim: PlanClaim): Promise<Claimed> {
  const { store, cluster, service, version, peer } = claim;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const entry = await store.get(planKey(service));
    const stored = readPlan(entry?.value);
    const others = (stored?.runners ?? []).filter((each) => each !== peer);
    const isSame = stored?.version === version;
    if (stored !== undefined && !isSame) {
      for (const other of others) {
        if (!await claim.runs(other, stored.version)) continue;
        throw new PlanError(
          `Cannot run service "${service}" in cluster "${cluster}" with plan ${short(version)}: ` +
            `"${other}" runs plan ${
              short(stored.version)
            }; stop the processes that do, or run their plan`,
        );
      }
    }
    const value = {
      version,
      plan: claim.plan,
      runners: [...isSame ? others : [], peer].sort(),
    };
    const revision = await store.put(planKey(service), value, entry?.revision ?? 0);
    if (revision === undefined) continue;
    if (stored === undefined) return { outcome: "new", revision };
    if (isSame) return { outcome: "joined", revision };
    return { outcome: "replaced", revision, replaced: stored.version };
  }
  throw new Error(`Cannot join service "${service}": its plan changes all the time`);
}

/** Leaves those who run a plan; it stays, for those who come next. */
export async function unclaimPlan(
  { store, service, peer }: Pick<PlanClaim, "store" | "service" | "peer">,
): Promise<void> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const entry = await store.get(planKey(service));
    const stored = readPlan(entry?.value);
    if (stored === undefined || !stored.runners.includes(peer)) return;
    const runners = stored.runners.filter((each) => each !== peer);
    const value = { ...entry!.value as { [key: string]: Json }, runners };
    if (await store.put(planKey(service), value, entry!.revision) !== undefined) return;
  }
}

/** Enough of a version to tell it from others. */
export function short(version: string): string {
  return version.slice(0, 12);
}

/** The key of a service's plan. */
export function planKey(service: string): string {
  return `plan.${keyPart(service)}`;
}

/** Reads the entry of a plan; undefined when it is none. */
export function readPlan(
  value: Json | undefined,
): { readonly version: string; readonly runners: readonly string[] } | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { version, runners } = value;
  if (typeof version !== "string" || !Array.isArray(runners)) return undefined;
  return { version, runners: runners.filter((each) => typeof each === "string") };
}
