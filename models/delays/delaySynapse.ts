import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import type { Initialiser } from '../parameters.js';
import type { DelayLines } from './delayLines.js';

export interface DelaySynapseConfig {
  readonly inputs: number;
  readonly outputs: number;
  /** Delays are 0 … this many frames. */
  readonly maxDelay: number;
}

export interface DelaySynapseParameters {
  /** `[inputs, outputs]`. */
  readonly weight: tf.Tensor;
  /** In frames, `[inputs, outputs]`; what is out of range counts as the nearest delay in it. */
  readonly delay: tf.Tensor;
}

/** The inputs of the last `maxDelay` frames, `[batch, maxDelay, tokens, inputs]`; none for a maximum of 0. */
export interface DelaySynapseState {
  readonly tail?: tf.Tensor;
}

export function initialiseDelaySynapse(
  initialiser: Initialiser,
  { inputs, outputs, maxDelay }: DelaySynapseConfig,
): DelaySynapseParameters {
  return {
    weight: initialiser.weight('weight', inputs, outputs),
    delay: initialiser.uniform('delay', [inputs, outputs], 0, maxDelay),
  };
}

/** Width that no narrower kernel has: a tap then keeps 0.998 of its mass in one frame. */
const leastWidth = 0.27;

/**
 * Width of the taps through training, before `leastWidth` is added: from half the longest delay, geometrically, to 0.23
 * after a quarter of the epochs, and there it stays (Hammouamri et al. 2024).
 *
 * @param progress share of the epochs that are done, 0 … 1; of a tensor, a scalar, the width is one too.
 */
export function delayWidth(progress: number, maxDelay: number): number;
export function delayWidth(progress: number | tf.Tensor, maxDelay: number): number | tf.Tensor;
export function delayWidth(progress: number | tf.Tensor, maxDelay: number): number | tf.Tensor {
  const [first, last] = [Math.max(0.23, Math.floor((maxDelay + 1) / 2)), 0.23];
  if (typeof progress === 'number') return first * (last / first) ** Math.min(1, 4 * progress);
  const share = tf.clipByValue(tf.mul(progress, 4), 0, 1);
  return tf.mul(first, tf.exp(tf.mul(share, Math.log(last / first))));
}

/** σ of the taps in frames, without `leastWidth`; `whole` rounds delays to whole frames, one tap each. */
export type DelayWidth = number | tf.Tensor | 'whole';

/**
 * The synapses' kernel: a Gaussian around each delay that sums to 1, times the weight.
 *
 * @returns `[maxDelay + 1, inputs, outputs]`, by frames back.
 */
export function delayKernel(
  { weight, delay }: DelaySynapseParameters,
  maxDelay: number,
  width: DelayWidth,
): tf.Tensor {
  const taps = tf.reshape(tf.range(0, maxDelay + 1), [-1, 1, 1]);
  if (width === 'whole') {
    const whole = roundDelays({ weight, delay }, maxDelay).delay;
    return tf.mul(tf.relu(tf.sub(1, tf.abs(tf.sub(taps, whole)))), weight);
  }
  const centre = tf.expandDims(tf.clipByValue(delay, 0, maxDelay), 0);
  const distance = tf.div(tf.sub(taps, centre), tf.add(tf.abs(width), leastWidth));
  const shape = tf.softmax(tf.transpose(tf.mul(tf.square(distance), -0.5), [1, 2, 0]));
  return tf.mul(tf.transpose(shape, [2, 0, 1]), weight);
}

/**
 * Synapses with learned delays (DCLS; Hammouamri et al., ICLR 2024): y[t, o] = Σ_i Σ_n K[n, i, o] x[t - n, i], a convolution
 * through time with one movable tap per synapse. It looks back only, and its output is as long as its input.
 *
 * @param x `[batch, time, tokens, inputs]`.
 * @param width as of `delayWidth`.
 * @param multiply makes the product with the kernel.
 * @returns `[batch, time, tokens, outputs]`, and the state for the next chunk.
 */
export function delaySynapse(
  parameters: DelaySynapseParameters,
  x: tf.Tensor,
  state: DelaySynapseState | undefined,
  { outputs, maxDelay }: DelaySynapseConfig,
  width: DelayWidth,
  multiply: (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor = linear,
): { output: tf.Tensor; state: DelaySynapseState } {
  const kernel = delayKernel(parameters, maxDelay, width);
  const { shifted, tail } = lookBack(x, state, maxDelay);
  return {
    output: multiply(tf.concat(shifted, 3), tf.reshape(kernel, [-1, outputs])),
    state: tail,
  };
}

/**
 * `delaySynapse` from each feature to itself alone: y[t, f] = Σ_n K[n, f] x[t - n, f].
 *
 * @param parameters weight and delay, `[features]`.
 * @param x `[batch, time, tokens, features]`.
 * @returns the same shape, and the state for the next chunk, `[batch, maxDelay, tokens, features]`.
 */
export function depthwiseDelay(
  { weight, delay }: DelaySynapseParameters,
  x: tf.Tensor,
  state: DelaySynapseState | undefined,
  maxDelay: number,
  width: DelayWidth,
): { output: tf.Tensor; state: DelaySynapseState } {
  const row = (y: tf.Tensor): tf.Tensor => tf.expandDims(y, 0);
  const kernel = delayKernel({ weight: row(weight), delay: row(delay) }, maxDelay, width);
  const { shifted, tail } = lookBack(x, state, maxDelay);
  const parts = shifted.map((frames, back) =>
    tf.mul(frames, tf.reshape(tf.slice(kernel, [back], [1]), [x.shape[3]!])),
  );
  return { output: tf.addN(parts), state: tail };
}

/** The input as it was 0, 1, … frames back, and what the next chunk needs. */
function lookBack(
  x: tf.Tensor,
  state: DelaySynapseState | undefined,
  maxDelay: number,
): { shifted: tf.Tensor[]; tail: DelaySynapseState } {
  if (maxDelay === 0) return { shifted: [x], tail: {} };
  const [batch, time, tokens, features] = x.shape as [number, number, number, number];
  const before = state?.tail ?? tf.zeros([batch, maxDelay, tokens, features]);
  const padded = tf.concat([before, x], 1);
  return {
    shifted: Array.from({ length: maxDelay + 1 }, (_, back) =>
      tf.slice(padded, [0, maxDelay - back, 0, 0], x.shape),
    ),
    tail: { tail: tf.slice(padded, [0, time, 0, 0], [batch, maxDelay, tokens, features]) },
  };
}

/** The delays as whole frames: what is left when training is over. */
export function roundDelays(
  { weight, delay }: DelaySynapseParameters,
  maxDelay: number,
): DelaySynapseParameters {
  return { weight, delay: tf.clipByValue(tf.round(delay), 0, maxDelay) };
}

/** The synapses as lines of whole frames, for streams of spikes. */
export function toDelayLines(
  parameters: DelaySynapseParameters,
  { inputs, outputs, maxDelay }: DelaySynapseConfig,
): DelayLines {
  const delays = tf.tidy(() => roundDelays(parameters, maxDelay).delay.dataSync());
  const weights = parameters.weight.dataSync();
  return {
    outputs,
    maxDelay,
    lines: Array.from({ length: inputs }, (_, input) =>
      Array.from({ length: outputs }, (_, output) => ({
        output,
        delay: delays[input * outputs + output],
        weight: weights[input * outputs + output],
      })),
    ),
  };
}
