/** One server of the reference; several share a port. */
export function serve(port: number): void {
  Deno.serve(
    { hostname: "127.0.0.1", port, reusePort: true, onListen: () => {} },
    async (request) => new Response(String((await request.text()).length)),
  );
}

// In a worker the port comes as a message.
self.addEventListener("message", (event) => serve((event as MessageEvent<number>).data));
