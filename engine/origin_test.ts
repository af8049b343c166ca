import assert from "node:assert/strict";
import fc from "fast-check";
import { formatOrigin, parseOrigin } from "./origin.ts";

Deno.test("parseOrigin() reads what formatOrigin() wrote", () => {
  const origin = fc.record({
    peer: fc.string({ unit: "binary" }),
    partition: fc.integer({ min: -1 }),
    request: fc.maxSafeNat(),
  }, { noNullPrototype: true });
  fc.assert(fc.property(origin, (given) => {
    assert.deepEqual(parseOrigin(formatOrigin(given)), given);
  }));
});

Deno.test("parseOrigin() refuses what is no origin", () => {
  for (const text of ["", "a/b/c", "0/-2/1", "0/1"]) {
    assert.throws(() => parseOrigin(text), { name: "SyntaxError" });
  }
});
