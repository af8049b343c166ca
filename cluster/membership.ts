/**
 * A process's place in a cluster: it says that it is alive, knows who else is, and holds what only one
 * may hold. All of it is kept in a bucket of JetStream's key-value store, one a cluster:
 *
 * | key | value |
 * |---|---|
 * | `member.PEER` | a {@linkcode Member}, written with each heartbeat |
 * | `plan.SERVICE` | the plan, its version, and who runs it: see `plan_claim.ts` |
 * | `leader` | who leads: see `lease.ts` |
 * | `slot.SERVICE.N` | who answers for the rows of slot N: see `slots.ts` |
 *
 * While the servers are away, members stay as they were last seen and leases run out; when they are back,
 * the process registers again.
 *
 * @module
 */
import { hostname } from "node:os";
import { fingerprint } from "../engine/checkpoint.ts";
import type { Plan } from "../engine/plan.ts";
import { sleep } from "../engine/sleep.ts";
import type { Json, PluginLogger, ServiceInfo } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { type ClusterOptions, expiryOf } from "./cluster_options.ts";
import type { Entry, Watch } from "./key_value.ts";
import { type Holder, Lease, LEASE_CLOCK, readHolder } from "./lease.ts";
import { LiveEntries, type Silent } from "./live_entries.ts";
import {
  advertised,
  type ClusterServiceInfo,
  type Member,
  type MemberState,
  readMember,
  servicesOf,
  writeMember,
} from "./member.ts";
import { NatsLink } from "./nats.ts";
import { NatsKeyValue } from "./nats_key_value.ts";
import { claimPlan, planKey, readPlan, short, unclaimPlan } from "./plan_claim.ts";
import { Slots } from "./slots.ts";

/** Who leads a cluster. */
export interface Leader {
  readonly peer: string;
  /** Whether it is this process; its lease tells to the moment. */
  readonly isSelf: boolean;
}

/** Hears of a cluster. */
export interface MembershipListener {
  joined?(member: Member): void;
  changed?(member: Member, before: Member): void;
  /** It said good-bye, or was silent for too long. */
  left?(member: Member, why: "deleted" | "silent"): void;
  leader?(leader: Leader | undefined): void;
  /** The servers are away: the members stay as they are. */
  disconnected?(): void;
  /** They are back, and the process is registered again. */
  resumed?(): void;
}

/** A service of this process. */
export interface OwnService {
  /** Where it listens. */
  services(): readonly ServiceInfo[];
  /** Another version of its plan has taken its place while this process was cut off. */
  refused(error: PlanError): void;
}

interface Registered extends OwnService {
  readonly plan: Plan;
  readonly version: string;
  /** Of the entry by which the process has joined those who run the plan; 0 until then. */
  claimedAt: number;
  isReady: boolean;
  isLeaving: boolean;
}

const LEADER = "leader";
const MEMBER = "member.";
const SLOT = "slot.";
/** How long the servers' storage may take to be there at the start, in ms. */
const START_TIMEOUT_MS = 10_000;
/** Longest time that good-byes may take, in ms. */
const LEAVE_TIMEOUT_MS = 2_000;

/** A process's membership of a cluster. */
export class Membership {
  /** The process's name in the cluster. */
  readonly peer: string;
  /** What only the leader may do, it does while it holds this. */
  readonly leadership: Lease;
  readonly #options: ClusterOptions;
  readonly #logger: PluginLogger;
  readonly #link: NatsLink;
  readonly #store: NatsKeyValue;
  readonly #expiryMs: number;
  readonly #instance = crypto.randomUUID();
  readonly #startedAt = new Date().toISOString();
  readonly #services = new Map<string, Registered>();
  readonly #slots = new Map<string, Slots>();
  readonly #listeners = new Set<MembershipListener>();
  readonly #members: LiveEntries<Member>;
  readonly #holders: LiveEntries<Holder>;
  readonly #stopListening: () => void;
  readonly #ended = new AbortController();
  #leader: Leader | undefined;
  /** Of this process's own entry. */
  #revision = 0;
  #watch: Watch | undefined;
  #isSynced = false;
  /** When the watch has brought an own heartbeat last. */
  #echoAt = 0;
  #hasJoined = false;
  #writing: Promise<unknown> = Promise.resolve();
  #beating: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastTrouble = "";

  private constructor(options: ClusterOptions, link: NatsLink, logger: PluginLogger) {
    this.peer = options.peerName ?? randomName();
    this.#options = options;
    this.#logger = logger;
    this.#link = link;
    this.#expiryMs = expiryOf(options);
    const timeoutMs = Math.max(250, 2 * options.heartbeatMs);
    const { name, replicas } = options.nats;
    this.#store = new NatsKeyValue({ link, bucket: `millrace_${name}`, replicas, timeoutMs });
    this.leadership = this.lease(LEADER);
    const now = () => performance.now();
    this.#members = new LiveEntries(this.#expiryMs, now, {
      joined: (_, member) => this.#tell((each) => each.joined?.(member)),
      changed: (_, member, before) => this.#tell((each) => each.changed?.(member, before)),
      left: (_, member, why) => this.#left(member, why),
    });
    const changed = () => this.#holdersChanged();
    // A bit longer than a holder counts on its lease: see `lease.ts`.
    this.#holders = new LiveEntries(this.#expiryMs * 1.25, now, {
      joined: changed,
      changed,
      left: changed,
    });
    this.#stopListening = link.listen({
      disconnected: () => {
        this.#isSynced = false;
        this.#stopWatch();
        this.leadership.disconnected();
        for (const service of this.#services.values()) service.claimedAt = 0;
        for (const slots of this.#slots.values()) slots.disconnected();
        this.#tell((each) => each.disconnected?.());
      },
      reconnected: () => this.#beatNow(),
    });
  }

  /**
   * Joins a cluster.
   * @throws {PlanError} when the servers cannot be reached or do not store, or another process has the
   *   name
   */
  static async join(options: ClusterOptions, logger: PluginLogger): Promise<Membership> {
    const { heartbeatMs, nats } = options;
    const link = await NatsLink.open(nats, {
      name: `millrace ${nats.name} ${options.peerName ?? ""}`.trim(),
      logger,
      pingMs: heartbeatMs,
      // Those who are back first wait for the others as long as a silence may last.
      maxPauseMs: Math.min(2_000, 2 * heartbeatMs),
    });
    const membership = new Membership(options, link, logger);
    try {
      await membership.#join();
      return membership;
    } catch (error) {
      await membership.leave();
      throw error;
    }
  }

  /** Whether the servers can be reached and the process is registered. */
  get isConnected(): boolean {
    return this.#link.isConnected && this.#isSynced;
  }

  /** The connection, for what travels besides. */
  get link(): NatsLink {
    return this.#link;
  }

  /** The processes that are alive, this one among them, by name. */
  members(): Member[] {
    return this.#members.entries().map(([, member]) => member)
      .sort((a, b) => a.peer < b.peer ? -1 : 1);
  }

  /** Who leads, as far as this process knows. */
  get leader(): Leader | undefined {
    return this.#leader;
  }

  /**
   * Where the services of all members listen.
   * @param query the name of the query that they are of; default: any
   */
  services(query?: string): ClusterServiceInfo[] {
    return servicesOf(this.members(), query);
  }

  /** Calls the listener from now on. Returns what ends that. */
  listen(listener: MembershipListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A lease of this process on a key, which lasts as long as a member may be silent. */
  lease(key: string, absentMs?: number): Lease {
    return new Lease({
      store: this.#store,
      key,
      owner: this.#instance,
      peer: this.peer,
      leaseMs: this.#expiryMs,
      clock: LEASE_CLOCK,
      ...(absentMs === undefined ? {} : { absentMs }),
    });
  }

  /**
   * Registers a service, which is not ready yet, under its plan's version.
   * @throws {PlanError} when other processes run another version
   */
  async addService(plan: Plan, service: OwnService): Promise<void> {
    const version = fingerprint(plan);
    const { services, refused } = service;
    const registered = {
      services,
      refused,
      plan,
      version,
      claimedAt: 0,
      isReady: false,
      isLeaving: false,
    };
    this.#services.set(plan.name, registered);
    try {
      // First, so that whoever would replace the plan sees that somebody runs it.
      await this.#patiently(() => this.#writeSelf());
      await this.#patiently(() => this.#claim(registered));
    } catch (error) {
      this.#services.delete(plan.name);
      await this.#writeSelf().catch(() => {});
      throw error;
    }
  }

  /** The service takes requests. */
  async serviceReady(name: string): Promise<void> {
    const service = this.#services.get(name);
    if (service === undefined) return;
    service.isReady = true;
    await this.#tellReady(name, true);
  }

  /** Takes a service off. */
  async removeService(name: string): Promise<void> {
    if (!this.#services.delete(name)) return;
    const slots = this.#slots.get(name);
    this.#slots.delete(name);
    if (!this.#link.isConnected) return;
    await Promise.allSettled([
      slots?.release(),
      this.#writeSelf(),
      unclaimPlan({ store: this.#store, service: name, peer: this.peer }),
    ]);
  }

  /**
   * The slots of a service, of which this process takes one. Resolves when it has.
   * @throws {Error} when it cannot get one
   */
  async slots(service: string): Promise<Slots> {
    const slots = this.#slots.get(service) ?? new Slots(service, (key) => this.lease(key, 0));
    this.#slots.set(service, slots);
    await this.#patiently(() => slots.step());
    this.#holdersChanged();
    return slots;
  }

  /** The service takes no more requests: nobody is to send it any. */
  async serviceLeaving(name: string): Promise<void> {
    const service = this.#services.get(name);
    if (service === undefined) return;
    service.isLeaving = true;
    await this.#tellReady(name, false);
  }

  async #tellReady(name: string, isReady: boolean): Promise<void> {
    const slots = this.#slots.get(name);
    if (slots !== undefined) slots.isReady = isReady;
    // While the servers are away, a later heartbeat tells.
    if (!this.#link.isConnected) return;
    try {
      await Promise.all([slots?.step(), this.#writeSelf()]);
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Says good-bye and ends. Safe twice. */
  async leave(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(new Error("The cluster was left"));
    this.#stopListening();
    clearTimeout(this.#timer);
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, LEAVE_TIMEOUT_MS);
    await Promise.race([this.#sayGoodbye(), late.promise]).catch(() => {});
    clearTimeout(timer);
    this.#stopWatch();
    await this.#link.close();
  }

  async #sayGoodbye(): Promise<void> {
    await this.#beating?.catch(() => {});
    if (!this.#link.isConnected || !this.#hasJoined) return;
    const services = [...this.#services.keys()];
    await Promise.allSettled([
      this.leadership.release(),
      ...[...this.#slots.values()].map((slots) => slots.release()),
      ...services.map((service) => unclaimPlan({ store: this.#store, service, peer: this.peer })),
    ]);
    await this.#serially(() => this.#store.delete(this.#key, this.#revision));
  }

  get #key(): string {
    return MEMBER + this.peer;
  }

  async #join(): Promise<void> {
    const { nats: { servers, name } } = this.#options;
    try {
      await this.#patiently(async () => {
        await this.#store.ensure();
        await this.#takeName();
        this.#stopWatch();
        await this.#startWatch();
      });
    } catch (error) {
      if (error instanceof PlanError) throw error;
      const why = this.#isOff(error)
        ? "JetStream is off there; start the servers with -js"
        : `${messageOf(error)}; look at the servers' log`;
      const where = servers.map((server) => `"${server}"`).join(", ");
      throw new PlanError(`Cannot keep cluster "${name}" on NATS at ${where}: ${why}`, {
        path: ["cluster", "nats", "servers"],
        cause: error,
      });
    }
    this.#isSynced = true;
    this.#schedule();
    this.#logger.info(`Joined cluster "${name}" as "${this.peer}"`, {
      members: this.members().map(({ peer }) => peer),
    });
  }

  /**
   * Does work at the start again and again while the servers are not up to it: those that have just begun
   * choose first who of them keeps what.
   */
  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (error instanceof PlanError || this.#isOff(error) || performance.now() > deadline) {
          throw error;
        }
        await sleep(this.#options.heartbeatMs, this.#ended.signal);
      }
    }
  }

  /** Whether the servers store nothing at all; a bucket that is just being made looks alike. */
  #isOff(error: unknown): boolean {
    const { info } = this.#link.connection;
    return info?.jetstream !== true && /not enabled/i.test(messageOf(error));
  }

  /** Registers under the process's name, once whoever had it is gone. */
  async #takeName(): Promise<void> {
    for (;;) {
      const entry = await this.#store.get(this.#key);
      const member = readMember(entry?.value);
      const isOwn = member?.instance === this.#instance;
      if (entry !== undefined && !isOwn && await this.#isAlive(entry)) {
        throw new PlanError(
          `Cannot join cluster "${this.#options.nats.name}" as "${this.peer}": process ` +
            `${member?.pid ?? "?"} on "${
              member?.host ?? "?"
            }" has that name; change cluster.peerName`,
          { path: ["cluster", "peerName"] },
        );
      }
      const revision = await this.#store.put(this.#key, this.#self(), entry?.revision ?? 0);
      if (revision === undefined) continue;
      this.#revision = revision;
      this.#hasJoined = true;
      return;
    }
  }

  /** Whether an entry is written again and again: waits for the next time, as long as that may take. */
  async #isAlive(entry: Entry): Promise<boolean> {
    const own = await this.#store.get(this.#key);
    if (own !== undefined && own.created - entry.created > this.#expiryMs) return false;
    const deadline = performance.now() + this.#expiryMs;
    for (;;) {
      await sleep(this.#options.heartbeatMs / 2, this.#ended.signal);
      const next = await this.#store.get(entry.key);
      if (next === undefined) return false;
      if (next.revision !== entry.revision) return true;
      if (performance.now() > deadline) return false;
    }
  }

  async #claim(registered: Registered): Promise<void> {
    const { plan, version } = registered;
    const { name: service } = plan;
    const { name: cluster } = this.#options.nats;
    const claimed = await claimPlan({
      store: this.#store,
      cluster,
      service,
      version,
      plan: withoutPlaces(plan),
      peer: this.peer,
      runs: async (peer, version) => {
        const entry = await this.#store.get(MEMBER + peer);
        const member = readMember(entry?.value);
        return member?.plans[service] === version && await this.#isAlive(entry!);
      },
    });
    registered.claimedAt = claimed.revision;
    if (claimed.replaced === undefined) return;
    this.#logger.info(
      `The plan of service "${service}" in cluster "${cluster}" is now ${short(version)}; ` +
        `it was ${short(claimed.replaced)}, which nobody runs any more`,
    );
  }

  #schedule(): void {
    if (this.#ended.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#beatNow(), this.#options.heartbeatMs);
  }

  #beatNow(): void {
    if (this.#beating !== undefined || !this.#hasJoined || this.#ended.signal.aborted) return;
    this.#beating = this.#beat().finally(() => {
      this.#beating = undefined;
      this.#schedule();
    });
  }

  async #beat(): Promise<void> {
    if (this.#link.isConnected) {
      try {
        if (!this.#isSynced) await this.#resume();
        else await this.#writeSelf();
        await this.leadership.step();
        for (const slots of this.#slots.values()) await slots.step();
        await this.#bury([...this.#members.expire(), ...this.#holders.expire()]);
        // The watch has fallen behind or asleep.
        if (performance.now() - this.#echoAt > this.#expiryMs / 2) this.#isSynced = false;
        this.#lastTrouble = "";
      } catch (error) {
        this.#trouble(error);
      }
    }
    this.#holdersChanged();
  }

  /** Registers again after the servers or the watch were away. */
  async #resume(): Promise<void> {
    this.#stopWatch();
    await this.#store.ensure();
    await this.#writeSelf();
    await this.#startWatch();
    for (const service of [...this.#services.values()]) {
      try {
        await this.#claim(service);
      } catch (error) {
        if (!(error instanceof PlanError)) throw error;
        this.#refuse(service, error);
      }
    }
    this.#isSynced = true;
    this.#tell((each) => each.resumed?.());
  }

  #refuse(service: Registered, error: PlanError): void {
    this.#services.delete(service.plan.name);
    service.refused(error);
  }

  /** Starts the watch; resolves when it has told all that there is. */
  async #startWatch(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => {});
    const timer = setTimeout(
      () => reject(new Error("The watch of the store does not begin")),
      Math.max(1000, this.#expiryMs),
    );
    this.#members.restart();
    this.#holders.restart();
    try {
      this.#watch = await this.#store.watch({
        entry: (entry) => this.#take(entry),
        synced: () => {
          this.#echoAt = performance.now();
          resolve();
        },
        ended: () => {
          this.#isSynced = false;
          reject(new Error("The watch of the store has ended"));
        },
      });
      await promise;
      await this.#bury([...this.#members.synced(), ...this.#holders.synced()]);
    } finally {
      clearTimeout(timer);
    }
  }

  #stopWatch(): void {
    this.#watch?.stop();
    this.#watch = undefined;
  }

  #take(entry: Entry): void {
    const { key, value } = entry;
    if (key === this.#key) this.#echoAt = performance.now();
    if (key.startsWith(MEMBER)) {
      const member = readMember(value);
      this.#holders.passed(entry.created);
      if (member === undefined) this.#members.delete(entry);
      else this.#members.set(entry, member);
    } else if (key === LEADER || key.startsWith(SLOT)) {
      const holder = value === undefined ? undefined : readHolder(entry);
      this.#members.passed(entry.created);
      if (holder === undefined || holder.isReleased) this.#holders.delete(entry);
      else this.#holders.set(entry, holder);
    } else this.#takePlan(entry);
  }

  /** A plan that is another than the one that runs here has replaced that, while nobody heard of us. */
  #takePlan({ key, value, revision }: Entry): void {
    const stored = readPlan(value);
    if (stored === undefined) return;
    for (const service of [...this.#services.values()]) {
      const { plan: { name }, version, claimedAt } = service;
      if (planKey(name) !== key || claimedAt === 0 || claimedAt >= revision) continue;
      if (stored.version === version) continue;
      const by = stored.runners.map((runner) => `"${runner}"`).join(", ");
      this.#refuse(
        service,
        new PlanError(
          `Cannot go on with service "${name}" in cluster "${this.#options.nats.name}" with plan ` +
            `${short(version)}: while this process was cut off, ${by || "another process"} has ` +
            `replaced it by plan ${short(stored.version)}`,
        ),
      );
    }
  }

  /** Takes dead entries out of the store; others do the same. */
  async #bury(dead: readonly Silent[]): Promise<void> {
    // How long nobody has led is told by the entry that stays.
    const buried = dead.filter(({ key }) => key !== LEADER && key !== this.#key);
    await Promise.allSettled(
      buried.map(({ key, revision }) => this.#store.delete(key, revision)),
    );
  }

  /** Writes this process's entry; one write after another. */
  #writeSelf(): Promise<void> {
    return this.#serially(async () => {
      for (;;) {
        const revision = await this.#store.put(this.#key, this.#self(), this.#revision);
        if (revision !== undefined) {
          this.#revision = revision;
          return;
        }
        // Others have buried us, or the answer to an earlier write was lost.
        const entry = await this.#store.get(this.#key);
        const member = readMember(entry?.value);
        if (entry !== undefined && member?.instance !== this.#instance) {
          throw new Error(
            `Process ${member?.pid ?? "?"} on "${member?.host ?? "?"}" has taken the name ` +
              `"${this.peer}" while this one was cut off`,
          );
        }
        this.#revision = entry?.revision ?? 0;
        // Whoever buried us may have taken what was ours as well.
        if (entry === undefined) this.#isSynced = false;
      }
    });
  }

  #serially<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#writing.then(work);
    this.#writing = mine.catch(() => {});
    return mine;
  }

  #self(): Json {
    const services = [...this.#services.values()];
    const state: MemberState = services.length > 0 && services.every(({ isLeaving }) => isLeaving)
      ? "leaving"
      : services.every(({ isReady }) => isReady)
      ? "ready"
      : "joining";
    return writeMember({
      peer: this.peer,
      instance: this.#instance,
      pid: Deno.pid,
      host: hostname(),
      startedAt: this.#startedAt,
      state,
      services: services.flatMap((service) =>
        service.isLeaving ? [] : service.services().map((each) => ({
          ...advertised(each, this.#options.advertiseHost),
          query: service.plan.name,
        }))
      ),
      plans: Object.fromEntries(services.map(({ plan, version }) => [plan.name, version])),
    });
  }

  #left(member: Member, why: "deleted" | "silent"): void {
    if (why === "silent" && member.instance !== this.#instance) {
      this.#logger.warn(
        `Process "${member.peer}" of the cluster has been silent for ${this.#expiryMs} ms: it counts as gone`,
      );
    }
    this.#tell((each) => each.left?.(member, why));
  }

  #holdersChanged(): void {
    for (const slots of this.#slots.values()) slots.update(this.#holders.entries());
    const holder = this.#holders.get(LEADER);
    const isSelf = this.leadership.isHeld;
    const peer = isSelf ? this.peer : holder?.owner === this.#instance ? undefined : holder?.peer;
    if (this.#leader?.peer === peer && (this.#leader?.isSelf ?? false) === isSelf) return;
    const leader = peer === undefined ? undefined : { peer, isSelf };
    this.#leader = leader;
    this.#tell((each) => each.leader?.(leader));
  }

  /** A listener that throws harms nobody else. */
  #tell(tell: (listener: MembershipListener) => void): void {
    for (const listener of [...this.#listeners]) {
      try {
        tell(listener);
      } catch (error) {
        this.#logger.error(`A listener of the cluster threw: ${messageOf(error)}`);
      }
    }
  }

  /** The same trouble is told once, not with every heartbeat. */
  #trouble(error: unknown): void {
    const message = messageOf(error);
    if (message === this.#lastTrouble || this.#ended.signal.aborted) return;
    this.#lastTrouble = message;
    this.#logger.warn(`Cannot keep in touch with the cluster, trying again: ${message}`);
  }
}

/** The plan without what belongs to this machine, secrets among it. */
function withoutPlaces(
  { cluster: _cluster, baseUrl: _baseUrl, checkpoint: _, ...plan }: Plan,
): Json {
  return plan as unknown as Json;
}

function randomName(): string {
  const machine = hostname().replace(/[^\w-]/g, "-").slice(0, 48) || "peer";
  return `${machine}-${crypto.randomUUID().slice(0, 8)}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
