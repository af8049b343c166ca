import assert from "node:assert/strict";
import fc from "fast-check";
import { MemoryKeyValue, type PendingCall } from "../tests/memory_key_value.ts";
import { Lease, type LeaseClock } from "./lease.ts";

const LEASE_MS = 100;

/** A clock that runs a bit too fast or too slow, and can be set. */
class TestClock implements LeaseClock {
  time = 0;
  wallOffset = 0;
  constructor(readonly speed: number = 1) {}

  monotonic(): number {
    return this.time * this.speed;
  }

  wall(): number {
    return this.time * this.speed + this.wallOffset;
  }
}

function candidate(
  store: Pick<MemoryKeyValue, "get" | "put">,
  owner: string,
  clock: LeaseClock,
  absentMs?: number,
) {
  return new Lease({
    store: store as MemoryKeyValue,
    key: "leader",
    owner,
    peer: owner,
    leaseMs: LEASE_MS,
    clock,
    ...(absentMs === undefined ? {} : { absentMs }),
  });
}

Deno.test("a lease that was never taken is taken after its time, or at once where that is allowed", async () => {
  const store = new MemoryKeyValue(), clock = new TestClock();
  const lease = candidate(store, "a", clock);
  assert.equal(await lease.step(), false);
  clock.time += LEASE_MS;
  assert.equal(await lease.step(), false);
  clock.time += 0.2 * LEASE_MS;
  assert.equal(await lease.step(), true);
  assert.equal(lease.token, 1);
  const other = new MemoryKeyValue();
  assert.equal(await candidate(other, "a", clock, 0).step(), true);
});

Deno.test("a holder keeps its lease and its token for as long as it renews", async () => {
  const store = new MemoryKeyValue(), clock = new TestClock();
  const holder = candidate(store, "a", clock, 0), other = candidate(store, "b", clock, 0);
  await holder.step();
  for (let turn = 0; turn < 20; turn++) {
    clock.time += LEASE_MS / 2;
    assert.deepEqual([await holder.step(), await other.step()], [true, false]);
    assert.equal(holder.token, 1);
  }
});

Deno.test("a lease passes on when its holder is silent, with a higher token", async () => {
  const store = new MemoryKeyValue(), clock = new TestClock();
  const holder = candidate(store, "a", clock, 0), other = candidate(store, "b", clock, 0);
  await holder.step();
  await other.step();
  clock.time += LEASE_MS;
  assert.equal(holder.isHeld, false);
  assert.equal(await other.step(), false);
  clock.time += 0.2 * LEASE_MS;
  assert.equal(await other.step(), true);
  assert.ok(other.token! > 1);
  assert.equal(await holder.step(), false);
});

Deno.test("a lease that is released passes on at once", async () => {
  const store = new MemoryKeyValue(), clock = new TestClock();
  const holder = candidate(store, "a", clock, 0), other = candidate(store, "b", clock);
  await holder.step();
  await other.step();
  await holder.release();
  assert.deepEqual([holder.isHeld, await other.step()], [false, true]);
});

Deno.test("a holder that cannot reach the store counts on its lease to its end, and not longer", async () => {
  const store = new MemoryKeyValue(), clock = new TestClock();
  const holder = candidate(store, "a", clock, 0);
  await holder.step();
  store.hold = (call) => call.fail();
  clock.time += LEASE_MS / 2;
  await assert.rejects(holder.step());
  assert.equal(holder.isHeld, true);
  assert.equal(holder.remainingMs, LEASE_MS / 2);
  clock.time += LEASE_MS / 2;
  assert.equal(holder.isHeld, false);
  assert.equal(holder.token, undefined);
});

Deno.test("a renewal whose answer was lost costs neither lease nor token", async () => {
  const store = new MemoryKeyValue(), clock = new TestClock();
  const holder = candidate(store, "a", clock, 0);
  await holder.step();
  store.hold = (call) => {
    call.apply();
    call.fail();
  };
  await assert.rejects(holder.step());
  store.hold = undefined;
  assert.equal(await holder.step(), true);
  assert.equal(holder.token, 1);
});

Deno.test("a machine that slept does not count on the lease it had", async () => {
  const store = new MemoryKeyValue(), clock = new TestClock();
  const holder = candidate(store, "a", clock, 0);
  await holder.step();
  // The wall clock has gone on, the other has stood still.
  clock.wallOffset += LEASE_MS;
  assert.equal(holder.isHeld, false);
});

type Command =
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "round" | "step"; readonly who: number }
  | { readonly kind: "apply" | "answer" | "fail"; readonly call: number }
  | { readonly kind: "wall"; readonly who: number; readonly ms: number }
  | { readonly kind: "release"; readonly who: number }
  | { readonly kind: "lose" };

const who = fc.nat(2);
const COMMAND: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 18,
    arbitrary: fc.record({ kind: fc.constant("pass"), ms: fc.integer({ min: 1, max: 60 }) }),
  },
  { weight: 24, arbitrary: fc.record({ kind: fc.constant("round"), who }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("step"), who }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("apply", "answer", "fail"),
      call: fc.nat(5),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("wall"),
      who,
      ms: fc.integer({ min: -500, max: 500 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("release"), who }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("lose") }) },
) as fc.Arbitrary<Command>;

Deno.test("never do two hold a lease at once, whatever is late, lost or stands still; tokens rise", async () => {
  let terms = 0, changes = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(COMMAND, { minLength: 50, maxLength: 300 }),
      fc.boolean(),
      async (commands, mayLose) => {
        const store = new MemoryKeyValue();
        const calls: { readonly who: number; readonly call: PendingCall }[] = [];
        let caller = -1;
        store.hold = (call) => calls.push({ who: caller, call });
        const as = <T>(who: number, work: () => T): T => {
          caller = who;
          return work();
        };
        const clocks = [0.96, 1, 1.04].map((speed) => new TestClock(speed));
        const leases = clocks.map((clock, index) =>
          candidate(
            {
              get: (key) => as(index, () => store.get(key)),
              put: (key, value, revision) => as(index, () => store.put(key, value, revision)),
            },
            "abc"[index]!,
            clock,
          )
        );
        const steps: (Promise<unknown> | undefined)[] = [];
        let highest = 0, last = -1;
        const settle = async () => {
          for (let turn = 0; turn < 6; turn++) await Promise.resolve();
        };
        // One call after another, as the rule is.
        const begin = (index: number, work: () => Promise<unknown>) => {
          steps[index] ??= work().catch(() => {}).finally(() => steps[index] = undefined);
        };
        const check = () => {
          const held = leases.flatMap(({ isHeld }, index) => isHeld ? [index] : []);
          assert.ok(held.length <= 1, `held by ${held}`);
          if (held.length === 0) return;
          const token = leases[held[0]!]!.token!;
          assert.ok(mayLose || token >= highest, `token ${token} after ${highest}`);
          if (token !== highest) terms++;
          if (last !== held[0] && last >= 0) {
            changes++;
            assert.ok(mayLose || token > highest, `token ${token} again`);
          }
          highest = token;
          last = held[0]!;
        };
        for (const command of commands) {
          switch (command.kind) {
            case "pass":
              // In small steps, to see also what holds but for a moment.
              for (let ms = 0; ms < command.ms; ms += 5) {
                for (const clock of clocks) clock.time += Math.min(5, command.ms - ms);
                check();
              }
              break;
            case "round":
              begin(command.who, () => leases[command.who]!.step());
              for (let turn = 0; turn < 4 && steps[command.who] !== undefined; turn++) {
                // The others' calls stay as late as they are.
                for (const each of calls.filter(({ who }) => who === command.who)) {
                  calls.splice(calls.indexOf(each), 1);
                  each.call.answer();
                }
                await settle();
              }
              break;
            case "step":
              begin(command.who, () => leases[command.who]!.step());
              break;
            case "release":
              begin(command.who, () => leases[command.who]!.release());
              break;
            case "wall":
              clocks[command.who]!.wallOffset += command.ms;
              break;
            case "lose":
              // Connections break first; some calls may have been done by then.
              for (const { call } of calls.splice(0)) call.fail();
              for (const lease of leases) lease.disconnected();
              if (mayLose) store.lose();
              break;
            default: {
              calls[command.call]?.call[command.kind]();
              if (command.kind !== "apply") calls.splice(command.call, 1);
            }
          }
          await settle();
          check();
        }
      },
    ),
    { numRuns: 1000 },
  );
  // Else the test has seen nothing.
  assert.ok(terms > 500 && changes > 100, `${terms} terms, ${changes} changes of the holder`);
});
