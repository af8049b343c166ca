/**
 * Appends a line `batchId,value,value...` a row to a file, idempotently: what is there of the batch, or
 * after it, goes first. It says how far it is on stdout, so that a test can choose its moment.
 *
 * @module
 */
import type { SinkPlugin } from "../../plugins/contract.ts";

const plugin: SinkPlugin<{ readonly path: string }> = {
  kind: "sink",
  name: "append_file",
  summary: "Appends rows to a file.",
  options: (v) => v.strictObject({ path: v.string() }),
  create: ({ path }) => ({
    addBatch: (batchId, batch) => {
      console.log(`add ${batchId}`);
      const encoder = new TextEncoder();
      using file = Deno.openSync(path, { read: true, write: true, create: true });
      const text = Deno.readTextFileSync(path);
      let kept = 0;
      for (const [line] of text.matchAll(/[^\n]*\n/g)) {
        if (Number(line.slice(0, line.indexOf(","))) >= batchId) break;
        kept += line.length;
      }
      file.truncateSync(kept);
      file.seekSync(kept, Deno.SeekMode.Start);
      const lines = batch.rows().map((row) => `${batchId},${Object.values(row).join(",")}\n`).join(
        "",
      );
      const bytes = encoder.encode(lines);
      const middle = bytes.length >> 1;
      file.writeSync(bytes.subarray(0, middle));
      console.log(`half ${batchId}`);
      file.writeSync(bytes.subarray(middle));
      console.log(`added ${batchId}`);
    },
  }),
};
export default plugin;
