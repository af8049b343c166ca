/**
 * Services whose workers start, or do not, as a list says; see `plugins/stubborn.ts`.
 *
 * @module
 */
import type { Json } from "../plugins/contract.ts";
import type { ServiceSetup } from "./with_service.ts";

/**
 * Gives a test the setup of such a service.
 * @param starts what the starts come to, one after another; the last says for all after it
 */
export async function stubborn(
  starts: string[],
  test: (setup: ServiceSetup, hasStarted: () => boolean) => Promise<void>,
  engine: Record<string, Json> = {},
): Promise<void> {
  const log = await Deno.makeTempFile();
  const setup = { plugins: ["stubborn"], transforms: [{ stubborn: { log, starts } }], engine };
  try {
    await test(setup, () => Deno.statSync(log).size > 0);
  } finally {
    await Deno.remove(log);
  }
}
