import * as tf from '@tensorflow/tfjs-core';

import { spikeMatMul } from '../../engine/ops/spikes.js';

/**
 * How a whole number becomes spikes, step by step:
 * - `binary`: as many spikes of 1 as it says; negative numbers count from the least one;
 * - `ternary`: as many spikes of its sign;
 * - `bitwise`: the bits of its size, with its sign;
 * - `complement`: the bits of its two's complement, the highest of which counts negative.
 */
export type SpikeCode = 'binary' | 'ternary' | 'bitwise' | 'complement';

export interface SpikeCodingConfig {
  readonly code: SpikeCode;
  /** Counts that a token's mean size becomes, k: the higher, the finer. SpikingBrain's is 3. */
  readonly resolution: number;
}

/** Spikes of numbers, and what each step counts: `number = zero + Σ weights[t] · planes[t]`. */
export interface SpikePlanes {
  /** One tensor of spikes per step, shape of the numbers; at least one. */
  readonly planes: readonly tf.Tensor[];
  readonly weights: readonly number[];
  readonly zero: number;
}

/**
 * Numbers of spikes by a threshold that adapts to each token (SpikingBrain, Pan et al. 2025): V = mean |x| / k, n =
 * round(x / V).
 *
 * @param x `[…, features]`.
 * @returns counts, shape of `x`, and thresholds `[…, 1]`, kept within 1e-5 and 1e4.
 */
export function spikeCounts(
  x: tf.Tensor,
  resolution: number,
): { counts: tf.Tensor; threshold: tf.Tensor } {
  const mean = tf.mean(tf.abs(x), -1, true);
  const threshold = tf.clipByValue(tf.div(mean, resolution), 1e-5, 1e4);
  return { counts: tf.round(tf.div(x, threshold)), threshold };
}

/**
 * As many steps as the largest count needs.
 *
 * @param counts whole numbers.
 * @param steps to take instead.
 * @throws RangeError where that many don't hold the largest count, rather than cutting it off.
 */
export function encodeSpikes(counts: tf.Tensor, code: SpikeCode, steps?: number): SpikePlanes {
  const [least, most] = [tf.min(counts), tf.max(counts)].map((x) => x.dataSync()[0]);
  const needed = Math.max(1, stepsFor(code, least, most));
  if (steps !== undefined && steps < needed) {
    throw new RangeError(`${steps} steps: counts of ${least} to ${most} need ${needed} in ${code} code`); // prettier-ignore
  }
  const count = steps ?? needed;
  const each = (plane: (step: number) => tf.Tensor): tf.Tensor[] =>
    Array.from({ length: count }, (_, step) => plane(step));
  const ones = Array.from({ length: count }, () => 1);
  const bit = (x: tf.Tensor, step: number): tf.Tensor => tf.mod(tf.floor(tf.div(x, 2 ** step)), 2);
  const powers = ones.map((_, step) => 2 ** step);
  switch (code) {
    case 'binary': {
      const zero = Math.min(0, least);
      const planes = each((step) => tf.cast(tf.greater(tf.sub(counts, zero), step), 'float32'));
      return { planes, weights: ones, zero };
    }
    case 'ternary': {
      const planes = each((step) =>
        tf.mul(tf.sign(counts), tf.cast(tf.greater(tf.abs(counts), step), 'float32')),
      );
      return { planes, weights: ones, zero: 0 };
    }
    case 'bitwise':
      return {
        planes: each((step) => tf.mul(tf.sign(counts), bit(tf.abs(counts), step))),
        weights: powers,
        zero: 0,
      };
    case 'complement': {
      const wrapped = tf.add(counts, tf.mul(2 ** count, tf.cast(tf.less(counts, 0), 'float32')));
      const weights = powers.map((power, step) => (step === count - 1 ? -power : power));
      return { planes: each((step) => bit(wrapped, step)), weights, zero: 0 };
    }
  }
}

function stepsFor(code: SpikeCode, least: number, most: number): number {
  const size = Math.max(-least, most);
  switch (code) {
    case 'binary':
      return most - Math.min(0, least);
    case 'ternary':
      return size;
    case 'bitwise':
      return Math.ceil(Math.log2(size + 1));
    case 'complement':
      return 1 + Math.ceil(Math.log2(Math.max(-least, most + 1)));
  }
}

export function decodeSpikes({ planes, weights, zero }: SpikePlanes): tf.Tensor {
  return tf.add(zero, tf.addN(planes.map((plane, step) => tf.mul(plane, weights[step]))));
}

/** Share of all spikes of all steps that are not 0. */
export function spikeShare({ planes }: SpikePlanes): number {
  return tf.tidy(() => tf.mean(tf.abs(tf.sign(tf.stack([...planes])))).dataSync()[0]);
}

/**
 * x · weight by spikes, after training: the step's products with spikes are additions of weight rows, shifted by the step's
 * power of two, and a token's threshold scales what comes out. Equals (threshold · counts) · weight.
 *
 * @param x `[…, inputs]`. `weight` `[inputs, outputs]`.
 */
export function spikeLinear(
  x: tf.Tensor,
  weight: tf.Tensor,
  { code, resolution }: SpikeCodingConfig,
): tf.Tensor {
  const { counts, threshold } = spikeCounts(x, resolution);
  const { planes, weights, zero } = encodeSpikes(counts, code);
  const sum = tf.addN(
    planes.map((plane, step) => tf.mul(spikeMatMul(plane, weight), weights[step])),
  );
  const shifted = zero === 0 ? sum : tf.add(sum, tf.mul(zero, tf.sum(weight, 0)));
  return tf.mul(shifted, threshold);
}
