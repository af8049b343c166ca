/**
 * The pages in `docs/`: every block of code is run.
 *
 * - A block after `<!-- file: NAME -->` is a file in a folder of the page's own.
 * - `yaml` is checked by `millrace lint`. A piece of a service is put into one. After
 *   `<!-- problems: N -->` it must have so many.
 * - `ts` is type-checked, and run when a block after `<!-- prints -->` follows: what it prints.
 * - `console` has commands after `$ `, and what they print. `millrace run` goes on in the background until
 *   the next one.
 * - `sh` has tasks that must be there.
 * - After `<!-- not run: REASON -->` a block is left alone.
 *
 * @module
 */
import assert from "node:assert/strict";
import { parse } from "yaml";
import config from "../deno.json" with { type: "json" };
import { freePort } from "./free_port.ts";
import {
  anchorsOf,
  assertPrinted,
  type Block,
  blocksOf,
  commandsOf,
  curl,
  deno,
  linksOf,
  millrace,
  RunningServices,
} from "./markdown.ts";

const ROOT = new URL("../", import.meta.url);
const DOCS = new URL("docs/", ROOT);

const pages = Array.from(Deno.readDirSync(DOCS), ({ name }) => name)
  .filter((name) => name.endsWith(".md")).sort();

for (const page of pages) {
  Deno.test(`the code in docs/${page} does what the page says`, async () => {
    const blocks = blocksOf(await Deno.readTextFile(new URL(page, DOCS)));
    const folder = await Deno.makeTempDir();
    const run = new PageRun(page, folder);
    try {
      for (const [at, block] of blocks.entries()) await run.block(block, blocks[at + 1]);
      await run.checkTypes();
    } finally {
      await run.close();
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("the links of the pages lead to files and headings that are there", async () => {
  const files = [...pages.map((page) => `docs/${page}`), "CHANGELOG.md"];
  for (const file of files) {
    const text = await Deno.readTextFile(new URL(file, ROOT));
    for (const link of linksOf(text)) {
      const [path, anchor] = link.split("#");
      const target = path === "" ? new URL(file, ROOT) : new URL(path!, new URL(file, ROOT));
      await Deno.stat(target).catch(() => assert.fail(`${file}: ${link} leads nowhere`));
      if (anchor === undefined) continue;
      const anchors = anchorsOf(await Deno.readTextFile(target));
      assert.ok(anchors.has(anchor), `${file}: ${link} has no such heading`);
    }
  }
});

/** Runs the blocks of one page. */
class PageRun {
  readonly #page: string;
  readonly #folder: string;
  readonly #port = String(freePort());
  readonly #modules: string[] = [];
  #services: RunningServices | undefined;

  constructor(page: string, folder: string) {
    this.#page = page;
    this.#folder = folder;
  }

  async block(block: Block, next: Block | undefined): Promise<void> {
    const { language, notes, line } = block;
    const where = `docs/${this.#page}:${line}`;
    if (notes.has("not run")) {
      assert.ok(notes.get("not run")!.length > 5, `${where}: say why it is not run`);
      return;
    }
    switch (language) {
      case "yaml":
        return await this.#yaml(block, where);
      case "ts":
        return await this.#module(block, next, where);
      case "text":
        return assert.ok(notes.has("prints"), `${where}: say what prints it`);
      case "console":
        for (const { line, output } of commandsOf(block)) {
          await this.#command(line, this.#local(output), `${where}: ${line}`);
        }
        return;
      case "sh":
        for (const [, task] of block.text.matchAll(/^(?:npx -y deno\S*|deno) task (\S+)/gm)) {
          assert.ok(task! in config.tasks, `${where}: there is no task "${task}"`);
        }
        return assert.doesNotMatch(block.text, /^(?!.*deno\S* task )./m, where);
      default:
        assert.fail(
          `${where}: a block of "${language}" cannot be run; say why by <!-- not run: -->`,
        );
    }
  }

  /** Type-checks all modules at once: a start of the compiler costs more than the work. */
  async checkTypes(): Promise<void> {
    if (this.#modules.length === 0) return;
    const { code, stderr } = await deno(
      ["check", `--config=${new URL("deno.json", ROOT).pathname}`, ...this.#modules],
      this.#folder,
    );
    assert.equal(code, 0, `docs/${this.#page}: ${stderr}`);
  }

  async close(): Promise<void> {
    await this.#services?.stop();
    this.#services = undefined;
  }

  async #yaml({ text, notes, line }: Block, where: string): Promise<void> {
    const given = parse(this.#local(text).replace(/\$\{\w+\}/g, "x"));
    const whole = "services" in given ? this.#local(text) : JSON.stringify({
      services: [{ name: "piece", source: "http", sink: "console", ...given }],
    });
    const file = notes.get("file") ?? `block_${line}.yaml`;
    await Deno.writeTextFile(`${this.#folder}/${file}`, whole);
    const { code, stderr } = await millrace(["lint", file], this.#folder);
    const problems = Number(notes.get("problems") ?? 0);
    assert.equal(code, problems === 0 ? 0 : 2, `${where}: ${stderr}`);
    assert.equal(stderr.split("\n").length - 1, problems, `${where}: ${stderr}`);
  }

  async #module({ text, notes, line }: Block, next: Block | undefined, where: string) {
    const file = notes.get("file") ?? `block_${line}.ts`;
    const source = text.replaceAll('"../mod.ts"', `"${new URL("mod.ts", ROOT)}"`);
    await Deno.writeTextFile(`${this.#folder}/${file}`, source);
    this.#modules.push(file);
    if (!next?.notes.has("prints")) return;
    const { code, stdout, stderr } = await deno(
      ["run", "-A", "--no-check", `--config=${new URL("deno.json", ROOT).pathname}`, file],
      this.#folder,
    );
    assert.equal(code, 0, `${where}: ${stderr}`);
    assertPrinted(stdout, next.text, where);
  }

  async #command(line: string, output: string, where: string): Promise<void> {
    if (line.startsWith("curl ")) {
      return assertPrinted((await curl(this.#local(line))).text, output, where);
    }
    const [, words, target] = /^millrace (.*?)(?: > (\S+))?$/.exec(line) ??
      assert.fail(`${where}: wanted curl or millrace`);
    const args = words!.split(" ");
    if (args[0] === "run") {
      await this.close();
      const lines = output.trimEnd().split("\n");
      this.#services = await RunningServices.start(args, this.#folder, lines.length);
      // Services get ready in any order.
      const announced = this.#services.announced.trimEnd().split("\n");
      return assert.deepEqual(announced.sort(), lines.sort(), where);
    }
    const { stdout, stderr } = await millrace(args, this.#folder);
    if (target === undefined) assertPrinted(stdout + stderr, output, where);
    else {
      assert.equal(stderr, "", where);
      await Deno.writeTextFile(`${this.#folder}/${target}`, stdout);
    }
  }

  /** The text with the port of this run in the place of the page's. */
  #local(text: string): string {
    return text.replaceAll("8888", this.#port);
  }
}
