import assert from "node:assert/strict";
import { makePlans, parseConfig } from "../engine/config.ts";
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";
import { call, PLUGIN, withFiles } from "./test_io.ts";

const newRegistry = () => new Registry(builtins);

/** The plans of a config's text; there must be no problems. */
async function plansOf(text: string) {
  const config = parseConfig(text, "config.yaml", { env: () => undefined });
  const { plans, problems } = await makePlans(config, { newRegistry });
  assert.deepEqual([...config.problems, ...problems].map(({ message }) => message), [], text);
  return plans;
}

/** Those that cannot fit behind a source as they are: there is no list, no such module, no model. */
const NEED_MORE = ["explode", "onnx"];

for (const { kind, name } of builtins) {
  const pipeline = {
    // A source in the partitions needs a sink there.
    source: `${name}//${name === "distributed_http" ? "http" : "console"}`,
    transform: `http/${name}/console`,
    sink: `http//${name}`,
  }[kind];
  Deno.test(`create ${pipeline} makes a config that is right as it is`, async () => {
    const { code, stdout, stderr } = await call(["create", pipeline]);
    assert.equal(code, 0);
    if (NEED_MORE.includes(name)) {
      assert.match(
        stderr,
        /^To be filled in before it runs:\nconfig\.yaml:\d+:\d+: Cannot (explode|use model)/,
      );
      return;
    }
    assert.equal(stderr, "");
    const [plan] = await plansOf(stdout);
    const use = { source: plan!.source, transform: plan!.transforms[0]!, sink: plan!.sink }[kind];
    assert.equal(use.name, name);
    assert.ok(stdout.split("\n").every((line) => line.length <= 100), stdout);
  });
}

Deno.test("create has every option, with what it is for; those with a default are comments", async () => {
  const { stdout } = await call(["create", "http/with_column,make_reply/http"]);
  const lines = stdout.split("\n").map((line) => line.trim());
  for (
    const line of [
      "- name: my_query",
      "# Port to bind; 0 takes any free one. Services may share a port.",
      "# port: 8888",
      "newCol: length(value)",
      "col: newCol",
      "# statusCode: case when length(body) > 0 then 200 else 422 end",
      "# replyCol: reply",
      "# partitions: 1",
      "# checkpoint: ./checkpoints/my_query",
      "# trigger: continuous",
    ]
  ) assert.ok(lines.includes(line), `${line}\n\n${stdout}`);
});

Deno.test("create's commented lines are options too: without their # the config still reads", async () => {
  const { stdout } = await call(["create", "http/with_column/http"]);
  const uncommented = stdout.split("\n")
    .map((line) => line.replace(/^( *)# (\w+: [^<]*)$/, "$1$2"))
    .filter((line) => !/^ *name: my_api/.test(line)).join("\n");
  const [plan] = await plansOf(uncommented);
  assert.deepEqual((plan!.source.options as { port: number }).port, 8888);
  assert.equal(plan!.batching.maxQueueSize, 4096);
});

Deno.test("create takes outside plugins and names them in the config", async () => {
  await withFiles({ "shout.js": PLUGIN }, async (path) => {
    const file = path("shout.js");
    const { code, stdout, stderr } = await call(["create", "http/shout/http", "--plugin", file]);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    const [plan] = await plansOf(stdout);
    assert.deepEqual(plan!.transforms, [{ name: "shout", options: { column: "value" } }]);
    assert.deepEqual(plan!.plugins, [`file://${file}`]);
  });
});
