/**
 * `millrace lint FILE...`
 *
 * @module
 */
import { loadPlans } from "../engine/config.ts";
import { session } from "../engine/session.ts";
import { DONE, type Io } from "./io.ts";

/**
 * Checks configs.
 * @returns the exit code
 * @throws {ConfigError}
 */
export async function lint(files: readonly string[], io: Io): Promise<number> {
  const loaded = await loadPlans(files, { env: io.env, newRegistry: () => session.newRegistry() });
  for (const { file, plans } of loaded) {
    io.out(
      `${file}: ${plans.length} ${plans.length === 1 ? "service" : "services"}, no problems\n`,
    );
  }
  return DONE;
}
