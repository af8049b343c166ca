/**
 * Half-precision numbers as the 16 bits that models have them in.
 *
 * @module
 */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The bits of the nearest half-precision number; ties go to the even one, what is too large to infinity. */
export function toFloat16(value: number): number {
  float[0] = value;
  const whole = bits[0]!;
  const sign = whole >>> 16 & 0x8000;
  const exponent = (whole >>> 23 & 0xff) - 112;
  const fraction = whole & 0x7f_ffff;
  if (exponent >= 31) {
    const isNaN = exponent === 143 && fraction !== 0;
    return sign | 0x7c00 | (isNaN ? 0x200 : 0);
  }
  if (exponent <= 0) {
    if (exponent < -10) return sign;
    // A subnormal number: the leading 1 is written out.
    return sign | shiftToEven(fraction | 0x80_0000, 14 - exponent);
  }
  // What is rounded up may carry into the exponent, as it should.
  return sign | shiftToEven(exponent << 23 | fraction, 13);
}

/** The number that 16 bits stand for. */
export function fromFloat16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = half >>> 10 & 0x1f, fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function shiftToEven(value: number, places: number): number {
  const shifted = value >>> places;
  const rest = value & (2 ** places - 1), half = 2 ** (places - 1);
  return rest > half || rest === half && (shifted & 1) === 1 ? shifted + 1 : shifted;
}
