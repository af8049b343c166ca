/**
 * What is made of a model's scores: probabilities, and the position of the highest.
 *
 * @module
 */

/** Probabilities that add up to 1, in the type of the scores. */
export function softMax(scores: ArrayLike<number>): Float32Array | Float64Array {
  const output = scores instanceof Float32Array
    ? new Float32Array(scores.length)
    : new Float64Array(scores.length);
  let most = -Infinity;
  for (let at = 0; at < scores.length; at++) most = Math.max(most, Number(scores[at]));
  // With an infinite score the difference would be NaN.
  const exps = Float64Array.from(scores, (score) => score === most ? 1 : Math.exp(score - most));
  let sum = 0;
  for (const exp of exps) sum += exp;
  for (let at = 0; at < exps.length; at++) output[at] = exps[at]! / sum;
  return output;
}

/** The position of the first highest value; -1 when there is none. NaN is lower than all. */
export function argMax(values: ArrayLike<number | bigint>): number {
  let best = -1;
  for (let at = 0; at < values.length; at++) {
    const value = values[at]!;
    if (value !== value) continue;
    if (best < 0 || value > values[best]!) best = at;
  }
  return best < 0 && values.length > 0 ? 0 : best;
}
