/**
 * The directory in which the partitions of a query meet to exchange rows.
 *
 * @module
 */

/** What the operating system takes for a socket's path, less the longest name of one, in bytes. */
const MAX_DIR_BYTES = 107 - "/1234-1234.sock".length;

/** Makes a directory that only this user can enter. Its maker removes it. */
export async function makeExchangeDir(): Promise<string> {
  const prefix = "millrace-";
  const dir = await Deno.makeTempDir({ prefix });
  if (new TextEncoder().encode(dir).length <= MAX_DIR_BYTES) return dir;
  await Deno.remove(dir);
  return await Deno.makeTempDir({ prefix, dir: "/tmp" });
}

/** Removes the directory and the sockets in it. Safe twice. */
export async function removeExchangeDir(dir: string): Promise<void> {
  try {
    await Deno.remove(dir, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
