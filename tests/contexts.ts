/**
 * What plugins are given, for tests that run one without an engine.
 *
 * @module
 */
import { Batch, Schema } from "../engine/batch.ts";
import { QueryReplies, Replies } from "../engine/replies.ts";
import type { PlanContext, SinkContext, SourceContext } from "../plugins/contract.ts";

/** For the static functions of a plugin. */
export const planContext: PlanContext = {
  Batch,
  Schema,
  baseUrl: new URL(".", import.meta.url).href,
};

/** For `create` of a source or a sink; log lines are kept in `lines`, counts in `counts`. */
export function pluginContext(
  given: Partial<SourceContext> = {},
): SourceContext & SinkContext & {
  readonly lines: string[];
  readonly counts: Map<string, number>;
} {
  const lines: string[] = [];
  const counts = new Map<string, number>();
  const at = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  return {
    ...planContext,
    service: "test",
    logger: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
    metrics: { add: (name, amount) => counts.set(name, (counts.get(name) ?? 0) + amount) },
    signal: new AbortController().signal,
    peer: 0,
    partition: -1,
    partitions: 1,
    permissions: "inherit",
    columns: "all",
    siblings: [],
    replies: new QueryReplies(new Replies()),
    lines,
    counts,
    ...given,
  };
}
