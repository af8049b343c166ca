/**
 * A query with a checkpoint, to be killed; see `checkpoint_query_test.ts`.
 *
 * @module
 */
import { session } from "../engine/session.ts";

const [directory, numRows] = Deno.args as [string, string];
const plugin = (name: string) => new URL(`plugins/${name}.ts`, import.meta.url).href;

console.log("start");
const query = session.readStream.format("numbers").option("numRows", Number(numRows))
  .plugin(plugin("numbers")).plugin(plugin("append_file")).option("partitions", 2).load()
  .withColumn("twice", "n * 2")
  .writeStream.format("append_file").option("path", `${directory}/rows.csv`)
  .option("checkpointLocation", `${directory}/checkpoint`).queryName("killed").start();
await query.ready;
console.log(`ready ${query.id}`);
await query.awaitTermination();
console.log("end");
