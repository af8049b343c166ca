/**
 * `millrace list`
 *
 * @module
 */
import { DONE, type Io } from "./io.ts";
import { allPlugins, loadRegistry, type PluginOptions } from "./plugins.ts";
import { table } from "./table.ts";

/**
 * Lists plugins.
 * @returns the exit code
 * @throws {PlanError} when an outside plugin cannot be loaded
 */
export async function list(
  options: PluginOptions & { readonly json?: boolean },
  io: Io,
): Promise<number> {
  const plugins = await allPlugins(await loadRegistry(options), options.kind);
  if (options.json === true) {
    const entries = plugins.map(({ kind, name, aliases = [], summary }) => ({
      kind,
      name,
      aliases,
      summary,
    }));
    io.out(`${JSON.stringify(entries, null, 2)}\n`);
    return DONE;
  }
  const rows = plugins.map(({ kind, name, summary }) => [kind, name, summary]);
  io.out(`${table(["Kind", "Name", "Summary"], rows, io.width)}\n`);
  return DONE;
}
