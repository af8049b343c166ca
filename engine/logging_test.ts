import assert from "node:assert/strict";
import { resetSync } from "@logtape/logtape";
import { configureLogging, enabledLevel, isLogLevel, pluginLogger } from "./logging.ts";

/** The lines that are written while `work` runs. */
function written(
  options: Omit<Parameters<typeof configureLogging>[0] & object, "write">,
  work: () => void,
): string[] {
  const lines: string[] = [];
  configureLogging({ ...options, write: (line) => void lines.push(line) });
  try {
    work();
  } finally {
    resetSync();
  }
  return lines;
}

Deno.test("a JSON line has the level, the query, the message and the properties", () => {
  const lines = written({ format: "json" }, () => {
    pluginLogger("my_query").warn("It is 5 {o'clock} {{now}}", { partition: 3, deep: { a: [1] } });
  });
  assert.equal(lines.length, 1);
  assert.ok(lines[0]!.endsWith("}\n"));
  const { "@timestamp": timestamp, level, logger, message, ...rest } = JSON.parse(lines[0]!);
  assert.ok(Number.isFinite(Date.parse(timestamp)));
  assert.deepEqual([level, logger, message], [
    "WARN",
    "millrace.my_query",
    "It is 5 {o'clock} {{now}}",
  ]);
  assert.deepEqual(rest, { partition: 3, deep: { a: [1] } });
});

Deno.test("a line for people has the time, the level, the query and the message", () => {
  const lines = written({ format: "human" }, () => {
    pluginLogger("my_query").info("Ready at {url}", { url: "http://localhost" });
  });
  // deno-lint-ignore no-control-regex -- colors
  const plain = lines.join("").replaceAll(/\x1b\[\d+m/g, "");
  // Without colors the level stands in brackets.
  assert.match(plain, /^\d\d:\d\d:\d\d\.\d{3} \[?info *\]? +my_query: +Ready at \{url\}\n$/);
});

Deno.test("lines below the level are left out", () => {
  const levels = ["debug", "info", "warn", "error"] as const;
  for (const [position, level] of levels.entries()) {
    const lines = written({ level, format: "json" }, () => {
      assert.equal(enabledLevel("q"), level);
      for (const each of levels) pluginLogger("q")[each](each);
    });
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).message),
      levels.slice(position),
    );
  }
});

Deno.test("nothing is written unless somebody asks for it", () => {
  resetSync();
  assert.equal(enabledLevel("q"), "none");
  pluginLogger("q").error("to nobody");
});

Deno.test("the second configuration replaces the first", () => {
  const first: string[] = [], second: string[] = [];
  configureLogging({ write: (line) => void first.push(line) });
  configureLogging({ write: (line) => void second.push(line), level: "error" });
  pluginLogger("q").error("once");
  pluginLogger("q").info("never");
  resetSync();
  assert.deepEqual([first.length, second.length], [0, 1]);
});

Deno.test("isLogLevel() knows the levels by name", () => {
  assert.deepEqual(["debug", "warn", "warning", "INFO", ""].map(isLogLevel), [
    true,
    true,
    false,
    false,
    false,
  ]);
});
