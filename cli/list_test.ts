import assert from "node:assert/strict";
import { builtins } from "../plugins/builtins.ts";
import { call, PLUGIN, withFiles } from "./test_io.ts";

Deno.test("list --json has every built-in plugin, sources first", async () => {
  const { code, stdout } = await call(["list", "--json"]);
  assert.equal(code, 0);
  const listed = JSON.parse(stdout) as { kind: string; name: string; summary: string }[];
  assert.deepEqual(
    listed.map(({ kind, name }) => `${kind} ${name}`).sort(),
    builtins.map(({ kind, name }) => `${kind} ${name}`).sort(),
  );
  assert.deepEqual([...new Set(listed.map(({ kind }) => kind))], ["source", "transform", "sink"]);
  assert.ok(listed.every(({ summary }) => summary.endsWith(".")));
});

Deno.test("list --kind prints a table of that kind, outside plugins among them", async () => {
  await withFiles({ "shout.js": PLUGIN }, async (path) => {
    const { code, stdout, stderr } = await call([
      "list",
      "--kind",
      "transform",
      "--plugin",
      path("shout.js"),
    ]);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    const lines = stdout.trimEnd().split("\n");
    assert.match(lines[0]!, /^Kind {7}Name +Summary$/);
    assert.match(lines.at(-1)!, /^transform {2}shout +Makes text loud\.$/);
    assert.ok(!stdout.includes("console"));
  });
});
