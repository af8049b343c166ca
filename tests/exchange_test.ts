/**
 * Rows that move between partitions, and replies that find their way back.
 *
 * @module
 */
import assert from "node:assert/strict";
import { makePlan } from "../engine/make_plan.ts";
import { StreamingQuery } from "../engine/query.ts";
import { builtins } from "../plugins/builtins.ts";
import type { Json } from "../plugins/contract.ts";
import { Registry } from "../plugins/registry.ts";
import { KeyHasher } from "../engine/key_hash.ts";
import { Gate } from "./gate.ts";
import { newHost, post } from "./with_service.ts";

type Uses = readonly Record<string, Json>[];

/** A service in which each partition has a port, run for a test. */
async function serving(
  { transforms, partitions = 3, source = "distributed_http", engine = {}, plugins = [] }: {
    readonly transforms: Uses;
    readonly partitions?: number;
    readonly source?: "http" | "distributed_http";
    readonly engine?: Record<string, Json>;
    readonly plugins?: readonly string[];
  },
  test: (urls: readonly string[], query: StreamingQuery) => Promise<void>,
): Promise<void> {
  const own = source === "http" ? {} : { shared: false, maxAttempts: 100 };
  const plan = await makePlan({
    name: "api",
    source: { name: source, options: { host: "127.0.0.1", port: 0, name: "api", ...own } },
    transforms: transforms.map((use) => {
      const [name, options] = Object.entries(use)[0]!;
      return { name, options };
    }),
    sink: { name: "http", options: { name: "api", replyCol: "reply" } },
    engine: { partitions, ...engine },
    plugins,
    baseUrl: new URL(".", import.meta.url).href,
  }, new Registry(builtins));
  const query = new StreamingQuery("api", plan, newHost());
  await query.ready;
  try {
    await test(query.services().map(({ url }) => url), query);
  } finally {
    await query.stop();
  }
}

/** `key/rest` in, `key/rest=count so far of the key` out. */
const RUNNING_COUNT: Uses = [
  { with_column: { key: "split(value, '/')[0]" } },
  { repartition: { keys: ["key"] } },
  { map_batches: { module: "./modules/running_count.ts" } },
  { with_column: { reply: "concat(value, '=', count)" } },
];

const KEYS = Array.from({ length: 12 }, (_, at) => `key${at}`);

/** Each key's requests one after another, each to the next partition; all keys at once. */
async function countAll(urls: readonly string[]): Promise<string[][]> {
  return await Promise.all(KEYS.map(async (key, first) => {
    const replies: string[] = [];
    for (let at = 0; at < 20; at++) {
      const { status, text } = await post(urls[(first + at) % urls.length]!, `${key}/${at}`);
      replies.push(`${status} ${text}`);
    }
    return replies;
  }));
}

Deno.test("a count by key gives each caller its own, right reply, whichever partition took it", async () => {
  const wanted = KEYS.map((key) =>
    Array.from({ length: 20 }, (_, at) => `200 ${key}/${at}=${at + 1}`)
  );
  for (const partitions of [1, 3]) {
    for (const source of ["distributed_http", "http"] as const) {
      await serving({ transforms: RUNNING_COUNT, partitions, source }, async (urls) => {
        assert.deepEqual(await countAll(urls), wanted);
      });
    }
  }
});

/** Where the rows of a key go. */
function placeOf(key: string, partitions: number = 3): number {
  return new KeyHasher().hash([{ type: "string", data: [key] }], 1)[0]! % partitions;
}

/** Some key whose rows go to a partition. */
function keyOf(partition: number, partitions: number = 3): string {
  return KEYS.find((key) => placeOf(key, partitions) === partition)!;
}

const SOURCES = ["distributed_http", "http"] as const;

Deno.test("a count by key over three peers is that of a single process", async () => {
  const transforms = [
    ...RUNNING_COUNT,
    { with_column: { reply: "concat(reply, ' in ', place)" } },
  ];
  const engine = { peers: 3 };
  await serving({ transforms, engine, partitions: 1 }, async (urls, query) => {
    assert.equal(new Set(query.services().map(({ peer }) => peer)).size, 3);
    const wanted = KEYS.map((key) =>
      Array.from({ length: 20 }, (_, at) => `200 ${key}/${at}=${at + 1} in ${placeOf(key)}/0`)
    );
    assert.deepEqual(await countAll(urls), wanted);
  });
});

Deno.test("rows of a key meet in the partition that the hash says, for any caller", async () => {
  const transforms = [...RUNNING_COUNT, { with_column: { reply: "place" } }];
  for (const source of SOURCES) {
    await serving({ transforms, source }, async (urls) => {
      const places = await Promise.all(
        KEYS.flatMap((key) => urls.map(async (url) => [key, (await post(url, key)).text])),
      );
      for (const [key, place] of places) assert.equal(place, `0/${placeOf(key!)}`, key);
    });
  }
});

Deno.test("rows that are dropped, answered early, failed or multiplied elsewhere get one reply each", async () => {
  const transforms: Uses = [
    { with_column: { key: "split(value, '/')[0]" } },
    { repartition: { keys: ["value"] } },
    { filter: "key <> 'drop'" },
    { send_reply: { when: "key = 'early'", statusCode: 422, entity: "concat('no ', value)" } },
    { map_batches: { module: "./modules/refuse_bad.ts" } },
    { with_column: { items: "split(value, '/')" } },
    { explode: { column: "items" } },
    // By item: the copies of a row part, and meet copies of others.
    { repartition: { keys: ["items"] } },
    { repartition: {} },
    { with_column: { reply: "concat(items, ' of ', value)" } },
  ];
  for (const source of SOURCES) {
    await serving({ transforms, source }, async (urls) => {
      const kinds = ["drop", "early", "bad", "good"];
      await Promise.all(Array.from({ length: 240 }, async (_, at) => {
        const kind = kinds[at % kinds.length]!;
        const value = `${kind}/${at}/x`;
        const { status, text } = await post(urls[at % urls.length]!, value);
        const wanted: Record<string, readonly [number, RegExp]> = {
          drop: [404, /./],
          early: [422, new RegExp(`^no ${value}$`)],
          bad: [500, /map_batches: I refuse bad ones/],
          good: [200, new RegExp(`^(good|${at}|x) of ${value}$`)],
        };
        assert.equal(status, wanted[kind]![0], `${value}: ${text}`);
        assert.match(text, wanted[kind]![1]);
      }));
    });
  }
});

Deno.test("callers of rows that are lost with a partition get 503 at once, the others their replies", async () => {
  await using gate = new Gate();
  const transforms = [
    { with_column: { key: "split(value, '/')[0]" } },
    { repartition: { keys: ["key"] } },
    gate.transform,
    ...RUNNING_COUNT.slice(2),
  ];
  await serving({ transforms, plugins: ["./plugins/gate.ts"] }, async (urls, query) => {
    const lost = post(urls[0]!, `${keyOf(1)}/a`);
    const kept = post(urls[0]!, `${keyOf(2)}/b`);
    await gate.rows(2);
    query.replacePartition(1);
    // The gate is shut: no other than the loss can answer this.
    const { status, text, headers } = await lost;
    assert.deepEqual([status, headers.get("retry-after")], [503, "1"], text);
    assert.match(text, /The partition that had the request was lost: try again later/);
    gate.open();
    assert.equal((await kept).text, `${keyOf(2)}/b=1`);
    // The successor counts from the beginning.
    for (;;) {
      const { status, text } = await post(urls[0]!, `${keyOf(1)}/c`);
      if (status === 503) continue;
      assert.equal(text, `${keyOf(1)}/c=1`);
      break;
    }
  });
});

Deno.test("with a head, rows of a worker that dies are done again by its successor", async () => {
  await using gate = new Gate();
  const transforms = [
    { with_column: { key: "split(value, '/')[0]" } },
    { repartition: { keys: ["key"] } },
    gate.transform,
    ...RUNNING_COUNT.slice(2),
    { with_column: { reply: "concat(reply, ' in ', place)" } },
  ];
  await serving(
    { transforms, source: "http", plugins: ["./plugins/gate.ts"] },
    async (urls, query) => {
      const key = keyOf(1);
      const replies = [post(urls[0]!, `${key}/a`)];
      await gate.rows(1);
      replies.push(post(urls[0]!, `${key}/b`));
      query.replacePartition(1);
      gate.open();
      const texts = await Promise.all(replies.map(async (reply) => (await reply).text));
      assert.deepEqual(texts, [`${key}/a=1 in 0/1`, `${key}/b=2 in 0/1`]);
    },
  );
});

Deno.test("a partition is replaced over and over under load, and every request gets its reply", async () => {
  await serving({ transforms: RUNNING_COUNT }, async (urls, query) => {
    const survivors = [urls[0]!, urls[2]!];
    let stopped = false, slowest = 0;
    const counts = new Map<number, number>();
    const callers = Array.from({ length: 24 }, async (_, caller) => {
      for (let at = 0; !stopped; at++) {
        const value = `${KEYS[(caller + at) % KEYS.length]}/${caller}-${at}`;
        const began = performance.now();
        const { status, text } = await post(survivors[at % 2]!, value);
        slowest = Math.max(slowest, performance.now() - began);
        counts.set(status, (counts.get(status) ?? 0) + 1);
        if (status === 200) assert.ok(text.startsWith(`${value}=`), text);
        else assert.equal(status, 503, text);
      }
    });
    const done = Promise.all(callers);
    for (let times = 0; times < 4; times++) {
      query.replacePartition(1);
      while (query.services().length < 3) await Promise.race([done, post(survivors[0]!, "key0")]);
    }
    stopped = true;
    await done;
    assert.equal(query.status.workerRestarts, 4);
    assert.ok(counts.get(200)! > 100, `${[...counts]}`);
    assert.ok(slowest < 5_000, `the slowest took ${slowest} ms`);
  });
});

Deno.test("what is too much for a destination gets 503, and nothing that was taken is lost", async () => {
  await using gate = new Gate();
  const transforms = [
    { with_column: { reply: "concat(value, '!')" } },
    { repartition: { keys: ["'all'"], partitions: 2 } },
    gate.transform,
  ];
  const engine = { maxQueueSize: 4 };
  await serving(
    { transforms, engine, partitions: 2, plugins: ["./plugins/gate.ts"] },
    async (urls) => {
      const other = urls[1 - placeOf("all", 2)]!;
      let refused = 0;
      const enough = Promise.withResolvers<void>();
      const calls = Array.from({ length: 12 }, async (_, at) => {
        const { status, text, headers } = await post(other, `${at}`);
        if (status === 200) return assert.equal(text, `${at}!`);
        assert.deepEqual([status, headers.get("retry-after")], [503, "1"]);
        assert.match(text, /Too many requests wait/);
        if (++refused === 8) enough.resolve();
      });
      await enough.promise;
      gate.open();
      await Promise.all(calls);
      assert.ok(refused >= 8 && refused < 12, `${refused} of 12 were refused`);
      assert.equal((await post(other, "after")).text, "after!");
    },
  );
});

Deno.test("a stop waits for rows that are elsewhere", async () => {
  for (const source of SOURCES) {
    await using gate = new Gate();
    const transforms = [
      { with_column: { reply: "value" } },
      { repartition: { keys: ["value"] } },
      gate.transform,
    ];
    await serving({ transforms, source, plugins: ["./plugins/gate.ts"] }, async (urls, query) => {
      const calls = KEYS.map((key) => post(urls[0]!, key));
      await gate.rows(1);
      const stopping = query.stop();
      gate.open();
      const replies = await Promise.all(calls);
      // Those that had not come in yet are refused.
      for (const [at, { status, text }] of replies.entries()) {
        assert.ok(status === 503 || text === KEYS[at], text);
      }
      for (const key of gate.arrived) assert.equal(replies[KEYS.indexOf(key)]!.status, 200, key);
      await stopping;
    });
  }
});
