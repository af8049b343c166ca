/**
 * The compiled binary, used as by someone who has nothing else: it stands alone in a folder, and its
 * environment has a home and a path without Deno in it.
 *
 * @module
 */
import { dirname } from "node:path";

const BUILT = new URL("../../dist/millrace", import.meta.url).pathname;

/** What a command has printed, and its exit code. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder with the binary and a user's files in it. */
export class Binary {
  /** The folder. */
  readonly folder: string;
  readonly #started: Running[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Copies the binary alone into a new folder, then writes the files, by path. */
  static async unpack(files: Readonly<Record<string, string>> = {}): Promise<Binary> {
    const binary = new Binary(await Deno.realPath(await Deno.makeTempDir({ prefix: "millrace " })));
    try {
      await Deno.copyFile(BUILT, binary.path("millrace"));
    } catch (cause) {
      throw new Error(`No binary at ${BUILT}: make it with "deno task compile" first`, { cause });
    }
    for (const empty of ["home", "bin"]) await Deno.mkdir(binary.path(empty));
    for (const [name, text] of Object.entries(files)) await binary.write(name, text);
    return binary;
  }

  path(name: string): string {
    return `${this.folder}/${name}`;
  }

  async write(name: string, text: string): Promise<void> {
    await Deno.mkdir(dirname(this.path(name)), { recursive: true });
    await Deno.writeTextFile(this.path(name), text);
  }

  /** Runs a command to its end. */
  async run(...args: string[]): Promise<Output> {
    const { code, stdout, stderr } = await this.#command(args).output();
    const text = new TextDecoder();
    return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  }

  /** Starts a command that goes on; it ends with this object at the latest. */
  start(...args: string[]): Running {
    const running = new Running(this.#command(args).spawn());
    this.#started.push(running);
    return running;
  }

  /** Starts `millrace run` and waits until its services are ready; their URLs in order. */
  async serve(...files: string[]): Promise<{ service: Running; urls: string[] }> {
    const service = this.start("run", ...files);
    await service.until(({ stdout }) => /^ {2}curl /m.test(stdout));
    return {
      service,
      urls: Array.from(service.stdout.matchAll(/ready at (\S+)/g), ([, url]) => url!),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#started) await running.kill("SIGKILL");
    await Deno.remove(this.folder, { recursive: true });
  }

  #command(args: string[]): Deno.Command {
    return new Deno.Command(this.path("millrace"), {
      args,
      cwd: this.folder,
      clearEnv: true,
      env: { HOME: this.path("home"), PATH: this.path("bin") },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  }
}

/** A command that goes on. */
export class Running {
  stdout = "";
  stderr = "";
  readonly pid: number;
  /** Resolves at its end. */
  readonly ended: Promise<Output>;
  readonly #process: Deno.ChildProcess;
  #hasEnded = false;
  #watching: (() => void)[] = [];

  constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.pid = process.pid;
    const read = async (stream: ReadableStream<Uint8Array>, name: "stdout" | "stderr") => {
      const decoder = new TextDecoder();
      for await (const bytes of stream) {
        this[name] += decoder.decode(bytes, { stream: true });
        for (const check of this.#watching) check();
      }
    };
    const printed = Promise.all([read(process.stdout, "stdout"), read(process.stderr, "stderr")]);
    this.ended = (async () => {
      await printed;
      const { code } = await process.status;
      this.#hasEnded = true;
      for (const check of this.#watching) check();
      return { code, stdout: this.stdout, stderr: this.stderr };
    })();
  }

  /** The log lines so far. @throws {SyntaxError} when one is no JSON */
  get log(): Record<string, unknown>[] {
    return this.stderr.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  }

  /** Resident memory, in MiB. */
  get residentMb(): number {
    const status = Deno.readTextFileSync(`/proc/${this.pid}/status`);
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) / 1024;
  }

  /** Resolves when what it has printed meets the condition. @throws {Error} when it ends before */
  async until(condition: (running: Running) => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const check = () => {
        if (condition(this)) resolve();
        else if (this.#hasEnded) {
          reject(new Error(`It ended too early:\n${this.stdout}\n${this.stderr}`));
        }
      };
      this.#watching.push(check);
      check();
    });
    this.#watching = [];
  }

  signal(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Sends the signal, unless it has ended, and waits for the end. */
  async kill(signal: Deno.Signal): Promise<Output> {
    if (!this.#hasEnded) {
      try {
        this.#process.kill(signal);
      } catch {
        // It has ended just now.
      }
    }
    return await this.ended;
  }
}
