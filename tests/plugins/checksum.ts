/**
 * Replies with a checksum of the body, and with its first 12 characters.
 *
 * @module
 */
import type { TransformPlugin } from "../../plugins/contract.ts";

/** What the service must answer to a body. */
export function replyTo(value: string): string {
  // FNV-1a, over UTF-16.
  let hash = 0x811c9dc5;
  for (let at = 0; at < value.length; at++) {
    hash = Math.imul(hash ^ value.charCodeAt(at), 0x01000193);
  }
  return `${value.slice(0, 12).toWellFormed()} ${value.length} ${(hash >>> 0).toString(16)}`;
}

const plugin: TransformPlugin<Record<never, never>> = {
  kind: "transform",
  name: "checksum",
  summary: "Replies with a checksum of the body.",
  options: (v) => v.strictObject({}),
  outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
  requires: () => new Set(["id", "value"]),
  create: () => ({
    transform: (batch) =>
      batch.withColumn("reply", "string", (batch.column("value") as string[]).map(replyTo)),
  }),
};
export default plugin;
