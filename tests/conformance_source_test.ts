import assert from "node:assert/strict";
import { builtins } from "../plugins/builtins.ts";
import type { Plugin, SourcePlugin } from "../plugins/contract.ts";
import { dropMemoryStream, memoryStream } from "../sources/memory.ts";
import { checkEntry } from "./conformance_description.ts";
import { conformSource, type SourceCase } from "./conformance_source.ts";

/** A case of `rate`, under a clock that goes when it is told to. */
function rateCase(title: string, options: { rowsPerSecond: number; numRows?: number }): SourceCase {
  const now = Date.now;
  let time = 1_700_000_000_000;
  return {
    title,
    options,
    before: () => void (Date.now = () => time),
    advance: () => void (time += 700),
    after: () => void (Date.now = now),
  };
}

const EVERY_TYPE =
  "s string, i int, l bigint, f float, d double, b boolean, t timestamp, y binary, " +
  "p struct<q: int>, a array<string>";

const cases: Readonly<Record<string, readonly SourceCase[]>> = {
  http: [
    { title: "a free port", options: { port: 0, host: "127.0.0.1", name: "api" } },
  ],
  distributed_http: [
    { title: "a shared port", options: { port: 0, host: "127.0.0.1", name: "api" } },
    { title: "a port of its own", options: { port: 0, host: "127.0.0.1", shared: false } },
  ],
  memory: [
    {
      title: "rows of every type",
      options: {
        schema: EVERY_TYPE,
        rows: [
          {},
          {
            s: "x",
            i: -1,
            l: 2 ** 40,
            f: 0.5,
            d: 0.1,
            b: true,
            t: "2024-05-06T07:08:09Z",
            y: "AAH/",
            p: { q: 1 },
            a: ["u", null],
          },
        ],
      },
    },
    {
      title: "rows that are added",
      options: { schema: "n int", rows: [{ n: -1 }], name: "conformance" },
      before: () => dropMemoryStream("conformance"),
      advance: () => {
        const stream = memoryStream("conformance");
        stream.addData({ n: stream.length }, { n: stream.length + 1 });
      },
      after: () => dropMemoryStream("conformance"),
    },
  ],
  rate: [
    rateCase("a few a second", { rowsPerSecond: 3 }),
    rateCase("an end", { rowsPerSecond: 10, numRows: 20 }),
    rateCase("an odd pace", { rowsPerSecond: 7.3 }),
  ],
};

for (const entry of builtins.filter(({ kind }) => kind === "source")) {
  Deno.test(`the ${entry.name} source keeps its promises`, async (t) => {
    const plugin = (await entry.load()).default as SourcePlugin;
    checkEntry(entry, plugin as Plugin);
    assert.ok(cases[entry.name], "every built-in source has a case");
    await conformSource(t, plugin, cases[entry.name]!);
  });
}
