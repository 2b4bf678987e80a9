import * as tf from '@tensorflow/tfjs-core';

/**
 * Activations rounded to multiples of a learned step (delta activation layer, Parger et al.): Q = s · round(x / s). Backward,
 * rounding passes gradients on to x, and the step gets those of s · round(x / s) with the rounding held: dQ/ds =
 * round(x / s) - x / s.
 *
 * @param step s, a positive scalar.
 */
export function quantise(x: tf.Tensor, step: tf.Tensor): tf.Tensor {
  return tf.mul(step, quantisedLevels(x, step));
}

/** The activations in whole steps, round(x / s), through whose rounding gradients pass. */
export function quantisedLevels(x: tf.Tensor, step: tf.Tensor): tf.Tensor {
  const rounded = tf.customGrad((input) => ({
    value: tf.round(input as tf.Tensor),
    gradFunc: (dy: tf.Tensor) => dy,
  }));
  return rounded(tf.div(x, step));
}

/** Values of the frame before, `[batch, tokens, features]`; zeros at a clip's start. */
export type DeltaState = tf.Tensor | undefined;

/**
 * What makes activations change rarely, added to the loss: rate · fanOut · mean |Q[t] - Q[t-1]|, the mean over all values. A
 * changed value costs its fan-out at inference.
 *
 * @param quantised Q, `[batch, time, tokens, features]`; time before the clip is 0.
 * @param fanOut outputs that each value feeds.
 */
export function deltaLoss(quantised: tf.Tensor, fanOut: number, rate: number): tf.Tensor {
  const changes = differences(quantised);
  // Not `tf.abs`, whose gradient at 0, where most of them are, is that of -x.
  return tf.mul(tf.mean(tf.mul(changes, tf.sign(changes))), rate * fanOut);
}

/** Q[t] - Q[t-1] along time, the first one of nothing. */
export function differences(quantised: tf.Tensor): tf.Tensor {
  const [batch, time, ...rest] = quantised.shape;
  const before = tf.concat(
    [
      tf.zeros([batch, 1, ...rest]),
      tf.slice(quantised, [0, 0, ...rest.map(() => 0)], [-1, time - 1, ...rest]),
    ],
    1,
  );
  return tf.sub(quantised, before);
}

/** Share of values that don't change from frame to frame. */
export function deltaSparsity(quantised: tf.Tensor): number {
  return tf.tidy(() => 1 - tf.mean(tf.abs(tf.sign(differences(quantised)))).dataSync()[0]);
}

/** A linear layer whose products are kept from frame to frame. */
export interface DeltaLinear {
  readonly inputs: number;
  readonly outputs: number;
  /** `[inputs, outputs]`, row-major. */
  readonly weight: Float32Array;
  /** `[outputs]`; it counts once, not with every change. */
  readonly bias: Float32Array;
  /** Step of the rounding; 0 rounds nothing. */
  readonly step: number;
}

/** The inputs that were last counted, and the sums they made; of every row. */
export interface DeltaLinearState {
  readonly counted: Float32Array;
  readonly sums: Float64Array;
}

/**
 * One frame of a linear layer by its changes: only inputs whose rounded value is another than before touch the weights. The
 * same as the layer on rounded inputs, since Σ_t W ΔQ[t] = W Q[t].
 *
 * @param x `[rows, inputs]`, row-major.
 * @param threshold changes of at most this size wait until they have grown; 0 is exact.
 * @returns outputs `[rows, outputs]`, the next state, and the multiply-accumulates made.
 */
export function deltaLinear(
  { inputs, outputs, weight, bias, step }: DeltaLinear,
  x: ArrayLike<number>,
  state: DeltaLinearState | undefined,
  threshold = 0,
): { output: Float32Array; state: DeltaLinearState; macs: number } {
  const rows = x.length / inputs;
  const counted = state?.counted.slice() ?? new Float32Array(x.length);
  const sums = state?.sums.slice() ?? new Float64Array(rows * outputs);
  let macs = 0;
  for (let at = 0; at < x.length; at++) {
    const value = Math.fround(step === 0 ? x[at] : step * Math.round(x[at] / step));
    const change = value - counted[at];
    if (change === 0 || Math.abs(change) <= threshold) continue;
    counted[at] = value;
    const to = Math.floor(at / inputs) * outputs;
    const from = (at % inputs) * outputs;
    for (let o = 0; o < outputs; o++) sums[to + o] += change * weight[from + o];
    macs += outputs;
  }
  const output = Float32Array.from(sums, (sum, i) => sum + bias[i % outputs]);
  return { output, state: { counted, sums }, macs };
}
