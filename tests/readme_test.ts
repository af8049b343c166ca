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
import { blocksOf, commandsOf, curl, deno, RunningServices } from "./markdown.ts";

const ROOT = new URL("..", import.meta.url);
/** What a program gets by itself when it lies in the project's folder. */
const SETTINGS = ["--unstable-net", `--config=${new URL("deno.json", ROOT).pathname}`];

const readme = await Deno.readTextFile(new URL("README.md", ROOT));
const blocks = blocksOf(readme);

Deno.test("the README's tour does what it says", async () => {
  const folder = await Deno.makeTempDir();
  const port = String(freePort());
  const local = (text: string) => text.replaceAll("8888", port);
  let service: RunningServices | undefined;
  let ran = 0;
  try {
    for (const block of blocks) {
      const file = block.notes.get("file");
      if (file !== undefined) {
        const text = local(block.text).replace('"./mod.ts"', `"${new URL("mod.ts", ROOT)}"`);
        await Deno.writeTextFile(`${folder}/${file}`, text);
      } else if (block.language === "console") {
        for (const { line, output } of commandsOf(block)) {
          ran++;
          if (line.startsWith("millrace run ")) {
            await service?.stop();
            service = undefined;
            const lines = output.trimEnd().split("\n").length;
            service = await RunningServices.start(line.split(" ").slice(1), folder, lines);
            assert.equal(service.announced, local(output), line);
          } else if (line.startsWith("deno ")) {
            await service?.stop();
            service = undefined;
            const [command, ...args] = line.split(" ").slice(1);
            const { code, stdout } = await deno([command!, ...SETTINGS, ...args], folder);
            assert.equal(code, 0);
            assert.equal(stdout, local(output), line);
          } else {
            assert.equal((await curl(local(line))).text, output.trimEnd(), line);
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
