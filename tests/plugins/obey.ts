/**
 * Does what a body says, for tests of faults: it throws, exits, hangs. Other bodies get `ok <body>`.
 *
 * @module
 */
import process from "node:process";
import type { TransformPlugin } from "../../plugins/contract.ts";

/** What a body can ask for; a result takes the place of the reply. */
const COMMANDS: Readonly<Record<string, () => unknown>> = {
  "throw": () => {
    throw new Error("told to throw");
  },
  "throw text": () => {
    throw "just text";
  },
  "throw undefined": () => {
    throw undefined;
  },
  "overflow the stack": () => {
    const again = (): number => again() + 1;
    return again();
  },
  "reply with a function": () => () => {},
  "Deno.exit": () => Deno.exit(3),
  "process.exit": () => process.exit(4),
  "close": () => (globalThis as unknown as Worker & { close(): void }).close(),
  "hang": () => {
    for (;;);
  },
  "eat": () => {
    const eaten: unknown[] = [];
    for (;;) eaten.push(Array.from({ length: 10_000 }, (_, at) => ({ at })));
  },
};

/** The same for those that need a promise. */
const LATER: Readonly<Record<string, () => Promise<unknown>>> = {
  "reject": () => Promise.reject(new Error("told to reject")),
  "never": () => new Promise(() => {}),
  "throw in a timer": () => {
    setTimeout(() => {
      throw new Error("thrown in a timer");
    });
    return new Promise(() => {});
  },
  "reject unheard": () => {
    Promise.reject(new Error("nobody listens"));
    return new Promise(() => {});
  },
};

const plugin: TransformPlugin<Record<never, never>> = {
  kind: "transform",
  name: "obey",
  summary: "Does what the body says.",
  options: (v) => v.strictObject({}),
  outputSchema: (_options, input) => input.with({ name: "reply", type: "string" }),
  requires: () => new Set(["id", "value"]),
  create: () => ({
    transform: (batch) => {
      const values = batch.column("value") as string[];
      const later = values.find((value) => Object.hasOwn(LATER, value));
      if (later !== undefined) {
        return LATER[later]!().then(() => batch.withColumn("reply", "string", values));
      }
      const replies = values.map((value) => {
        const command = Object.hasOwn(COMMANDS, value) ? COMMANDS[value] : undefined;
        return command === undefined ? `ok ${value}` : command();
      });
      return batch.withColumn("reply", "string", replies);
    },
  }),
};
export default plugin;
