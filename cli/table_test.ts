import assert from "node:assert/strict";
import { table } from "./table.ts";

Deno.test("a table wraps its last column and keeps to its width", () => {
  const made = table(["Name", "What it is"], [["a", "word ".repeat(20).trim()], ["bcd", "x"]], 42);
  assert.deepEqual(made.split("\n"), [
    "Name  What it is",
    "a     word word word word word word word",
    "      word word word word word word word",
    "      word word word word word word",
    "bcd   x",
  ]);
});
