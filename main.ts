/**
 * The program: `deno run -A main.ts run examples/hello.yaml`.
 *
 * @module
 */
import { runCli } from "./cli/cli.ts";

if (import.meta.main) Deno.exit(await runCli(Deno.args));
