/**
 * The errors that are signals: each one names what the engine does about it. Any other error thrown
 * by a plugin while it works counts as the fault of the batch at hand.
 *
 * @module
 */

/**
 * The plan, the config or an option is wrong. The query does not start; a command exits with 2.
 * `path` leads to the culprit: `["services", 0, "source", "http", "port"]`.
 */
export class PlanError extends Error {
  override readonly name = "PlanError";
  readonly path: readonly (string | number)[];

  constructor(
    message: string,
    options: { path?: readonly (string | number)[]; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.path = options.path ?? [];
  }

  /** The same error, found deeper inside: `path` is put before its own path. */
  within(...path: readonly (string | number)[]): PlanError {
    return new PlanError(this.message, {
      path: [...path, ...this.path],
      ...(this.cause === undefined ? {} : { cause: this.cause }),
    });
  }
}

/** A bounded source has no more rows. The query finishes what it has and ends well. */
export class EndOfInput extends Error {
  override readonly name = "EndOfInput";
}

/** A connection is gone. The engine tries the call again with growing pauses, without an end. */
export class NotConnected extends Error {
  override readonly name = "NotConnected";
}

/** The other side asks for patience. The engine tries the call again after `milliseconds`. */
export class RetryAfter extends Error {
  override readonly name = "RetryAfter";
  constructor(message: string, readonly milliseconds: number) {
    super(message);
  }
}

/** It will never work. The engine does not try again: the query ends with this error. */
export class Permanent extends Error {
  override readonly name = "Permanent";
}

/**
 * Some rows of a batch failed. The engine answers those rows with the error, takes them out, and
 * runs the rest of the batch again; no splitting is needed to find them.
 */
export class BatchError extends Error {
  override readonly name = "BatchError";
  /** Position of each failed row in the batch given to the plugin, and what was wrong with it. */
  readonly rows: ReadonlyMap<number, Error>;

  constructor(rows: ReadonlyMap<number, Error>) {
    const first = rows.entries().next().value;
    super(
      first === undefined
        ? "No rows failed"
        : `${rows.size} rows failed, the first at ${first[0]}: ${first[1].message}`,
    );
    this.rows = rows;
  }
}

/**
 * One row is the caller's fault. Inside a {@linkcode BatchError} it gives the caller this status
 * and message in place of a 500.
 */
export class RowError extends Error {
  override readonly name = "RowError";
  constructor(message: string, readonly status: number = 400) {
    super(message);
  }
}
