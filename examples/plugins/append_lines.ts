/**
 * A sink that appends rows to a file, a line of JSON each: `{"batch":3,"row":{"n":7}}`.
 *
 * It is idempotent by batch id. Each line says which batch it is of, so when a batch comes again after a
 * crash, its lines and a line that was cut short go first. Rows are on the disk when `addBatch` returns.
 *
 * It needs nothing of Millrace at run time; what is imported here are types, and these vanish.
 *
 * @module
 */
import type { Batch, SinkPlugin } from "@millrace/millrace";

interface AppendLinesOptions {
  readonly path: string;
}

const plugin: SinkPlugin<AppendLinesOptions> = {
  kind: "sink",
  name: "append_lines",
  summary: "Appends rows to a file as lines of JSON.",
  description: [
    "Idempotent: a batch that comes again takes the place of its first copy. Timestamps are ISO 8601",
    "text, binary is base64.",
    "",
    "Batches are told apart by their ids, which begin at 0 where a query has no checkpoint: without one,",
    "a new run replaces the lines of the run before.",
  ].join("\n"),
  options: (v) =>
    v.strictObject({
      path: v.pipe(
        v.pipe(v.string(), v.nonEmpty()),
        v.description("File to append to, relative to the config."),
      ),
    }),
  examples: [{ title: "A file beside the config", options: { path: "./ticks.jsonl" } }],
  create: ({ path }, { baseUrl }) => {
    let file: Deno.FsFile | undefined;
    /** The newest batch in the file, and the length of its whole lines. */
    let last = -1, end = 0;
    return {
      open: async () => {
        file = await Deno.open(new URL(path, baseUrl), { read: true, write: true, create: true });
        ({ last, end } = await scan(file, Infinity));
      },
      addBatch: async (batchId, batch) => {
        if (batch.numRows === 0) return;
        // Read from the file only when the batch is there already.
        if (batchId <= last) ({ end } = await scan(file!, batchId));
        const bytes = new TextEncoder().encode(linesOf(batchId, batch));
        await file!.truncate(end);
        await file!.seek(end, Deno.SeekMode.Start);
        for (let at = 0; at < bytes.length;) at += await file!.write(bytes.subarray(at));
        await file!.syncData();
        last = batchId;
        end += bytes.length;
      },
      close: () => {
        file?.close();
        file = undefined;
      },
    };
  },
};
export default plugin;

/** Reads the whole lines of batches before one: which the newest is, and where they end. */
async function scan(file: Deno.FsFile, before: number): Promise<{ last: number; end: number }> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(65_536);
  let last = -1, end = 0, rest: number[] = [];
  await file.seek(0, Deno.SeekMode.Start);
  for (;;) {
    const length = await file.read(chunk);
    if (length === null) return { last, end };
    let start = 0;
    for (;;) {
      const stop = chunk.subarray(0, length).indexOf(NEWLINE, start);
      if (stop < 0) break;
      const line = decoder.decode(Uint8Array.from([...rest, ...chunk.subarray(start, stop)]));
      const batch = batchOf(line);
      if (batch >= before) return { last, end };
      last = batch;
      end += rest.length + stop + 1 - start;
      rest = [];
      start = stop + 1;
    }
    rest.push(...chunk.subarray(start, length));
  }
}

const NEWLINE = 10;

function batchOf(line: string): number {
  const found = /^\{"batch":(\d+),/.exec(line);
  if (found !== null) return Number(found[1]);
  throw new Error(
    `Cannot append to the file: it has a line ${JSON.stringify(line.slice(0, 40))}, ` +
      'wanted lines that begin with {"batch":',
  );
}

function linesOf(batchId: number, batch: Batch): string {
  const times = batch.schema.fields.filter(({ type }) => type === "timestamp");
  return batch.rows().map((row) => {
    for (const { name } of times) {
      const ms = row[name];
      if (typeof ms === "number") row[name] = new Date(ms).toISOString();
    }
    return `${JSON.stringify({ batch: batchId, row }, plain)}\n`;
  }).join("");
}

/** What JSON has no word for. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") {
    return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  }
  if (value instanceof Uint8Array) {
    return btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join(""));
  }
  return ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<unknown>) : value;
}
