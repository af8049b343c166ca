/**
 * Patterns in text: SQL's `like`, and Java's regular expressions as Spark uses them.
 *
 * @module
 */

/**
 * Whether a whole text is like a pattern: `%` stands for any text, `_` for one character, and after
 * `escape` they stand for themselves.
 */
export function likeTest(
  pattern: string,
  escape = "\\",
  caseless = false,
): (text: string) => boolean {
  let source = "";
  let wild = false;
  let plain = "";
  const chars = Array.from(pattern);
  for (let index = 0; index < chars.length; index++) {
    let char = chars[index]!;
    if (char === escape && index + 1 < chars.length) char = chars[++index]!;
    else if (char === "%" || char === "_") {
      source += char === "%" ? ".*" : ".";
      wild = true;
      continue;
    }
    plain += char;
    source += escapeRegExp(char);
  }
  if (!caseless) {
    if (!wild) return (text) => text === plain;
    if (source === `.*${escapeRegExp(plain)}.*`) return (text) => text.includes(plain);
    if (source === `${escapeRegExp(plain)}.*`) return (text) => text.startsWith(plain);
    if (source === `.*${escapeRegExp(plain)}`) return (text) => text.endsWith(plain);
  }
  const regexp = new RegExp(`^${source}$`, caseless ? "sui" : "su");
  return (text) => regexp.test(text);
}

/**
 * A regular expression of Java's. Flags in front, such as `(?i)`, are understood; what only Java has
 * (possessive quantifiers, `\p{Alpha}`) is not.
 * @throws {SyntaxError}
 */
export function javaRegExp(pattern: string, flags = ""): RegExp {
  const inline = /^\(\?([imsu]+)\)/.exec(pattern);
  const source = (inline === null ? pattern : pattern.slice(inline[0].length))
    .replaceAll("\\A", "^").replaceAll("\\z", "$").replaceAll("\\Z", "$");
  const all = new Set(`${flags}${inline?.[1]?.replace("u", "") ?? ""}`);
  try {
    return new RegExp(source, `u${[...all].join("")}`);
  } catch {
    // The unicode mode refuses escapes that Java takes, such as `\-`.
    return new RegExp(source, [...all].join(""));
  }
}

/** Java's replacement text (`$1`, `${name}`, `\$`) as JavaScript's. */
export function javaReplacement(replacement: string): string {
  return replacement.replace(
    /\\([\s\S])|\$(\d)|\$\{(\w+)\}|\$/g,
    (_, escaped?: string, group?: string, name?: string) => {
      if (escaped !== undefined) return escaped === "$" ? "$$" : escaped;
      if (group !== undefined) return `$${group}`;
      return name === undefined ? "$$" : `$<${name}>`;
    },
  );
}

/**
 * Splits as Java does: groups are not part of the result, an empty match in front gives nothing.
 * @param limit most parts, the last with all that is left; 0 or less: no limit
 */
export function split(text: string, regexp: RegExp, limit: number): string[] {
  const parts: string[] = [];
  let start = 0;
  for (const match of text.matchAll(regexp)) {
    if (limit > 0 && parts.length === limit - 1) break;
    const end = match.index + match[0].length;
    if (end === 0 || match.index === text.length && match[0] === "") continue;
    parts.push(text.slice(start, match.index));
    start = end;
  }
  parts.push(text.slice(start));
  return parts;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
