/**
 * The hello-world service as a program: the reply to a request is the length of its body.
 *
 * `deno run -A examples/hello.ts`, then `curl -d 'hello world' http://localhost:8888/my_api`
 *
 * @module
 */
import { col, length, session } from "../mod.ts";
const query = session.readStream.format("http").option("host", "localhost")
  .option("port", Number(Deno.env.get("PORT") ?? 8888)).option("name", "my_api").load()
  .withColumn("newCol", length(col("value")))
  .writeStream.format("http").option("name", "my_api").queryName("my_query")
  .option("replyCol", "newCol")
  .option("checkpointLocation", "./checkpoints/my_query").start();
await query.ready;
for (const { url } of query.services()) console.log(`Ready at ${url}`);
await query.awaitTermination();
