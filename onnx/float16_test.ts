import assert from "node:assert/strict";
import fc from "fast-check";
import { fromFloat16, toFloat16 } from "./float16.ts";

Deno.test("known numbers have the bits of IEEE 754", () => {
  const cases: [number, number][] = [
    [0, 0],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [Infinity, 0x7c00],
    [-Infinity, 0xfc00],
  ];
  for (const [number, bits] of cases) {
    assert.equal(toFloat16(number), bits);
    assert.ok(Object.is(fromFloat16(bits), number), `${number}`);
  }
  assert.ok(Number.isNaN(fromFloat16(toFloat16(NaN))));
});

Deno.test("ties go to the even number, too large ones to infinity, too small ones to zero", () => {
  const cases: [number, number][] = [
    [2049, 2048],
    [2051, 2052],
    [65519, 65504],
    [65520, Infinity],
    [1e30, Infinity],
    [2 ** -25, 0],
    [3 * 2 ** -25, 2 ** -23],
    [1e-30, 0],
    [2047.75, 2048],
  ];
  for (const [number, nearest] of cases) {
    assert.equal(fromFloat16(toFloat16(number)), nearest, `${number}`);
    assert.equal(fromFloat16(toFloat16(-number)), -nearest, `${-number}`);
  }
});

Deno.test("all 65,536 of them survive", () => {
  for (let bits = 0; bits < 65_536; bits++) {
    const number = fromFloat16(bits);
    if (Number.isNaN(number)) assert.ok(Number.isNaN(fromFloat16(toFloat16(number))));
    else assert.equal(toFloat16(number), bits);
  }
});

Deno.test("no half-precision number is nearer", () => {
  fc.assert(fc.property(fc.double({ min: -65504, max: 65504, noNaN: true }), (number) => {
    const value = Math.fround(number);
    const bits = toFloat16(value), error = Math.abs(fromFloat16(bits) - value);
    for (const other of [bits - 1, bits + 1]) {
      const distance = Math.abs(fromFloat16(other & 0xffff) - value);
      assert.ok(!(distance < error), `${value}`);
    }
  }));
});
