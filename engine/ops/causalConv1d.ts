import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

export interface Conv1dConfig extends Attributes {
  /** Runs against the sequence: anti-causal, its state holds the inputs *after* the sequence. */
  readonly reverse: boolean;
}

// Both directions are one loop: `padded` is state + sequence in the order of the recurrence.
const forward: HostKernel<Conv1dConfig> = {
  outputShapes: ([x, , , state]) => [[...x], [...state]],
  run([x, weight, bias, initial], [y, last], [[batch, length, channels], [taps]], { reverse }) {
    const tail = taps - 1;
    for (let b = 0; b < batch; b++) {
      const source = (step: number): number =>
        (b * length + (reverse ? length - 1 - step : step)) * channels;
      for (let step = 0; step < length; step++) {
        const yAt = source(step);
        for (let e = 0; e < channels; e++) y[yAt + e] = bias[e];
        for (let k = 0; k < taps; k++) {
          const from = step - tail + k;
          const values = from < 0 ? initial : x;
          const at = from < 0 ? (b * tail + tail + from) * channels : source(from);
          const weightAt = k * channels;
          for (let e = 0; e < channels; e++) y[yAt + e] += weight[weightAt + e] * values[at + e];
        }
      }
      for (let k = 0; k < tail; k++) {
        const from = length - tail + k;
        const values = from < 0 ? initial : x;
        const at = from < 0 ? (b * tail + tail + from) * channels : source(from);
        const lastAt = (b * tail + k) * channels;
        for (let e = 0; e < channels; e++) last[lastAt + e] = values[at + e];
      }
    }
  },
};

const backward: HostKernel<Conv1dConfig> = {
  outputShapes: (shapes) => shapes.slice(0, 4).map((shape) => [...shape]),
  run(
    [x, weight, , initial, yGradient, lastGradient],
    [dX, dWeight, dBias, dInitial],
    [[batch, length, channels], [taps]],
    { reverse },
  ) {
    const tail = taps - 1;
    for (let b = 0; b < batch; b++) {
      const source = (step: number): number =>
        (b * length + (reverse ? length - 1 - step : step)) * channels;
      for (let k = 0; k < tail; k++) {
        const from = length - tail + k;
        const target = from < 0 ? dInitial : dX;
        const at = from < 0 ? (b * tail + tail + from) * channels : source(from);
        const lastAt = (b * tail + k) * channels;
        for (let e = 0; e < channels; e++) target[at + e] += lastGradient[lastAt + e];
      }
      for (let step = 0; step < length; step++) {
        const yAt = source(step);
        for (let e = 0; e < channels; e++) dBias[e] += yGradient[yAt + e];
        for (let k = 0; k < taps; k++) {
          const from = step - tail + k;
          const values = from < 0 ? initial : x;
          const target = from < 0 ? dInitial : dX;
          const at = from < 0 ? (b * tail + tail + from) * channels : source(from);
          const weightAt = k * channels;
          for (let e = 0; e < channels; e++) {
            const dy = yGradient[yAt + e];
            dWeight[weightAt + e] += dy * values[at + e];
            target[at + e] += dy * weight[weightAt + e];
          }
        }
      }
    }
  },
};

const fused = defineFusedOp<Conv1dConfig>({
  name: 'CausalConv1d',
  forward,
  backward,
  reference([x, weight, bias, state], { reverse }) {
    const [taps] = weight.shape;
    const [batch, length, channels] = x.shape;
    const flip = (t: tf.Tensor): tf.Tensor => (reverse ? tf.reverse(t, 1) : t);
    const padded = tf.concat([state, flip(x)], 1);
    const y = Array.from({ length: taps }, (_, k) =>
      tf.mul(
        tf.slice(padded, [0, k, 0], [batch, length, channels]),
        tf.reshape(tf.slice(weight, [k, 0], [1, channels]), [channels]),
      ),
    ).reduce((a, b) => tf.add(a, b));
    const last = tf.slice(padded, [0, length, 0], [batch, taps - 1, channels]);
    return [flip(tf.add(y, bias)), last];
  },
});

/**
 * Depthwise causal convolution over a sequence: y[t] = bias + Σ_k weight[k] x[t - (taps-1) + k], where
 * x before the sequence comes from `state`.
 *
 * @param x `[batch, length, channels]`.
 * @param weight `[taps, channels]`; the last tap meets the current input.
 * @param bias `[channels]`.
 * @param state the `taps - 1` inputs before the sequence, oldest first, `[batch, taps-1, channels]`.
 * @returns y, shape of `x`, and the state for the next chunk.
 */
export function causalConv1d(
  x: tf.Tensor,
  weight: tf.Tensor,
  bias: tf.Tensor,
  state: tf.Tensor,
  config: Conv1dConfig = { reverse: false },
): { y: tf.Tensor; state: tf.Tensor } {
  const [y, last] = fused([x, weight, bias, state], config);
  return { y, state: last };
}

export const causalConv1dDefinition = fused.definition;
