/**
 * The checkpoint of a query: what it needs to go on where it stood, in one SQLite file. Offsets are
 * logged before a batch runs, the commit after its sink; each call is on the disk when it returns.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import type { Json, Offset } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import type { Plan, PluginUse } from "./plan.ts";

/** The newest batch in a checkpoint: the rows after `start` up to and including `end`. */
export interface LoggedBatch {
  readonly batchId: number;
  readonly start: Offset | null;
  readonly end: Offset;
  /** Whether the sink has it. */
  readonly committed: boolean;
}

/** The state of one stateful transform in one partition. */
export interface OperatorState {
  readonly partition: number;
  /** Position of the transform in the plan. */
  readonly operator: number;
  readonly state: Json | Uint8Array;
}

/** Whose checkpoint it is. */
export interface CheckpointOwner {
  /** The plan's {@linkcode fingerprint}. */
  readonly fingerprint: string;
  /** The query's name, for messages. */
  readonly name: string;
}

/** Raised when the tables change; a checkpoint of a higher format is refused. */
const FORMAT = 1;

const CREATE_TABLES = `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
  CREATE TABLE offsets (
    batch_id INTEGER PRIMARY KEY, start_offset TEXT NOT NULL, end_offset TEXT NOT NULL,
    ts TEXT NOT NULL
  ) STRICT;
  CREATE TABLE commits (batch_id INTEGER PRIMARY KEY, ts TEXT NOT NULL) STRICT;
  CREATE TABLE state (
    batch_id INTEGER NOT NULL, partition INTEGER NOT NULL, operator INTEGER NOT NULL,
    blob ANY NOT NULL, PRIMARY KEY (batch_id, partition, operator)
  ) STRICT;`;

const STATEMENTS = {
  meta: "SELECT value FROM meta WHERE key = ?",
  setMeta: "INSERT OR REPLACE INTO meta VALUES (?, ?)",
  latest: `SELECT batch_id, start_offset, end_offset, commits.ts AS committed
    FROM offsets LEFT JOIN commits USING (batch_id) ORDER BY batch_id DESC LIMIT 1`,
  logOffsets: "INSERT INTO offsets VALUES (?, ?, ?, ?)",
  commit: "INSERT INTO commits VALUES (?, ?)",
  oldest: "SELECT min(batch_id) AS oldest FROM offsets",
  pruneOffsets: "DELETE FROM offsets WHERE batch_id < ?",
  pruneCommits: "DELETE FROM commits WHERE batch_id < ?",
  saveState: "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)",
  loadState: `SELECT partition, operator, blob FROM state WHERE batch_id = ?
    ORDER BY operator, partition`,
  pruneState: "DELETE FROM state WHERE batch_id < ?",
} as const;

type Statements = Readonly<Record<keyof typeof STATEMENTS, StatementSync>>;

/** An open checkpoint. It belongs to one query at a time. */
export class Checkpoint {
  /** The query's id: the same after every restart. */
  readonly queryId: string;
  readonly #db: DatabaseSync;
  readonly #statements: Statements;
  #latest: LoggedBatch | undefined;
  #closed = false;

  private constructor(db: DatabaseSync, statements: Statements) {
    this.#db = db;
    this.#statements = statements;
    this.queryId = readMeta(statements, "query_id") as string;
    this.#latest = readLatest(statements);
  }

  /**
   * Opens the checkpoint of a directory, or makes a new one where there is none.
   * @param directory a path or a `file://` URL
   * @throws {PlanError} when it is another plan's, of a newer format, broken, or in use. It is then
   *   left as it was.
   */
  static open(directory: string | URL, owner: CheckpointOwner): Checkpoint {
    const path = String(directory).startsWith("file:")
      ? fileURLToPath(directory)
      : String(directory);
    let db: DatabaseSync | undefined;
    try {
      db = openDatabase(path, owner);
      return new Checkpoint(db, prepareAll(db));
    } catch (error) {
      db?.close();
      throw refusal(path, error);
    }
  }

  /** The newest batch that was logged, or undefined before the first one. */
  latest(): LoggedBatch | undefined {
    return this.#latest;
  }

  /**
   * Logs the rows of a batch that is about to run.
   * @throws {RangeError} when the batch is not the one after the newest, or that is not committed
   */
  logOffsets(batchId: number, start: Offset | null, end: Offset): void {
    const latest = this.#latest;
    const next = latest === undefined ? 0 : latest.batchId + 1;
    if (batchId !== next || latest?.committed === false) {
      const wanted = latest?.committed === false ? `a commit of batch ${latest.batchId}` : next;
      throw new RangeError(`Cannot log offsets of batch ${batchId}: wanted ${wanted} next`);
    }
    this.#statements.logOffsets.run(batchId, JSON.stringify(start), JSON.stringify(end), now());
    this.#latest = { batchId, start, end, committed: false };
  }

  /**
   * Notes that the sink has the batch.
   * @throws {RangeError} when it is not the newest one, or is committed already
   */
  commit(batchId: number): void {
    const latest = this.#latest;
    if (latest?.batchId !== batchId || latest.committed) {
      throw new RangeError(
        `Cannot commit batch ${batchId}: ${
          latest === undefined
            ? "no batch is logged"
            : `the newest is ${latest.batchId}${latest.committed ? ", committed already" : ""}`
        }`,
      );
    }
    this.#statements.commit.run(batchId, now());
    this.#latest = { ...latest, committed: true };
  }

  /**
   * Takes `count` batch ids that nobody gets again, not even after a crash. For sources that cannot
   * give rows again: their batches are numbered by blocks, so that a batch costs no disk write.
   * @returns the first of them
   */
  reserve(count: number): number {
    const first = Number(readMeta(this.#statements, "reserved"));
    this.#statements.setMeta.run("reserved", first + count);
    return first;
  }

  /**
   * Keeps the states after a batch, all or none of them. Call it before the batch's commit. Older ones
   * are forgotten, but for those of the batch before, which count until the commit.
   */
  saveState(batchId: number, states: Iterable<OperatorState>): void {
    this.#transaction(() => {
      for (const { partition, operator, state } of states) {
        const blob = state instanceof Uint8Array ? state : JSON.stringify(state);
        this.#statements.saveState.run(batchId, partition, operator, blob);
      }
      this.#statements.pruneState.run(batchId - 1);
    });
  }

  /** The states after a batch, by operator and partition. */
  loadState(batchId: number): OperatorState[] {
    const rows = this.#statements.loadState.all(batchId) as unknown as StateRow[];
    return rows.map(({ partition, operator, blob }) => ({
      partition,
      operator,
      state: typeof blob === "string" ? JSON.parse(blob) as Json : blob,
    }));
  }

  /**
   * Forgets old batches. Keeps the newest `keep` at least, and twice as many at most: it works once in
   * `keep` calls, since each time costs a disk write.
   */
  prune(keep: number): void {
    const latest = this.#latest?.batchId ?? -1;
    const { oldest } = this.#statements.oldest.get() as { oldest: number | null };
    if (oldest === null || latest - oldest < 2 * keep) return;
    this.#transaction(() => {
      this.#statements.pruneOffsets.run(latest - keep + 1);
      this.#statements.pruneCommits.run(latest - keep + 1);
    });
  }

  /** Lets go of the file. Safe twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#db.close();
  }

  #transaction(work: () => void): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      work();
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#db.exec("ROLLBACK");
      throw error;
    }
  }
}

/**
 * What makes two plans the same for a checkpoint: SHA-256, in hex, over the plugins and their options as
 * they were written. Left out, and free to change between two runs, is all that moves or limits the
 * work and leaves its meaning alone: the query's name, partitions, trigger, batching, the places of the
 * checkpoint and of plugins, and in the options of the source and the sink `host`, `port`, limits
 * (`max...`) and time-outs (`...TimeoutMs`).
 */
export function fingerprint(plan: Plan): string {
  const meaning = {
    version: plan.version,
    source: withoutTuning(plan.source),
    transforms: plan.transforms,
    sink: withoutTuning(plan.sink),
  };
  return createHash("sha256").update(JSON.stringify(meaning, sortKeys)).digest("hex");
}

interface StateRow {
  readonly partition: number;
  readonly operator: number;
  readonly blob: string | Uint8Array;
}

/** The database, locked, checked, and with its tables. */
function openDatabase(directory: string, owner: CheckpointOwner): DatabaseSync {
  const path = `${directory}/checkpoint.db`;
  // Stands while the tables are being made, to tell a file cut short by then from one damaged later.
  const creating = `${directory}/checkpoint.creating`;
  Deno.mkdirSync(directory, { recursive: true });
  const size = sizeOf(path);
  if (size === undefined) Deno.writeTextFileSync(creating, "");
  const isNew = sizeOf(creating) !== undefined;
  if (size === 0 && !isNew) throw new Unreadable("the file is empty");
  // To close a database is to write its log back: do not even that before it is known to be ours.
  if (!isNew && sizeOf(`${path}-wal`)) {
    const readOnly = new DatabaseSync(path, { readOnly: true });
    try {
      verify(readOnly, owner);
    } finally {
      readOnly.close();
    }
  }
  const db = new DatabaseSync(path);
  try {
    // A second process is refused: until this one closes or dies, its lock on the file stays.
    db.exec("PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; ROLLBACK");
    if (isNew && !hasTables(db)) create(db, owner);
    verify(db, owner);
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN IMMEDIATE; ROLLBACK");
    if (isNew) Deno.removeSync(creating);
  } catch (error) {
    db.close();
    throw error;
  }
  return db;
}

function create(db: DatabaseSync, { fingerprint, name }: CheckpointOwner): void {
  db.exec(`PRAGMA synchronous = FULL; BEGIN IMMEDIATE; ${CREATE_TABLES}`);
  const setMeta = db.prepare(STATEMENTS.setMeta);
  const meta = {
    format: FORMAT,
    query_id: crypto.randomUUID(),
    name,
    fingerprint,
    created: now(),
    reserved: 0,
  };
  for (const [key, value] of Object.entries(meta)) setMeta.run(key, value);
  db.exec("COMMIT");
}

/** A file that is no checkpoint, or not a whole one. */
class Unreadable extends Error {}

/** Throws unless the database is a whole checkpoint of this format and this plan. */
function verify(db: DatabaseSync, { fingerprint }: CheckpointOwner): void {
  // By `exec` first: in Deno 2.4 a statement's error does not say what is wrong.
  db.exec("PRAGMA busy_timeout = 0; SELECT * FROM sqlite_master");
  if (!hasTables(db)) throw new Unreadable("tables are missing");
  const meta = db.prepare(STATEMENTS.meta);
  const format = (meta.get("format") as { value: unknown } | undefined)?.value;
  if (typeof format !== "number") throw new Unreadable("it has no format version");
  if (format > FORMAT) {
    throw new Refused(
      `it has format ${format} and this version of Millrace reads formats up to ${FORMAT}; ` +
        "use a newer version, or another directory",
    );
  }
  const damage = db.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
  if (damage.quick_check !== "ok") throw new Unreadable(damage.quick_check);
  const statements = prepareAll(db);
  if (readMeta(statements, "fingerprint") !== fingerprint) {
    throw new Refused(
      `it belongs to another plan, of query "${readMeta(statements, "name")}"; use another ` +
        "directory, or remove this one to start anew",
    );
  }
  if (typeof readMeta(statements, "query_id") !== "string") throw new Unreadable("it has no id");
  readLatest(statements);
}

/** A checkpoint that is whole but not for this query. */
class Refused extends Error {}

function refusal(directory: string, error: unknown): PlanError {
  const message = error instanceof Error ? error.message : String(error);
  const why = error instanceof Refused
    ? message
    : /database is locked/.test(message)
    ? "another query is using it; stop that one, or use another directory"
    : error instanceof Unreadable || (error as { code?: unknown }).code === "ERR_SQLITE_ERROR" ||
        error instanceof SyntaxError
    ? `it is broken (${message}); bring it back from a copy, or use another directory`
    : `${message}; use a directory that can be written to`;
  return new PlanError(`Cannot open checkpoint "${directory}": ${why}`, {
    path: ["checkpoint"],
    cause: error,
  });
}

function hasTables(db: DatabaseSync): boolean {
  const { count } = db.prepare(
    "SELECT count(*) AS count FROM sqlite_master " +
      "WHERE type = 'table' AND name IN ('meta', 'offsets', 'commits', 'state')",
  ).get() as { count: number };
  return count === 4;
}

function prepareAll(db: DatabaseSync): Statements {
  return Object.fromEntries(
    Object.entries(STATEMENTS).map(([name, sql]) => [name, db.prepare(sql)]),
  ) as Statements;
}

function readMeta(statements: Statements, key: string): unknown {
  return (statements.meta.get(key) as { value: unknown } | undefined)?.value;
}

function readLatest(statements: Statements): LoggedBatch | undefined {
  const row = statements.latest.get() as
    | { batch_id: number; start_offset: string; end_offset: string; committed: string | null }
    | undefined;
  return row && {
    batchId: row.batch_id,
    start: JSON.parse(row.start_offset),
    end: JSON.parse(row.end_offset),
    committed: row.committed !== null,
  };
}

function sizeOf(path: string): number | undefined {
  try {
    return Deno.statSync(path).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

const TUNING = /^(?:host|port)$|^max[A-Z]|TimeoutMs$/;

function withoutTuning({ name, options }: PluginUse): PluginUse {
  if (options === null || typeof options !== "object" || Array.isArray(options)) {
    return { name, options };
  }
  const kept = Object.entries(options).filter(([key]) => !TUNING.test(key));
  return { name, options: Object.fromEntries(kept) };
}

/** A replacer of `JSON.stringify` that makes the order of keys not matter. */
function sortKeys(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1));
}

function now(): string {
  return new Date().toISOString();
}
