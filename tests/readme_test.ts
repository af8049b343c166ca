/**
 * The README's tour, run as a user would: its files are written to an empty folder, its commands run in
 * order, and what they print is compared.
 *
 * A block after `<!-- file: NAME -->` is a file. In a `console` block a line after `$ ` is a command, and
 * what follows is its output. `millrace run` goes on in the background until the next one.
 *
 * @module
 */
import assert from "node:assert/strict";
import { freePort } from "./free_port.ts";

const ROOT = new URL("..", import.meta.url);

interface Block {
  readonly file: string | undefined;
  readonly language: string;
  readonly text: string;
}

interface Command {
  readonly line: string;
  readonly output: string;
}

function blocksOf(markdown: string): Block[] {
  const pattern = /(?:<!-- file: (\S+) -->\s*)?^```(\w*)\n([\s\S]*?)^```$/gm;
  return Array.from(markdown.matchAll(pattern), ([, file, language, text]) => ({
    file,
    language: language!,
    text: text!,
  }));
}

function commandsOf({ text }: Block): Command[] {
  return text.split(/^\$ /m).slice(1).map((part) => {
    const end = part.indexOf("\n");
    return { line: part.slice(0, end), output: part.slice(end + 1) };
  });
}

const readme = await Deno.readTextFile(new URL("README.md", ROOT));
const blocks = blocksOf(readme);

Deno.test("the README's tour does what it says", async () => {
  const folder = await Deno.makeTempDir();
  const port = String(freePort());
  const local = (text: string) => text.replaceAll("8888", port);
  let service: Running | undefined;
  let ran = 0;
  try {
    for (const block of blocks) {
      if (block.file !== undefined) {
        const text = local(block.text).replace('"./mod.ts"', `"${new URL("mod.ts", ROOT)}"`);
        await Deno.writeTextFile(`${folder}/${block.file}`, text);
      } else if (block.language === "console") {
        for (const { line, output } of commandsOf(block)) {
          ran++;
          if (line.startsWith("millrace run ")) {
            await service?.stop();
            service = undefined;
            service = await Running.start(line.split(" ").slice(1), folder);
            assert.equal(service.announced, local(output), line);
          } else if (line.startsWith("deno ")) {
            await service?.stop();
            service = undefined;
            assert.equal(await runDeno(line.split(" ").slice(1), folder), local(output), line);
          } else {
            assert.equal(await curl(local(line)), output.trimEnd(), line);
          }
        }
      }
    }
  } finally {
    await service?.stop();
    await Deno.remove(folder, { recursive: true });
  }
  assert.equal(ran, 11, "commands in the README");
});

Deno.test("the README's two commands are tasks that exist", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const [block] = blocks.filter(({ language }) => language === "sh");
  const names = Array.from(
    block!.text.matchAll(/^npx -y deno@[\d.]+ task (\w+)/gm),
    ([, name]) => name,
  );
  assert.deepEqual(names, ["start", "ok"]);
  for (const name of names) assert.ok(tasks[name!], name);
});

Deno.test("the README's links lead somewhere", async () => {
  const links = Array.from(readme.matchAll(/\]\(([^):]+)\)/g), ([, link]) => link!);
  assert.ok(links.length > 5);
  for (const link of links) await Deno.stat(new URL(link, ROOT));
});

/** `millrace run` in a process of its own. */
class Running {
  readonly announced: string;
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess, announced: string) {
    this.#process = process;
    this.announced = announced;
  }

  static async start(args: string[], cwd: string): Promise<Running> {
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", new URL("main.ts", ROOT).pathname, ...args],
      cwd,
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    let text = "";
    const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    while (!/^ {2}curl .*\n/m.test(text)) {
      const { value, done } = await reader.read();
      assert.ok(!done, `the service ended before it was ready: ${text}`);
      text += value;
    }
    reader.releaseLock();
    return new Running(process, text);
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGTERM");
    const { code } = await this.#process.status;
    assert.equal(code, 0);
  }
}

async function runDeno(args: string[], cwd: string): Promise<string> {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...args.slice(0, 1),
      "--unstable-net",
      `--config=${new URL("deno.json", ROOT).pathname}`,
      ...args.slice(1),
    ],
    cwd,
    stderr: "inherit",
  }).output();
  assert.equal(code, 0);
  return new TextDecoder().decode(stdout);
}

/** `curl -d BODY URL`, by fetch, so that the test needs no curl. */
async function curl(line: string): Promise<string> {
  const [, body, url] = /^curl -d '([^']*)' (\S+)$/.exec(line)!;
  return await (await fetch(url!, { method: "POST", body: body! })).text();
}
