import assert from "node:assert/strict";
import { ENGINE_SCHEMA } from "../engine/make_plan.ts";
import { builtins } from "../plugins/builtins.ts";
import { call, PLUGIN, withFiles } from "./test_io.ts";

Deno.test("schema describes the whole config, options of all plugins included", async () => {
  const { code, stdout, stderr } = await call(["schema"]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  const { definitions, properties, ...rest } = JSON.parse(stdout);
  assert.deepEqual(Object.keys(properties), ["services", "plugins", "cluster"]);
  assert.deepEqual(rest.required, ["services"]);
  assert.deepEqual(
    Object.keys(definitions.service.properties).sort(),
    [
      ...["name", "source", "transforms", "sink", "trigger"],
      ...Object.keys(ENGINE_SCHEMA.entries),
    ].sort(),
  );
  for (const property of Object.values(definitions.service.properties)) {
    assert.equal(typeof (property as { description?: string }).description, "string");
  }
  for (const { kind, name, aliases } of builtins) {
    const [map, alone] = definitions[kind].anyOf;
    assert.ok(name in map.properties, name);
    assert.ok(`${kind}.${name}` in definitions, name);
    for (const alias of [name, ...aliases]) assert.ok(alone.enum.includes(alias), alias);
    for (const alias of aliases) {
      const patterns = Object.keys(map.patternProperties);
      assert.ok(patterns.some((pattern) => new RegExp(pattern, "u").test(alias)), alias);
    }
  }
  assert.deepEqual(definitions["source.http"].properties.port, {
    description: "Port to bind; 0 takes any free one. Services may share a port.",
    default: 8888,
    anyOf: [
      { type: "integer", minimum: 0, maximum: 65535 },
      { $ref: "#/definitions/variable" },
    ],
  });
  const variable = new RegExp(definitions.variable.pattern, "u");
  assert.ok(variable.test("${PORT}") && variable.test("${PORT:8888}") && !variable.test("8888"));
});

Deno.test("schema has no reference that leads nowhere", async () => {
  const { stdout } = await call(["schema"]);
  const { definitions } = JSON.parse(stdout);
  const references = [...stdout.matchAll(/"\$ref": "#\/definitions\/([^"]+)"/g)];
  assert.ok(references.length > builtins.length);
  for (const [, name] of references) assert.ok(name! in definitions, name);
});

Deno.test("schema --plugin has an outside plugin", async () => {
  await withFiles({ "shout.js": PLUGIN }, async (path) => {
    const { stdout } = await call(["schema", "--plugin", path("shout.js")]);
    const { definitions } = JSON.parse(stdout);
    assert.deepEqual(definitions["transform.shout"].properties.column, {
      description: "Column to change.",
      type: "string",
    });
    assert.ok("shout" in definitions.transform.anyOf[0].properties);
  });
});
