/**
 * What a function is, and the short way to define one.
 *
 * @module
 */
import type { DataType } from "../../batch.ts";
import { accept, combineRows, type Kind, type Node } from "../node.ts";

/** A function of the expression language. */
export interface FunctionSpec {
  /** How it is called: `substring(text, start[, length])`. */
  readonly usage: string;
  /** What it gives. */
  readonly summary: string;
  /** Other names of it. */
  readonly aliases?: readonly string[];
  /**
   * Applies it to compiled arguments.
   * @throws {TypeError} when they do not fit, saying what is wanted
   */
  bind(args: readonly Node[]): Node;
}

/** What an argument must be: a kind, with `?` when it may be left out. */
type Parameter = Kind | `${Kind}?`;

interface RowwiseOptions {
  readonly aliases?: readonly string[];
  /** Whether the result may be null though no argument is. */
  readonly nullable?: boolean;
  /** Throws when literal arguments (undefined: not a literal) cannot work. */
  // deno-lint-ignore no-explicit-any -- values of the parameters' types
  check?(...literals: any[]): void;
}

/**
 * A function that is called for every row; a null argument gives null. Arguments left out are
 * undefined.
 */
export function rowwise(
  usage: string,
  summary: string,
  parameters: readonly Parameter[],
  returns: DataType | ((types: readonly DataType[]) => DataType),
  // deno-lint-ignore no-explicit-any -- values of the parameters' types
  f: (...values: any[]) => unknown,
  { aliases, nullable, check }: RowwiseOptions = {},
): FunctionSpec {
  return {
    usage,
    summary,
    ...(aliases && { aliases }),
    bind(args) {
      const accepted = acceptAll(usage, parameters, args);
      check?.(...accepted.map((arg) => arg.literal?.value ?? undefined));
      const types = accepted.map((arg) => arg.type as DataType);
      return combineRows(
        typeof returns === "function" ? returns(types) : returns,
        accepted,
        f,
        nullable ? true : undefined,
      );
    },
  };
}

/** A function with a binding of its own. */
export function define(
  usage: string,
  summary: string,
  bind: (args: readonly Node[]) => Node,
  aliases?: readonly string[],
): FunctionSpec {
  return { usage, summary, bind, ...(aliases && { aliases }) };
}

/** The arguments as the kinds wanted. */
export function acceptAll(
  usage: string,
  parameters: readonly Parameter[],
  args: readonly Node[],
): Node[] {
  const required = parameters.filter((parameter) => !parameter.endsWith("?")).length;
  checkCount(usage, args, required, parameters.length);
  return args.map((arg, position) =>
    acceptAt(position, arg, parameters[position]!.replace("?", "") as Kind)
  );
}

/** An argument as the kind wanted; the message of the error says which argument it is. */
export function acceptAt(position: number, arg: Node, kind: Kind): Node {
  try {
    return accept(arg, kind);
  } catch (error) {
    throw new TypeError(`argument ${position + 1}: ${(error as Error).message}`);
  }
}

/** @throws {TypeError} when there are too few or too many arguments */
export function checkCount(usage: string, args: readonly Node[], least: number, most: number) {
  if (args.length < least || args.length > most) {
    throw new TypeError(`it is called ${usage}, given ${args.length} arguments`);
  }
}
