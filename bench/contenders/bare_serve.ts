/**
 * The reference: what Deno itself does with a request when nothing is in between.
 * Arguments: port, number of workers that share it (default 1).
 */
const [port, workers = "1"] = Deno.args;

if (Number(workers) > 1) {
  for (let index = 0; index < Number(workers); index++) {
    new Worker(new URL("./bare_worker.ts", import.meta.url), { type: "module" })
      .postMessage(Number(port));
  }
} else {
  const { serve } = await import("./bare_worker.ts");
  serve(Number(port));
}
