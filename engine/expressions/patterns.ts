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
 * A regular expression of Java's as one of JavaScript's that finds the same. Flags may stand in front,
 * such as `(?i)`. What JavaScript has not is refused: possessive quantifiers, atomic groups, classes
 * inside classes.
 * @throws {SyntaxError}
 */
export function javaRegExp(pattern: string, flags = ""): RegExp {
  const inline = /^\(\?([imsu]+)\)/.exec(pattern);
  const all = new Set(`${flags}u${inline?.[1] ?? ""}`);
  const source = translate(pattern.slice(inline?.[0].length ?? 0), all.has("m"));
  return new RegExp(source, [...all].join(""));
}

/** Java's replacement text (`$1`, `${name}`, `\$`; `$0` is the whole match) as JavaScript's. */
export function javaReplacement(replacement: string): string {
  return replacement.replace(
    /\\([\s\S])|\$(\d)|\$\{(\w+)\}|\$/g,
    (_, escaped?: string, group?: string, name?: string) => {
      if (escaped !== undefined) return escaped === "$" ? "$$" : escaped;
      if (group !== undefined) return group === "0" ? "$&" : `$${group}`;
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
    // The empty pattern gives the characters, without an empty text after them.
    if (end === 0 || match.index === text.length && regexp.source === EMPTY) continue;
    parts.push(text.slice(start, match.index));
    start = end;
  }
  parts.push(text.slice(start));
  return parts;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

const EMPTY = new RegExp("").source;

/** What of Java's classes and escapes JavaScript names otherwise; as the inside of a class. */
const CLASSES: Readonly<Record<string, string>> = {
  s: " \\t\\n\\v\\f\\r",
  h: " \\t\\u00a0\\u1680\\u180e\\u2000-\\u200a\\u202f\\u205f\\u3000",
  v: "\\n\\v\\f\\r\\u0085\\u2028\\u2029",
  a: "\\x07",
  e: "\\x1b",
};
const PROPERTIES: Readonly<Record<string, string>> = {
  Lower: "a-z",
  Upper: "A-Z",
  ASCII: "\\x00-\\x7f",
  Alpha: "a-zA-Z",
  Digit: "0-9",
  Alnum: "a-zA-Z0-9",
  Punct: "!-\\/:-@\\[-`\\{-~",
  Graph: "!-~",
  Print: " -~",
  Blank: " \\t",
  Cntrl: "\\x00-\\x1f\\x7f",
  XDigit: "0-9a-fA-F",
  Space: " \\t\\n\\v\\f\\r",
  IsAlphabetic: "\\p{Alphabetic}",
  IsLowercase: "\\p{Lowercase}",
  IsUppercase: "\\p{Uppercase}",
  IsDigit: "\\p{Nd}",
  IsLetter: "\\p{L}",
  IsPunctuation: "\\p{P}",
  IsWhite_Space: "\\p{White_Space}",
};
const ANCHORS: Readonly<Record<string, string>> = {
  A: "(?<![^])",
  z: "(?![^])",
  // Before a line end that ends the text, too.
  Z: "(?=(?:\\r\\n|[\\n\\r\\u0085\\u2028\\u2029])?(?![^]))",
  R: "(?:\\r\\n|[\\n\\v\\f\\r\\u0085\\u2028\\u2029])",
};

/** The source of a regular expression of Java's as one for JavaScript's unicode mode. */
function translate(pattern: string, multiline: boolean): string {
  let source = "";
  let inClass = false;
  let before = "";
  for (let at = 0; at < pattern.length;) {
    const rest = pattern.slice(at);
    const [token] = TOKEN.exec(rest)!;
    at += token.length;
    const last = before;
    before = token;
    if (token.startsWith("\\")) source += translateEscape(token, inClass);
    else if (inClass) {
      if (token.startsWith("[") || rest.startsWith("&&")) {
        throw new SyntaxError(`a class inside a class is not supported: ${pattern}`);
      }
      inClass = token !== "]";
      // Next to a class such as \w a dash is no range.
      const dash = token === "-" && (CLASS_ESCAPE.test(last) || CLASS_ESCAPE.test(rest.slice(1)));
      source += dash ? "\\-" : token;
    } else if (token.startsWith("[")) {
      inClass = true;
      // A bracket that comes first closes nothing.
      source += token.endsWith("]") ? `${token.slice(0, -1)}\\]` : token;
    } else if (token === "]" || token === "}") source += `\\${token}`;
    else source += token === "$" && !multiline ? ANCHORS["Z"]! : token;
  }
  return source;
}

const CLASS_ESCAPE = /^\\[dDwWsSpPhv]/;

/** An escape (`\Q...\E` whole), the start of a class, a counted repeat, or one character. */
const TOKEN =
  /^(?:\\Q[^]*?(?:\\E|$)|\\[pP](?:\{\^?\w+\}|\w)|\\x\{[\da-fA-F]+\}|\\0[0-7]{1,3}|\\k<\w+>|\\[^]|\[\^?\]?|\{\d+(?:,\d*)?\}|[^])/u;

function translateEscape(token: string, inClass: boolean): string {
  const wrap = (inside: string) => inClass ? inside : `[${inside}]`;
  const letter = token[1];
  if (letter === undefined) throw new SyntaxError("a pattern cannot end with a backslash");
  if (letter === "Q") {
    return token.slice(2).replace(/\\E$/, "").replace(/[\\^$.*+?()[\]{}|/-]/g, hexEscape);
  }
  if (letter === "p" || letter === "P") {
    const name = token.slice(2).replace(/^\{|\}$/g, "");
    const property = Object.hasOwn(PROPERTIES, name) ? PROPERTIES[name]! : undefined;
    const inside = property ?? `\\p{${name.replace(/^Is(?=[A-Z][a-z]?$)/, "")}}`;
    if (letter === "p") return wrap(inside);
    if (!inClass) return `[^${inside}]`;
    if (property === undefined) return inside.replace("\\p", "\\P");
    throw new SyntaxError(`${token} inside a class is not supported`);
  }
  if (token.startsWith("\\x{")) return `\\u${token.slice(2)}`;
  if (letter === "0" && token.length > 2) return `\\u{${parseInt(token.slice(2), 8).toString(16)}}`;
  if (!inClass && Object.hasOwn(ANCHORS, letter)) return ANCHORS[letter]!;
  if (Object.hasOwn(CLASSES, letter)) return wrap(CLASSES[letter]!);
  if (letter === "S" && !inClass) return `[^${CLASSES["s"]}]`;
  if (/[dDwWsSbBtnrfcxuk0-9]/.test(letter)) return token;
  if (/[A-Za-z]/.test(letter)) throw new SyntaxError(`${token} is no escape that is supported`);
  return /[\^$\\.*+?()[\]{}|/]/.test(letter) || letter === "-" && inClass ? token : token.slice(1);
}

function hexEscape(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16)}`;
}
