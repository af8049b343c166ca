import assert from "node:assert/strict";
import type { Reply } from "../plugins/contract.ts";
import { QueryReplies, Replies } from "./replies.ts";

const REPLY: Reply = { status: 200, body: "yes" };

/** An answer that notes down what it is asked. */
function answer(asked: string[], name: string) {
  return (id: string) => asked.push(`${name} ${id}`) > 0;
}

Deno.test("a reply goes to the service that was claimed, once there is one", () => {
  const replies = new Replies();
  const asked: string[] = [];
  const source = new QueryReplies(replies), sink = new QueryReplies(replies);
  const send = sink.claim("api");
  assert.equal(send("1", REPLY), false);
  const withdraw = source.offer("api", answer(asked, "api"));
  assert.equal(send("2", REPLY), true);
  withdraw();
  assert.equal(send("3", REPLY), false);
  assert.deepEqual(asked, ["api 2"]);
});

Deno.test("without a name a reply goes to the query's own source", () => {
  const replies = new Replies();
  const asked: string[] = [];
  const [one, other] = [new QueryReplies(replies), new QueryReplies(replies)];
  const sends = [one.claim(), other.claim()];
  one.offer("one", answer(asked, "one"));
  other.offer("other", answer(asked, "other"));
  for (const send of sends) assert.equal(send("1", REPLY), true);
  assert.deepEqual(asked, ["one 1", "other 1"]);
});

Deno.test("a name is taken until its offer is taken back, and by nobody else", () => {
  const replies = new Replies();
  const asked: string[] = [];
  const withdraw = replies.offer("api", answer(asked, "first"));
  assert.throws(
    () => replies.offer("api", answer(asked, "second")),
    /^PlanError: Cannot serve "api": a service of this name is running; stop it or change http\.name$/,
  );
  withdraw();
  replies.offer("api", answer(asked, "third"));
  withdraw();
  assert.equal(replies.claim("api")("1", REPLY), true);
  assert.deepEqual(asked, ["third 1"]);
});

Deno.test("a source can tell whether any sink will answer", () => {
  const replies = new Replies();
  const [one, other] = [new QueryReplies(replies), new QueryReplies(replies)];
  assert.equal(one.isClaimed("api"), false);
  other.claim("api");
  assert.equal(one.isClaimed("api"), true);
  assert.equal(one.isClaimed("another"), false);
  one.claim();
  assert.equal(one.isClaimed("another"), true);
  assert.equal(other.isClaimed("another"), false);
});
