/**
 * Log lines: for people on a terminal, JSON lines elsewhere; always to stderr. A library's user
 * configures logtape, or nothing is logged.
 *
 * @module
 */
import {
  configureSync,
  getAnsiColorFormatter,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type LogRecord,
} from "@logtape/logtape";
import type { PluginLogger } from "../plugins/contract.ts";
import type { LogLevel } from "./partition_protocol.ts";

/** The levels from the most to the least talkative. */
export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** How lines look: `human`, or one JSON object a line. */
export type LogFormat = "human" | "json";

/** What {@linkcode configureLogging} needs. */
export interface LoggingOptions {
  /** Lowest level that is written. Default `info`. */
  readonly level?: LogLevel;
  /** Default: `human` when stderr is a terminal, else `json`. */
  readonly format?: LogFormat;
  /** Takes each line, its end included. Default: stderr. */
  write?(line: string): void;
}

/** Sets up logging for the process. A second call replaces the first. */
export function configureLogging(options: LoggingOptions = {}): void {
  const { level = "info" } = options;
  const write = options.write ?? writeToStderr;
  const format = formatter(options.format ?? (Deno.stderr.isTerminal() ? "human" : "json"));
  configureSync({
    reset: true,
    sinks: { stderr: (record: LogRecord) => write(format(record)) },
    loggers: [
      { category: "millrace", lowestLevel: LOGTAPE[level], sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stderr"] },
    ],
  });
}

/** The logger of a query, or of a part of it, which is named below it. */
export function pluginLogger(name: string, ...part: string[]): PluginLogger {
  const logger = getLogger(["millrace", name, ...part]);
  // A message is data: braces in it are no placeholders.
  const at = (level: LogLevel) => (message: string, properties: Record<string, unknown> = {}) =>
    logger[level](message.replaceAll("{", "{{").replaceAll("}", "}}"), properties);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** The lowest level that is written for a query; `none` when nothing is. */
export function enabledLevel(name: string): LogLevel | "none" {
  const logger = getLogger(["millrace", name]);
  return LOG_LEVELS.find((level) => logger.isEnabledFor(LOGTAPE[level])) ?? "none";
}

const LOGTAPE = { debug: "debug", info: "info", warn: "warning", error: "error" } as const;
const NAMES = {
  trace: "debug",
  debug: "debug",
  info: "info",
  warning: "warn",
  error: "error",
  fatal: "error",
} as const;

function formatter(format: LogFormat): (record: LogRecord) => string {
  if (format === "json") {
    return getJsonLinesFormatter({ properties: "flatten", message: "rendered" });
  }
  const options = {
    timestamp: "time",
    level: (level: LogRecord["level"]) => NAMES[level].padEnd(5),
    category: (category: readonly string[]) => category.slice(1).join("/") || "millrace",
  } as const;
  return Deno.noColor ? getTextFormatter(options) : getAnsiColorFormatter(options);
}

const encoder = new TextEncoder();

function writeToStderr(line: string): void {
  try {
    Deno.stderr.writeSync(encoder.encode(line));
  } catch {
    // A closed stderr must not take a service down.
  }
}

/** Whether a text is a log level. */
export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}
