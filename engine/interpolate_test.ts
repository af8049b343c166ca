import assert from "node:assert/strict";
import fc from "fast-check";
import { interpolate, shield } from "./interpolate.ts";

const env = (name: string) =>
  ({ PORT: "8888", EMPTY: "", NESTED: "${PORT}" } as Record<string, string>)[name];

Deno.test("interpolate() fills in variables, defaults and escapes", () => {
  const cases: [text: string, filledIn: string, whole: boolean][] = [
    ["plain", "plain", false],
    ["${PORT}", "8888", true],
    ["${PORT:1}", "8888", true],
    ["${ABSENT:1}", "1", true],
    ["${ABSENT:}", "", true],
    ["${EMPTY}", "", true],
    ["${EMPTY:1}", "1", true],
    ["${ABSENT:a:b, c d}", "a:b, c d", true],
    ["${ABSENT:-1}", "-1", true],
    ["http://h:${PORT}/${ABSENT:api}", "http://h:8888/api", false],
    ["${PORT}${PORT}", "88888888", false],
    ["$${PORT}", "${PORT}", false],
    ["$$${PORT}", "$${PORT}", false],
    ["$PORT $ {PORT} $$", "$PORT $ {PORT} $$", false],
    ["${NESTED}", "${PORT}", true],
  ];
  for (const [text, filledIn, whole] of cases) {
    assert.deepEqual(interpolate(text, env), { text: filledIn, whole, problems: [] }, text);
  }
});

Deno.test("interpolate() says what it cannot fill in", () => {
  const cases: [text: string, messages: string[]][] = [
    ["a ${ABSENT} ${GONE}", [
      'Cannot interpolate "${ABSENT}": the environment variable ABSENT is not set; ' +
      "set it, or write ${ABSENT:default}",
      'Cannot interpolate "${GONE}": the environment variable GONE is not set; ' +
      "set it, or write ${GONE:default}",
    ]],
    ["${1}", [
      'Cannot interpolate "${1}": wanted ${NAME} or ${NAME:default}; write $${ for a literal ${',
    ]],
    ["${ PORT }", [
      'Cannot interpolate "${ PORT }": wanted ${NAME} or ${NAME:default}; ' +
      "write $${ for a literal ${",
    ]],
    ["${}", [
      'Cannot interpolate "${}": wanted ${NAME} or ${NAME:default}; write $${ for a literal ${',
    ]],
    ["x ${PORT", ['Cannot interpolate "${": it has no closing }; write $${ for a literal ${']],
  ];
  for (const [text, messages] of cases) {
    assert.deepEqual(interpolate(text, env).problems.map(({ message }) => message), messages, text);
  }
});

Deno.test("shield() keeps every position, hides braces, and restores any text", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "${A}",
      "${A:b, c}",
      "$${A}",
      "$${",
      "${}",
      "${A:'x'}",
      "\uF000",
      "\uF001",
      "\uE000",
    ),
    fc.string({ unit: "grapheme" }),
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => {
    const text = pieces.join("");
    const shielded = shield(text);
    assert.equal(shielded.text.length, text.length);
    assert.equal(shielded.restore(shielded.text), text);
  }));
  const { text } = shield("{ port: ${PORT:8888}, name: $${X} }");
  assert.match(text, /^\{ port: [\uE000-\uF8FF]{12}, name: [\uE000-\uF8FF]{5} \}$/);
});
