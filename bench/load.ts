/**
 * Load from a process of its own: `wrk` when it is installed, else npm's autocannon.
 *
 * @module
 */

/** One measurement. */
export interface Load {
  readonly requestsPerSecond: number;
  /** Replies a second that were 2xx. */
  readonly goodput: number;
  /** Latencies in ms. */
  readonly p50: number;
  readonly p99: number;
  /** Replies that were not 2xx, and connections that broke. */
  readonly errors: number;
}

/** What to send. */
export interface LoadOptions {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  readonly body: string;
  /** Requests a second over all connections, whatever the replies; without it, as fast as they come. */
  readonly rate?: number;
}

const wrk = await found("wrk");

/** Which load generator is used. */
export const generator: string = wrk ? "wrk" : "autocannon";

/** Posts the body over and over, each connection as soon as it has its reply. */
export async function load(options: LoadOptions): Promise<Load> {
  // wrk cannot hold a rate.
  return wrk && options.rate === undefined
    ? await loadByWrk(options)
    : await loadByAutocannon(options);
}

async function loadByWrk({ url, connections, seconds, body }: LoadOptions): Promise<Load> {
  const script = await Deno.makeTempFile({ suffix: ".lua" });
  try {
    await Deno.writeTextFile(script, `wrk.method = "POST"\nwrk.body = ${JSON.stringify(body)}\n`);
    const text = await output("wrk", [
      ...["-t", "1", "-c", String(connections), "-d", `${seconds}s`, "--latency", "-s", script],
      url,
    ]);
    return parseWrk(text);
  } finally {
    await Deno.remove(script);
  }
}

/** Reads what wrk prints. */
export function parseWrk(text: string): Load {
  const percentile = (percent: number) => {
    const match = new RegExp(`^ +${percent}%\\s+([\\d.]+)(us|ms|s|m)$`, "m").exec(text);
    if (match === null) throw new Error(`Cannot read wrk's output:\n${text}`);
    return Number(match[1]) * { us: 0.001, ms: 1, s: 1000, m: 60_000 }[match[2]!]!;
  };
  const total = Number(/^ +(\d+) requests in/m.exec(text)?.[1] ?? 0);
  const rate = /^Requests\/sec:\s+([\d.]+)/m.exec(text);
  const failed = /Non-2xx or 3xx responses: (\d+)/.exec(text);
  const broken = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const requestsPerSecond = Number(rate?.[1] ?? 0);
  const failures = Number(failed?.[1] ?? 0);
  return {
    requestsPerSecond,
    goodput: total === 0 ? 0 : requestsPerSecond * (total - failures) / total,
    p50: percentile(50),
    p99: percentile(99),
    errors: failures +
      (broken?.slice(1).reduce((sum, count) => sum + Number(count), 0) ?? 0),
  };
}

async function loadByAutocannon(options: LoadOptions): Promise<Load> {
  const { url, connections, seconds, body, rate } = options;
  const text = await output(Deno.execPath(), [
    ...["run", "-A", "npm:autocannon@9.0.0", "--json", "-m", "POST", "-b", body],
    ...["-c", String(connections), "-d", String(seconds)],
    ...(rate === undefined ? [] : ["-R", String(rate)]),
    url,
  ]);
  const result = JSON.parse(text);
  return {
    requestsPerSecond: result.requests.average,
    goodput: result["2xx"] / result.duration,
    p50: result.latency.p50,
    p99: result.latency.p99,
    errors: result.errors + result.non2xx,
  };
}

async function output(command: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (code !== 0) throw new Error(`${command} failed: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

async function found(command: string): Promise<boolean> {
  try {
    await new Deno.Command(command, { args: ["-v"], stdout: "null", stderr: "null" }).output();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
