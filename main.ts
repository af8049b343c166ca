/**
 * The program: `deno run -A main.ts run examples/hello.yaml`.
 *
 * @module
 */
import { runCli } from "./cli/cli.ts";

// Not awaited: a compiled binary keeps compiled code for its next start once this module has ended.
if (import.meta.main) runCli(Deno.args).then(Deno.exit);
