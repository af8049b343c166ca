import assert from "node:assert/strict";
import { LiveEntries } from "./live_entries.ts";

const TTL_MS = 100;

/** Entries under test, with a clock of this process and one of the servers. */
function setUp() {
  const clock = { own: 0, server: 1_000_000 };
  const events: string[] = [];
  const live = new LiveEntries<string>(TTL_MS, () => clock.own, {
    joined: (key) => events.push(`${key} joined`),
    changed: (key, value, before) => events.push(`${key} ${before} to ${value}`),
    left: (key, _, why) => events.push(`${key} left ${why}`),
  });
  let revision = 0;
  return {
    live,
    clock,
    /** What has happened since the last time. */
    events: () => events.splice(0),
    write(key: string, value: string = "v", created: number = clock.server): void {
      live.set({ key, revision: ++revision, created }, value);
    },
    remove(key: string): void {
      live.delete({ key, revision: ++revision, created: clock.server });
    },
    pass(ms: number): void {
      clock.own += ms;
      clock.server += ms;
    },
  };
}

Deno.test("the first snapshot tells who is alive, by the servers' clock, and who is not", () => {
  const { live, write, clock, events } = setUp();
  write("dead", "v", clock.server - TTL_MS - 1);
  write("late", "v", clock.server - TTL_MS);
  write("self");
  assert.deepEqual(events(), []);
  assert.deepEqual(live.synced(), [{ key: "dead", revision: 1 }]);
  assert.deepEqual(events(), ["late joined", "self joined"]);
});

Deno.test("entries join, change, are deleted", () => {
  const { live, write, remove, events } = setUp();
  live.synced();
  write("a", "1");
  write("a", "2");
  remove("a");
  remove("a");
  assert.deepEqual(events(), ["a joined", "a 1 to 2", "a left deleted"]);
});

Deno.test("one that is silent while others are heard leaves, with its last revision", () => {
  const { live, write, pass, events } = setUp();
  write("a");
  write("self");
  live.synced();
  events();
  for (let turn = 0; turn < 5; turn++) {
    pass(TTL_MS / 5);
    write("self");
    assert.deepEqual(live.expire(), []);
  }
  pass(1);
  write("self");
  assert.deepEqual(live.expire(), [{ key: "a", revision: 1 }]);
  assert.equal(live.get("a"), undefined);
  assert.ok(events().includes("a left silent"));
});

Deno.test("nobody leaves while nothing is heard at all, nor at the first word after it", () => {
  const { live, write, pass, events } = setUp();
  write("a");
  write("self");
  live.synced();
  events();
  pass(10 * TTL_MS);
  assert.deepEqual(live.expire(), []);
  // The watch was behind: the own heartbeat comes first, the other's is on its way.
  write("self");
  assert.deepEqual(live.expire(), []);
  write("a");
  assert.deepEqual(live.expire(), []);
  assert.deepEqual(events(), ["self v to v", "a v to v"]);
});

Deno.test("after a restart all that is not told any more has left, and the rest has its time", () => {
  const { live, write, pass, events } = setUp();
  write("a");
  write("b");
  write("self");
  live.synced();
  events();
  pass(10 * TTL_MS);
  live.restart();
  assert.deepEqual(live.expire(), []);
  // The bucket was made anew: revisions begin anew as well.
  live.set({ key: "self", revision: 1, created: 2_000_000 }, "v");
  live.set({ key: "a", revision: 2, created: 1_000_000 }, "v");
  live.synced();
  assert.deepEqual(events(), ["self v to v", "a v to v", "b left deleted"]);
  assert.deepEqual(live.expire(), []);
  pass(TTL_MS + 1);
  live.set({ key: "self", revision: 3, created: 2_000_101 }, "v");
  pass(TTL_MS / 3);
  live.set({ key: "self", revision: 4, created: 2_000_133 }, "v");
  assert.deepEqual(live.entries().map(([key]) => key).toSorted(), ["a", "self"]);
  for (let turn = 0; turn < 4; turn++) {
    pass(TTL_MS / 3);
    live.set({ key: "self", revision: 5 + turn, created: 2_000_166 + turn }, "v");
  }
  assert.deepEqual(live.expire().map(({ key }) => key), ["a"]);
});
