/**
 * Environment variables in a config: `${NAME}` and `${NAME:default}`.
 *
 * The default stands in for a variable that is not set or is empty. `$${` is a literal `${`. What a
 * variable holds is not interpolated again.
 *
 * @module
 */

/** Gives the value of an environment variable, or undefined when it is not set. */
export type Env = (name: string) => string | undefined;

/** What {@linkcode interpolate} gives. */
export interface Interpolated {
  readonly text: string;
  /** Whether the whole text was one reference. */
  readonly whole: boolean;
  /** What could not be filled in; `reference` is the culprit as it was written. */
  readonly problems: readonly { readonly reference: string; readonly message: string }[];
}

/** An escape, a reference, or the beginning of one without an end. */
const REFERENCE = /\$\$\{|\$\{([^}]*)\}|\$\{/g;
const BODY = /^([A-Za-z_][A-Za-z0-9_]*)(?::([^]*))?$/;

/** Whether a text has anything that {@linkcode interpolate} would change. */
export function hasReferences(text: string): boolean {
  return text.includes("${");
}

/** Fills in the variables of a text. */
export function interpolate(text: string, env: Env): Interpolated {
  const problems: { reference: string; message: string }[] = [];
  let whole = false;
  const result = text.replace(REFERENCE, (reference: string, body: string | undefined) => {
    if (reference === "$${") return "${";
    whole = reference.length === text.length;
    const value = resolve(reference, body, env);
    if (typeof value === "string") return value;
    problems.push({ reference, message: value.message });
    return "";
  });
  return { text: result, whole, problems };
}

function resolve(
  reference: string,
  body: string | undefined,
  env: Env,
): string | { message: string } {
  if (body === undefined) {
    return { message: 'Cannot interpolate "${": it has no closing }; write $${ for a literal ${' };
  }
  const match = BODY.exec(body);
  if (match === null) {
    return {
      message: `Cannot interpolate "${reference}": wanted \${NAME} or \${NAME:default}; ` +
        "write $${ for a literal ${",
    };
  }
  const [, name, fallback] = match;
  const value = env(name!);
  if (fallback !== undefined) return value === undefined || value === "" ? fallback : value;
  return value ?? {
    message: `Cannot interpolate "${reference}": the environment variable ${name} is not set; ` +
      `set it, or write \${${name}:default}`,
  };
}

/** References and escapes without characters that mean something inside quotes. */
const SHIELDED = /\$\$\{(?:[^}"'\\\n]*\})?|\$\{[^}"'\\\n]*\}/g;
const PRIVATE_USE = 0xE000;
const DIGITS = 0x1000;

/**
 * Hides references from a YAML parser, to which braces, commas and colons mean something else: each
 * becomes as many characters of Unicode's private use area, so that positions stay.
 */
export function shield(text: string): {
  readonly text: string;
  /** Puts the references back into a piece of the text. */
  restore(piece: string): string;
} {
  const references: string[] = [];
  // Characters that are there already would be taken for references.
  const [marker = "\uF000", filler = "\uF001"] = Array.from(
    { length: 0x900 },
    (_, offset) => String.fromCharCode(PRIVATE_USE + DIGITS + offset),
  ).filter((char) => !text.includes(char));
  const digit = (value: number) => String.fromCharCode(PRIVATE_USE + value % DIGITS);
  const shielded = text.replace(SHIELDED, (reference) => {
    const index = references.push(reference) - 1;
    return (marker + digit(Math.floor(index / DIGITS)) + digit(index))
      .padEnd(reference.length, filler);
  });
  const hidden = new RegExp(`${marker}([\uE000-\uEFFF])([\uE000-\uEFFF])${filler}*`, "g");
  return {
    text: shielded,
    restore: (piece) =>
      piece.replace(hidden, (_, high: string, low: string) => {
        const value = (char: string) => char.charCodeAt(0) - PRIVATE_USE;
        return references[value(high) * DIGITS + value(low)]!;
      }),
  };
}
