/**
 * The head of a request as the balancer sends it on.
 *
 * @module
 */
import { HOP_BY_HOP } from "./reply_head.ts";

/** Where a request came from. */
export interface Origin {
  /** Address of the client. */
  readonly client: string;
  /** Whether what a proxy in front says about where it came from is kept. */
  readonly trustForwarded: boolean;
}

const FORWARDED: ReadonlySet<string> = new Set([
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
]);

/**
 * Makes the head, the empty line after it included.
 * @param target path and query, as they came
 * @param framing length of the body, `chunked`, or undefined for none
 */
export function requestHead(
  { method, headers }: Pick<Request, "method" | "headers">,
  target: string,
  authority: string,
  framing: number | "chunked" | undefined,
  { client, trustForwarded }: Origin,
): string {
  const dropped = headers.get("connection")?.toLowerCase().split(",").map((name) => name.trim());
  let text = `${method} ${target} HTTP/1.1\r\nhost: ${authority}\r\n`;
  for (const [name, value] of headers) {
    // The server has read the body by its framing, and answered "expect" when it had to.
    if (name === "host" || name === "content-length" || name === "expect") continue;
    if (HOP_BY_HOP.has(name) || FORWARDED.has(name) || dropped?.includes(name)) continue;
    text += `${name}: ${value}\r\n`;
  }
  const before = (name: string) => trustForwarded ? headers.get(name) : null;
  const node = client.includes(":") ? `"[${client}]"` : client;
  const element = `for=${node};host=${quoted(authority)};proto=http`;
  text += `x-forwarded-for: ${list(before("x-forwarded-for"), client)}\r\n` +
    `x-forwarded-host: ${before("x-forwarded-host") ?? authority}\r\n` +
    `x-forwarded-proto: ${before("x-forwarded-proto") ?? "http"}\r\n` +
    `forwarded: ${list(before("forwarded"), element)}\r\n`;
  if (framing === "chunked") text += "transfer-encoding: chunked\r\n";
  else if (framing !== undefined) text += `content-length: ${framing}\r\n`;
  return `${text}\r\n`;
}

/** Path and query of an absolute URL, as they are; `/` for none. */
export function targetOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  return start < 0 ? "/" : url.slice(start);
}

/** Host and port of an absolute URL. */
export function authorityOf(url: string): string {
  const start = url.indexOf("://") + 3;
  const end = url.indexOf("/", start);
  return url.slice(start, end < 0 ? url.length : end);
}

function list(before: string | null, last: string): string {
  return before === null ? last : `${before}, ${last}`;
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}
