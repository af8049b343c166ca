/**
 * Entries of options schemas that have to do with addresses. They are apart from the services, so that
 * who checks options does not load them.
 *
 * @module
 */
import * as v from "valibot";

/** Entry for the address to bind. */
export const HOST_ENTRY = v.pipe(
  v.optional(v.pipe(v.string(), v.nonEmpty()), "localhost"),
  v.description("Address to bind; `0.0.0.0` for all of the machine's."),
);

/** A port that can be bound; 0 is any free one. */
export function port() {
  return v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
}

/** A whole number from 1. */
export function positive() {
  return v.pipe(v.number(), v.integer(), v.minValue(1));
}
