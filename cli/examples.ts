/**
 * The files of `examples/`, which a compiled binary has in it: `millrace create --example [NAME]`
 *
 * @module
 */
import { PlanError } from "../plugins/errors.ts";
import { nearest } from "../plugins/nearest.ts";
import { DONE, type Io } from "./io.ts";
import { table } from "./table.ts";

const EXAMPLES = new URL("../examples/", import.meta.url);

/** An example: a config, or a plugin that one uses. */
export interface Example {
  /** The path of the file in `examples/`; of a config without its ending. */
  readonly name: string;
  readonly text: string;
}

/** All examples, configs first. */
export async function allExamples(): Promise<Example[]> {
  const configs = await filesOf("", ".yaml"), plugins = await filesOf("plugins/", ".ts");
  return await Promise.all([...configs, ...plugins].map(async (path) => ({
    name: path.replace(/\.yaml$/, ""),
    text: await Deno.readTextFile(new URL(path, EXAMPLES)),
  })));
}

/**
 * Prints the example of a name, and on stderr how to get the plugins that it uses; without a name the
 * list of them.
 * @returns the exit code
 * @throws {PlanError} when there is none of the name
 */
export async function example(name: string | undefined, io: Io): Promise<number> {
  const examples = await allExamples();
  if (name === undefined) {
    const rows = examples.map(({ name, text }) => [name, summaryOf(text)]);
    io.out(`${table(["Name", "Summary"], rows, io.width)}\n`);
    return DONE;
  }
  const wanted = name.replace(/\.yaml$/, "");
  const found = examples.find((each) => each.name === wanted);
  if (found === undefined) {
    const names = examples.map((each) => each.name);
    throw new PlanError(`Unknown example "${name}": ${nearest(name, names)}`);
  }
  io.out(found.text);
  const plugins = examples.filter((each) => found.text.includes(`./${each.name}`));
  if (plugins.length > 0) {
    const commands = plugins.map((each) =>
      `  millrace create --example ${each.name} > ${each.name}\n`
    );
    io.err(`It needs, beside it:\n${commands.join("")}`);
  }
  return DONE;
}

async function filesOf(folder: string, ending: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(new URL(folder, EXAMPLES))) {
    if (name.endsWith(ending)) names.push(folder + name);
  }
  return names.sort();
}

/** The first sentence of the comment at the top. */
function summaryOf(text: string): string {
  const comment = text.split("\n")
    .map((line) => /^(?:# ?|\/?\*+ ?| \*+ ?)(.*)$/.exec(line)?.[1]);
  const end = comment.indexOf(undefined);
  const [, sentence = ""] = /^\s*(.*?)\.(?:\s|$)/.exec(comment.slice(0, end).join(" ")) ?? [];
  return `${sentence}.`;
}
