import assert from "node:assert/strict";
import { parse } from "yaml";
import { allExamples } from "./examples.ts";
import { call, withFiles } from "./test_io.ts";

Deno.test("create --example lists the examples, each with its first sentence", async () => {
  const { code, stdout, stderr } = await call(["create", "--example"]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.match(
    stdout,
    /^hello +The hello-world service: the reply to a request is the length of its body\.$/m,
  );
  assert.match(stdout, /^plugins\/ticker\.ts +A source of ticks at the full multiples of /m);
  const names = (await allExamples()).map(({ name }) => name);
  assert.deepEqual(Array.from(stdout.matchAll(/^[a-z]\S*/gm), ([name]) => name), names);
  assert.ok(names.length > 6);
});

Deno.test("create --example prints each one as it is", async () => {
  for (const { name, text } of await allExamples()) {
    const { code, stdout } = await call(["create", "--example", name]);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: text }, name);
  }
  const hello = await Deno.readTextFile(new URL("../examples/hello.yaml", import.meta.url));
  assert.deepEqual(await call(["create", "--example", "hello.yaml"]), {
    code: 0,
    stdout: hello,
    stderr: "",
  });
});

Deno.test("every config there is can be put together from what create prints, and is right", async () => {
  for (const { name, text } of await allExamples()) {
    if (name.startsWith("plugins/")) continue;
    const { stdout, stderr } = await call(["create", "--example", name]);
    const files: Record<string, string> = { "config.yaml": stdout };
    for (
      const [, plugin, file] of stderr.matchAll(/^ {2}millrace create --example (\S+) > (\S+)$/gm)
    ) {
      files[file!] = (await call(["create", "--example", plugin!])).stdout;
    }
    assert.equal(Object.keys(files).length, 1 + (parse(text).plugins ?? []).length, name);
    await withFiles(files, async (path) => {
      const { code, stderr } = await call(["lint", path("config.yaml")]);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: "" }, name);
    });
  }
});

Deno.test("create wants a pipeline or an example that there is", async () => {
  const cases: [args: string[], stderr: string | RegExp][] = [
    [["--example", "helo"], /^error: Unknown example "helo": did you mean "hello"\? Known: "/],
    [
      ["http/http", "--example"],
      'error: Cannot create "http/http": wanted a pipeline or --example, not both\n',
    ],
    [
      [],
      "error: Cannot create a config: wanted SOURCE/TRANSFORM,.../SINK, such as " +
      "http/with_column/http, or --example\n",
    ],
  ];
  for (const [args, stderr] of cases) {
    const result = await call(["create", ...args]);
    assert.deepEqual([result.code, result.stdout], [2, ""]);
    if (typeof stderr === "string") assert.equal(result.stderr, stderr);
    else assert.match(result.stderr, stderr);
  }
});
