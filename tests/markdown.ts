/**
 * Markdown pages as tests see them: their blocks of code, their links, and the commands in them, run as a
 * reader would.
 *
 * @module
 */
import assert from "node:assert/strict";

const ROOT = new URL("..", import.meta.url);

/** A block of code. */
export interface Block {
  /** `yaml`, `ts`, ...; empty when the block does not say. */
  readonly language: string;
  readonly text: string;
  /** What the comments right before the block say: `<!-- file: a.yaml -->` is `file` → `a.yaml`. */
  readonly notes: ReadonlyMap<string, string>;
  /** Line of its first fence, from 1. */
  readonly line: number;
}

/** A command of a `console` block, and what it prints. */
export interface Command {
  readonly line: string;
  readonly output: string;
}

/** The blocks of a page, in order. */
export function blocksOf(markdown: string): Block[] {
  const pattern = /((?:^<!-- .* -->\n\n?)*)^```(\w*)\n([^]*?)^```$/gm;
  return Array.from(markdown.matchAll(pattern), ({ 1: comments, 2: language, 3: text, index }) => ({
    language: language!,
    text: text!,
    notes: new Map(
      Array.from(
        comments!.matchAll(/^<!-- ([^:]*?)(?:: (.*))? -->$/gm),
        ([, key, value = ""]) => [key!, value],
      ),
    ),
    line: markdown.slice(0, index + comments!.length).split("\n").length,
  }));
}

/** The commands of a `console` block: lines after `$ `. */
export function commandsOf({ text }: Block): Command[] {
  return text.split(/^\$ /m).slice(1).map((part) => {
    const end = part.indexOf("\n");
    return { line: part.slice(0, end), output: part.slice(end + 1) };
  });
}

/** The links of a page to files of the project, and to its own headings. */
export function linksOf(markdown: string): string[] {
  const text = markdown.replace(/^```[^]*?^```$/gm, "").replace(/`[^`\n]*`/g, "");
  return Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, link]) => link!)
    .filter((link) => !/^[a-z]+:/.test(link));
}

/** The anchors of a page's headings. */
export function anchorsOf(markdown: string): Set<string> {
  const text = markdown.replace(/^```[^]*?^```$/gm, "");
  return new Set(
    Array.from(
      text.matchAll(/^#+ (.*)$/gm),
      ([, title]) => title!.toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-"),
    ),
  );
}

/**
 * Compares what was printed with what a page says. There, ` ...` at the end of a line stands for the rest
 * of the line, and a line `...` for all lines that follow.
 */
export function assertPrinted(actual: string, expected: string, message: string): void {
  const pattern = expected.trimEnd().split("\n").map((line) => {
    if (line === "...") return "[^]*";
    const known = line.endsWith(" ...") ? line.slice(0, -3) : line;
    const escaped = known.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return known === line ? escaped : `${escaped}.*`;
  }).join("\n");
  if (!new RegExp(`^${pattern}$`).test(actual.trimEnd())) {
    assert.equal(actual.trimEnd(), expected.trimEnd(), message);
  }
}

/** Runs `millrace` to its end. */
export async function millrace(
  args: readonly string[],
  cwd: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  return await deno(["run", "-A", new URL("main.ts", ROOT).pathname, ...args], cwd);
}

/** Runs Deno, with the project's settings, to its end. */
export async function deno(
  args: readonly string[],
  cwd: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** `millrace run` in a process of its own. */
export class RunningServices {
  /** What was printed until all was ready. */
  readonly announced: string;
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess, announced: string) {
    this.#process = process;
    this.announced = announced;
  }

  /** Resolves when so many lines have been printed. */
  static async start(
    args: readonly string[],
    cwd: string,
    lines: number,
  ): Promise<RunningServices> {
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", new URL("main.ts", ROOT).pathname, ...args, "--log-level", "warn"],
      cwd,
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    let text = "";
    const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    while (text.split("\n").length <= lines) {
      const { value, done } = await reader.read();
      assert.ok(!done, `it ended before it was ready: ${text}`);
      text += value;
    }
    reader.releaseLock();
    return new RunningServices(process, text);
  }

  /** Stops them by a signal, and expects a good end. */
  async stop(): Promise<void> {
    this.#process.kill("SIGTERM");
    const { code } = await this.#process.status;
    assert.equal(code, 0);
  }
}

/** `curl [-d 'BODY'] URL`, by fetch, so that tests need no curl. */
export async function curl(line: string): Promise<{ status: number; text: string }> {
  const [, body, url] = /^curl (?:-d '([^']*)' )?(\S+)$/.exec(line)!;
  const response = await fetch(url!, body === undefined ? {} : { method: "POST", body });
  return { status: response.status, text: await response.text() };
}
