/**
 * The reference: what Deno itself does with a request when nothing is in between.
 * Port in the first argument.
 */
Deno.serve(
  { hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen: () => {} },
  async (request) => new Response(String((await request.text()).length)),
);
