import assert from "node:assert/strict";
import { builtins } from "../plugins/builtins.ts";
import { call, PLUGIN, withFiles } from "./test_io.ts";

Deno.test("describe tells options, aliases and examples of an outside plugin", async () => {
  await withFiles({ "shout.js": PLUGIN }, async (path) => {
    const { stdout } = await call(["describe", "Shout", "--plugin", path("shout.js")]);
    assert.equal(
      stdout,
      [
        "shout (transform)",
        "Makes text loud.",
        "",
        "Aliases:",
        "  Shout",
        "",
        "Options:",
        "  Name    Type    Default     Description",
        "  column  string  (required)  Column to change.",
        "",
        "# The body",
        "transforms:",
        "  - shout:",
        "      column: value",
        "",
      ].join("\n"),
    );
  });
});

Deno.test("describe shows both plugins of a name, or the one of a kind", async () => {
  const both = (await call(["describe", "http"])).stdout;
  assert.match(both, /^http \(source\)$/m);
  assert.match(both, /^http \(sink\)$/m);
  assert.match(both, /^ {2}port +integer, 0 to 65535 +8888 +Port to bind/m);
  assert.match(both, /^ {2}droppedReply\.status +integer, 200 to 599 +404 +HTTP status\.$/m);
  const sink = (await call(["describe", "http", "--kind", "sink"])).stdout;
  assert.ok(sink.startsWith("http (sink)\n"));
  assert.ok(!sink.includes("(source)"));
  const { stdout } = await call(["describe", "filter"]);
  assert.match(stdout, /^ {2}\(options\) +string or number or boolean +SQL condition\.$/m);
});

Deno.test("describe --json has the options as JSON Schema, for every built-in plugin", async () => {
  for (const { kind, name } of builtins) {
    const { code, stdout } = await call(["describe", name, "--kind", kind, "--json"]);
    assert.equal(code, 0);
    const [plugin] = JSON.parse(stdout);
    assert.deepEqual([plugin.kind, plugin.name], [kind, name]);
    assert.ok("type" in plugin.options || "anyOf" in plugin.options, name);
  }
});
