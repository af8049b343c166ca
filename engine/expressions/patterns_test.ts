import assert from "node:assert/strict";
import fc from "fast-check";
import { javaRegExp, javaReplacement, likeTest, split } from "./patterns.ts";

Deno.test("A regular expression finds what Java's finds", () => {
  const cases: [pattern: string, text: string, found: string | undefined][] = [
    ["a.c", "xabc", "abc"],
    [".", "😀", "😀"],
    ["[\\w-.]+@x", "a-b.c@x", "a-b.c@x"],
    ["[a\\-z]+", "-za", "-za"],
    ["[]a]+", "a]", "a]"],
    ["[^]a]+", "a]bc", "bc"],
    ["a]b}", "a]b}", "a]b}"],
    ["\\{(\\d+)}", "{12}", "{12}"],
    ["x{2,3}", "xxxx", "xxx"],
    ["\\-\\_\\ \\\"\\'\\:", `-_ "':`, `-_ "':`],
    ["\\Qa.b*\\E+", "a.b**", "a.b**"],
    ["\\Qa.b", "axb a.b", "a.b"],
    ["^abc$", "abc\n", "abc"],
    ["^abc\\Z", "abc\r\n", "abc"],
    ["^abc\\z", "abc\n", undefined],
    ["\\Aabc", "xabc", undefined],
    ["(?m)^b$", "a\nb\nc", "b"],
    ["(?i)ABC", "xabc", "abc"],
    ["(?s)a.b", "a\nb", "a\nb"],
    ["a.b", "a\nb", undefined],
    ["\\s", "\u00a0", undefined],
    ["\\S", "\u00a0", "\u00a0"],
    ["[\\s\\d]+", "a 1", " 1"],
    ["\\h+", "a\u00a0\t", "\u00a0\t"],
    ["\\R", "a\r\nb", "\r\n"],
    ["\\p{Alpha}+", "1abc", "abc"],
    ["[\\p{Alpha}\\d]+", "-a1", "a1"],
    ["\\P{Alpha}+", "a12b", "12"],
    ["\\p{Punct}+", "a[-]b", "[-]"],
    ["\\p{L}+", "1é", "é"],
    ["\\pL+", "1é", "é"],
    ["\\p{IsL}+", "1é", "é"],
    ["\\p{IsAlphabetic}+", "1é", "é"],
    ["\\x41\\x{1F600}\\u0042", "A😀B", "A😀B"],
    ["\\0101", "A", "A"],
    ["(?<n>a)\\k<n>", "aa", "aa"],
    ["(a)\\1", "aa", "aa"],
    ["(?<=a)b(?!c)", "abc abd", "b"],
    ["", "x", ""],
    ["a/b", "a/b", "a/b"],
  ];
  for (const [pattern, text, found] of cases) {
    assert.equal(javaRegExp(pattern).exec(text)?.[0], found, pattern);
  }
});

Deno.test("What JavaScript's regular expressions have not is refused, not read otherwise", () => {
  const patterns = [
    "a++",
    "(?>a)",
    "[a[b]]",
    "[a&&b]",
    "\\p{InGreek}",
    "\\p{javaLowerCase}",
    "\\N",
    "\\y",
    "\\G",
    "(",
    "[a",
    "a{",
    "*",
    "a\\",
    "(?d)a",
  ];
  for (const pattern of patterns) assert.throws(() => javaRegExp(pattern), SyntaxError, pattern);
});

Deno.test("A quoted text is found as it is", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }).filter((text) => !text.includes("\\E")), (text) => {
      assert.equal(javaRegExp(`^\\Q${text}\\E\\z`).exec(text)?.[0], text);
    }),
  );
});

Deno.test("A replacement is Java's", () => {
  const cases: [replacement: string, result: string][] = [
    ["$1", "b"],
    ["[$0]", "[abc]"],
    ["${n}", "b"],
    ["\\$1", "$1"],
    ["\\\\", "\\"],
    ["$", "$"],
    ["$&", "$&"],
    ["$$", "$$"],
  ];
  for (const [replacement, result] of cases) {
    const regexp = javaRegExp("a(?<n>b)c", "g");
    assert.equal("abc".replace(regexp, javaReplacement(replacement)), result, replacement);
  }
});

Deno.test("like is what its pattern says, char by char", () => {
  /** The definition, as slow as it is plain. */
  const like = (pattern: readonly string[], text: readonly string[]): boolean => {
    const [head, ...rest] = pattern;
    if (head === undefined) return text.length === 0;
    if (head === "%") {
      return Array.from({ length: text.length + 1 }, (_, at) => text.slice(at)).some((tail) =>
        like(rest, tail)
      );
    }
    const [wanted, after] = head === "\\" && rest.length > 0
      ? [rest[0], rest.slice(1)]
      : [head, rest];
    return text.length > 0 && (wanted === text[0] || head === "_") && like(after, text.slice(1));
  };
  const unit = fc.constantFrom("a", "A", "%", "_", "\\", ".", "*", "\n", "😀");
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 5 }), fc.array(unit, { maxLength: 5 }), (p, t) => {
      assert.equal(likeTest(p.join(""))(t.join("")), like(p, t));
      const [lowP, lowT] = [p, t].map((chars) => chars.map((char) => char.toLowerCase()));
      assert.equal(likeTest(p.join(""), "\\", true)(t.join("")), like(lowP!, lowT!));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("Parts joined again are the text", () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom(",", "a", " "), fc.nat(4), (text, comma, limit) => {
      const parts = split(text, javaRegExp(`\\Q${comma}`, "g"), limit);
      assert.equal(parts.join(comma), text);
      if (limit > 0) assert(parts.length <= limit);
      else assert.deepEqual(parts, text.split(comma));
    }),
  );
});
