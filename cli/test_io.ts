/**
 * Commands in tests: in this process, with all that they write kept.
 *
 * @module
 */
import { dirname } from "node:path";
import { runCli } from "./cli.ts";
import type { Io } from "./io.ts";

/** Takes the place of the process. */
export class TestIo implements Io {
  /** What has been written to stdout. */
  stdout = "";
  /** What has been written to stderr. */
  stderr = "";
  readonly width: number;
  readonly #env: Readonly<Record<string, string>>;
  readonly #handlers = new Set<() => void>();
  readonly #hangUpHandlers = new Set<() => void>();
  readonly #waiting = new Set<() => void>();

  constructor(env: Readonly<Record<string, string>> = {}, width: number = 100) {
    this.#env = env;
    this.width = width;
  }

  readonly out = (text: string): void => {
    this.stdout += text;
    for (const check of this.#waiting) check();
  };

  readonly err = (text: string): void => {
    this.stderr += text;
    for (const check of this.#waiting) check();
  };

  readonly env = (name: string): string | undefined => this.#env[name];

  onSignal(handler: () => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  onHangUp(handler: () => void): () => void {
    this.#hangUpHandlers.add(handler);
    return () => this.#hangUpHandlers.delete(handler);
  }

  /** As if the process got SIGHUP. */
  hangUp(): void {
    for (const handler of this.#hangUpHandlers) handler();
  }

  /** Whether a command waits for signals. */
  get hasHandler(): boolean {
    return this.#handlers.size > 0;
  }

  /** As if the process got SIGINT. */
  signal(): void {
    for (const handler of this.#handlers) handler();
  }

  /** Resolves when what has been written meets the condition. */
  async until(condition: (io: TestIo) => boolean): Promise<void> {
    const met = Promise.withResolvers<void>();
    const check = () => condition(this) && met.resolve();
    this.#waiting.add(check);
    check();
    await met.promise;
    this.#waiting.delete(check);
  }
}

/** Runs a command to its end. */
export async function call(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const io = new TestIo(env);
  const code = await runCli(args, io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}

/** Calls a function with a new directory of these files, by path, and removes it. */
export async function withFiles(
  files: Readonly<Record<string, string>>,
  test: (path: (name: string) => string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      const file = `${directory}/${name}`;
      await Deno.mkdir(dirname(file), { recursive: true });
      await Deno.writeTextFile(file, text);
    }
    await test((name) => `${directory}/${name}`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** An outside plugin without imports, a transform named `shout`. */
export const PLUGIN = `export default {
  kind: "transform",
  name: "shout",
  aliases: ["Shout"],
  summary: "Makes text loud.",
  options: (v) => v.strictObject({
    column: v.pipe(v.string(), v.description("Column to change.")),
  }),
  examples: [{ title: "The body", options: { column: "value" } }],
  outputSchema: (_options, input) => input,
  create: () => ({ transform: (batch) => batch }),
};
`;
