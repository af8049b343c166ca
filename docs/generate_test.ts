import assert from "node:assert/strict";
import { outputName } from "../engine/expressions/expression.ts";
import { parseExpression } from "../engine/expressions/parser.ts";
import { session } from "../engine/session.ts";
import { REFERENCE, referencePages, SYNTAX } from "./generate.ts";

Deno.test("the pages of docs/reference are those of the code", async () => {
  const pages = await referencePages();
  const files = Array.from(Deno.readDirSync(REFERENCE), ({ name }) => name);
  assert.deepEqual(files.sort(), [...pages.keys()].sort(), "run `deno task docs`");
  for (const [name, text] of pages) {
    const written = await Deno.readTextFile(new URL(name, REFERENCE));
    assert.ok(written === text, `docs/reference/${name} is out of date: run \`deno task docs\``);
  }
});

Deno.test("every plugin is on the page of its kind", async () => {
  const pages = await referencePages();
  for (const { kind, name } of session.newRegistry().entries()) {
    assert.match(pages.get(`${kind}s.md`)!, new RegExp(`^## ${name}$`, "m"));
  }
});

Deno.test("tables have as many cells in each row as in their head, and no HTML", async () => {
  for (const [name, text] of await referencePages()) {
    for (const [table] of text.matchAll(/(?:^\|.*\|\n)+/gm)) {
      const [head, ...rows] = table.trimEnd().split("\n").map((line) =>
        line.split(/(?<!\\)\|/).length
      );
      assert.ok(rows.length > 1 && rows.every((cells) => cells === head), `${name}: ${table}`);
      assert.doesNotMatch(table.replace(/``.*?``|`[^`]*`/g, ""), /</, name);
    }
  }
});

Deno.test("the links of the reference lead somewhere", async () => {
  const pages = await referencePages();
  for (const [name, text] of pages) {
    for (const [, target] of text.matchAll(/\]\(([^)]+)\)/g)) {
      const [file, anchor] = target!.split("#");
      const page = pages.get(file === "" ? name : file!);
      if (page === undefined) await Deno.stat(new URL(file!, REFERENCE));
      else if (anchor !== undefined) assert.match(page, new RegExp(`^## ${anchor}$`, "m"));
    }
  }
});

Deno.test("the syntax in the reference is that of the parser", () => {
  for (const [sql] of SYNTAX) parseExpression(sql);
  assert.equal(outputName(parseExpression(SYNTAX[0]![0])), "value");
});
