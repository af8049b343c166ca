import assert from "node:assert/strict";
import { HttpConnection, textOf } from "./http_client.ts";
import { replyTo } from "./plugins/checksum.ts";
import { withService } from "./with_service.ts";

const REQUESTS = Number(Deno.env.get("MILLRACE_STRESS_REQUESTS") ?? 200_000);
const CONNECTIONS = 64;

/** Random text of a length that is mostly small; a part of what was random once, which costs little. */
const text = randomText(65_536);

function randomText(length: number): string {
  const bytes = new Uint8Array(length);
  crypto.getRandomValues(bytes);
  // Of one, two, three and four bytes in UTF-8.
  const alphabet = [...'abcdefghijklmnopqrstuvwxyz0123456789 \n\0"éßж漢字🦀'];
  return Array.from(bytes, (byte) => alphabet[byte % alphabet.length]!).join("").toWellFormed();
}

function body(count: number): string {
  const dice = Math.random();
  const length = Math.floor(dice < 0.9 ? dice * 200 : dice < 0.99 ? dice * 2_000 : dice * 20_000);
  const start = Math.floor(Math.random() * (text.length - length));
  return `${count} ${text.slice(start, start + length).toWellFormed()}`;
}

Deno.test(`${REQUESTS} requests: each caller gets its own reply, while workers are killed`, async () => {
  const setup = {
    plugins: ["checksum"],
    transforms: [{ checksum: {} }],
    sink: { replyCol: "reply" },
    engine: { partitions: 2 },
  };
  await withService(setup, async ({ url, query }) => {
    const connections = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => HttpConnection.open(url)),
    );
    let kills = 0;
    const killer = setInterval(() => query.replacePartition(kills++ % 2), 1000);
    const began = performance.now();
    let sent = 0, answered = 0;
    try {
      await Promise.all(connections.map(async (connection) => {
        while (sent < REQUESTS) {
          const given = body(sent++);
          const answer = await connection.post(given);
          if (answer.status !== 200 || textOf(answer) !== replyTo(given)) {
            assert.fail(
              `${JSON.stringify(given.slice(0, 100))} got ${answer.status} ${textOf(answer)}, ` +
                `wanted ${replyTo(given)}`,
            );
          }
          answered++;
        }
      }));
    } finally {
      clearInterval(killer);
      for (const connection of connections) connection.close();
    }
    const seconds = (performance.now() - began) / 1000;
    await query.processAllAvailable();
    assert.equal(answered, REQUESTS);
    assert.equal(query.status.isDataAvailable, false);
    console.log(
      `${REQUESTS} requests in ${seconds.toFixed(1)} s: ${
        Math.round(REQUESTS / seconds)
      } a second, ` +
        `${query.status.workerRestarts} workers replaced`,
    );
    // A short run may end before the first one is killed.
    if (seconds > 2) assert.ok(query.status.workerRestarts > 0);
  });
});
