/**
 * Errors as plain data, to cross the walls of isolates and processes.
 *
 * @module
 */
import { PlanError } from "../plugins/errors.ts";
import type { ErrorMessage } from "./partition_protocol.ts";

/** What there is to say of anything that was thrown. */
export function errorMessage(error: unknown): ErrorMessage {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const path = (error as { path?: readonly (string | number)[] }).path;
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    ...(Array.isArray(path) ? { path } : {}),
  };
}

/** The error again, of the class `PlanError` if it was one; by its name otherwise. */
export function revive({ name, message, path, stack }: ErrorMessage): Error {
  if (name === "PlanError") return new PlanError(message, path === undefined ? {} : { path });
  const error = new Error(message);
  error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;
}
