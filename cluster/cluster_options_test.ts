import assert from "node:assert/strict";
import * as v from "valibot";
import { parseConfig } from "../engine/config.ts";
import { makePlan, type PlanDraft } from "../engine/make_plan.ts";
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";
import { CLUSTER_SCHEMA, expiryOf, mapFiles } from "./cluster_options.ts";

function read(cluster: string, env: Record<string, string> = {}) {
  const text = `services:
  - name: api
    source: distributed_http
    sink: { http: { replyCol: value } }
cluster: ${cluster}
`;
  return parseConfig(text, "/configs/c.yaml", { env: (name) => env[name] });
}

Deno.test("a cluster needs a name; the rest has defaults", () => {
  const options = v.parse(CLUSTER_SCHEMA, { nats: { name: "a" } });
  assert.deepEqual(options, {
    nats: { name: "a", servers: ["127.0.0.1:4222"] },
    heartbeatMs: 1000,
  });
  assert.equal(expiryOf(options), 5000);
  assert.equal(expiryOf({ ...options, expiryMs: 4000 }), 4000);
});

const BAD: Readonly<Record<string, string>> = {
  "[]": 'Cannot use [] for "cluster": wanted {nats: {name, servers}}',
  "{ nats: {} }": 'Missing option "cluster.nats.name": wanted string',
  "{ nats: { nmae: a, name: b } }":
    'Unknown option "cluster.nats.nmae": did you mean "name"? Known: "name", "servers", ' +
    '"credentials", "user", "password", "token", "tls", "replicas"',
  "{ nats: { name: a b } }":
    'Cannot use "a b" for "cluster.nats.name": wanted 1 to 64 letters, digits, _ or -',
  "{ nats: { name: a, servers: ['http://h'] } }":
    'Cannot use "http://h" for "cluster.nats.servers[0]": wanted "host:port", ' +
    '"nats://host:port" or "tls://host:port"',
  "{ nats: { name: a, servers: ['u:secret@h:1'] } }":
    'Cannot use "...@h:1" for "cluster.nats.servers[0]": wanted "host:port", ' +
    '"nats://host:port" or "tls://host:port"',
  "{ nats: { name: a, password: secret } }":
    'Cannot use ["name","servers","password"] for "cluster.nats": wanted "user" and "password", ' +
    "or neither",
  "{ nats: { name: a, token: secret, credentials: f } }":
    'Cannot use ["name","servers","credentials","token"] for "cluster.nats": wanted one of ' +
    '"credentials", "user" and "token"',
  "{ nats: { name: a, tls: { cert: f } } }":
    'Cannot use ["name","servers","tls"] for "cluster.nats": wanted "tls.cert" and "tls.key", ' +
    "or neither",
  "{ nats: { name: a, replicas: 9 } }":
    'Cannot use 9 for "cluster.nats.replicas": wanted at most 5',
  "{ nats: { name: a }, heartbeatMs: 1000, expiryMs: 2000 }":
    'Cannot use ["nats","heartbeatMs","expiryMs"] for "cluster": wanted an "expiryMs" of three ' +
    'times "heartbeatMs" at least',
};

for (const [cluster, message] of Object.entries(BAD)) {
  Deno.test(`cluster: ${cluster} is refused`, () => {
    assert.deepEqual(read(cluster).problems.map((problem) => problem.message), [message]);
  });
}

Deno.test("a config gives its cluster to all its services, filled in from the environment", async () => {
  const config = read(
    "{ nats: { name: '${CLUSTER:prod}', credentials: ./my.creds, tls: { ca: /etc/ca.pem } } }",
    { CLUSTER: "test" },
  );
  assert.deepEqual(config.problems, []);
  const plan = await makePlan(config.drafts[0]!, new Registry(builtins));
  assert.deepEqual(plan.cluster?.nats, {
    name: "test",
    servers: ["127.0.0.1:4222"],
    credentials: "/configs/my.creds",
    tls: { ca: "/etc/ca.pem" },
  });
});

Deno.test("a service in a cluster has its source in the partitions", async () => {
  const draft: PlanDraft = {
    ...read("{ nats: { name: a } }").drafts[0]!,
    source: {
      name: "http",
      options: {},
    },
  };
  await assert.rejects(makePlan(draft, new Registry(builtins)), {
    message: 'Cannot run source "http" in cluster "a": it lives on the head; use a source that ' +
      'lives in the partitions, such as "distributed_http", or leave "cluster" out',
    path: ["source", "http"],
  });
});

Deno.test("only files are changed by mapFiles", () => {
  const options = v.parse(CLUSTER_SCHEMA, {
    nats: { name: "a", credentials: "c", tls: { ca: "ca", cert: "cert", key: "key" } },
  });
  assert.deepEqual(mapFiles(options, (file) => `/x/${file}`).nats, {
    ...options.nats,
    credentials: "/x/c",
    tls: { ca: "/x/ca", cert: "/x/cert", key: "/x/key" },
  });
});
