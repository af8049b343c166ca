/**
 * `millrace services`
 *
 * @module
 */
import type { ServiceInfo } from "../plugins/contract.ts";
import { DONE, FAILED, type Io } from "./io.ts";
import { table } from "./table.ts";

/** Options of the command. */
export interface ServicesOptions {
  /** The admin listener of a running `millrace run`. */
  readonly admin: string;
  readonly json?: boolean;
  /** Those of all machines of the process's clusters. */
  readonly cluster?: boolean;
}

type Listed = ServiceInfo & { readonly query: string; readonly member?: string };

/** How long the listener may take to answer, in ms. */
const TIMEOUT_MS = 5_000;

/**
 * Prints all listeners of a running process.
 * @returns the exit code
 */
export async function services(options: ServicesOptions, io: Io): Promise<number> {
  const { admin } = options;
  let listed: readonly Listed[];
  try {
    const url = new URL("services", admin.endsWith("/") ? admin : `${admin}/`);
    if (options.cluster === true) url.search = "?cluster";
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`it answered with status ${response.status}`);
    }
    listed = (await response.json()).services;
    if (!Array.isArray(listed)) throw new Error("its answer has no services");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    io.err(
      `error: Cannot ask "${admin}": ${why}; start \`millrace run --admin-port\` or name its URL with --admin\n`,
    );
    return FAILED;
  }
  if (options.json === true) io.out(`${JSON.stringify(listed, null, 2)}\n`);
  else io.out(`${asTable(listed, io.width)}\n`);
  return DONE;
}

function asTable(listed: readonly Listed[], width: number): string {
  if (listed.length === 0) return "No services";
  const index = (value: number) => value < 0 ? "-" : String(value);
  const isCluster = listed.some(({ member }) => member !== undefined);
  return table(
    [
      ...isCluster ? ["MEMBER"] : [],
      "QUERY",
      "SERVICE",
      "PEER",
      "PARTITION",
      "STATE",
      "HOST",
      "PORT",
      "PATH",
    ],
    listed.map(({ member, query, name, peer, partition, state, host, port, path }) => [
      ...isCluster ? [member ?? "-"] : [],
      query,
      name,
      index(peer),
      index(partition),
      state,
      host,
      String(port),
      path,
    ]),
    width,
  );
}
