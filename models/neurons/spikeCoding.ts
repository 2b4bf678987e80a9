import * as tf from '@tensorflow/tfjs-core';

import { spikeDensity, spikeMatMul } from '../../engine/ops/spikes.js';

/**
 * How a whole number becomes spikes, step by step:
 * - `binary`: as many spikes of 1 as it says; negative numbers count from the least one;
 * - `ternary`: as many spikes of its sign;
 * - `bitwise`: the bits of its size, with its sign;
 * - `complement`: the bits of its two's complement, the highest of which counts negative.
 */
export const spikeCodes = ['binary', 'ternary', 'bitwise', 'complement'] as const;
export type SpikeCode = (typeof spikeCodes)[number];

export interface SpikeCodingConfig {
  readonly code: SpikeCode;
  /** Counts that a token's mean size becomes, k: the higher, the finer. SpikingBrain's is 3. */
  readonly resolution: number;
  /** Counts are cut to what so many bits hold, ±(2^bits - 1); none is where not given. */
  readonly bits?: number;
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

/** Spikes of numbers, one step at a time: `number = zero + Σ weights[t] · plane(t)`. */
interface SpikeTrain {
  readonly weights: readonly number[];
  readonly zero: number;
  plane(step: number): tf.Tensor;
}

/** `encodeSpikes` without holding all steps at once. */
function spikeTrain(counts: tf.Tensor, code: SpikeCode, steps?: number): SpikeTrain {
  const [least, most] = tf.tidy(() => Array.from(tf.stack([tf.min(counts), tf.max(counts)]).dataSync())); // prettier-ignore
  const needed = Math.max(1, stepsFor(code, least, most));
  if (steps !== undefined && steps < needed) {
    throw new RangeError(`${steps} steps: counts of ${least} to ${most} need ${needed} in ${code} code`); // prettier-ignore
  }
  const count = steps ?? needed;
  const ones = Array.from({ length: count }, () => 1);
  const powers = ones.map((_, step) => 2 ** step);
  const bit = (x: tf.Tensor, step: number): tf.Tensor => tf.mod(tf.floor(tf.div(x, 2 ** step)), 2);
  const above = (x: tf.Tensor, step: number): tf.Tensor => tf.cast(tf.greater(x, step), 'float32');
  switch (code) {
    case 'binary': {
      const zero = Math.min(0, least);
      return { weights: ones, zero, plane: (step) => above(tf.sub(counts, zero), step) };
    }
    case 'ternary':
      return {
        weights: ones,
        zero: 0,
        plane: (step) => tf.mul(tf.sign(counts), above(tf.abs(counts), step)),
      };
    case 'bitwise':
      return {
        weights: powers,
        zero: 0,
        plane: (step) => tf.mul(tf.sign(counts), bit(tf.abs(counts), step)),
      };
    case 'complement': {
      const wrapped = tf.add(counts, tf.mul(2 ** count, tf.cast(tf.less(counts, 0), 'float32')));
      const weights = powers.map((power, step) => (step === count - 1 ? -power : power));
      return { weights, zero: 0, plane: (step) => bit(wrapped, step) };
    }
  }
}

/**
 * As many steps as the largest count needs.
 *
 * @param counts whole numbers.
 * @param steps to take instead.
 * @throws RangeError where that many don't hold the largest count, rather than cutting it off.
 */
export function encodeSpikes(counts: tf.Tensor, code: SpikeCode, steps?: number): SpikePlanes {
  const { plane, ...train } = spikeTrain(counts, code, steps);
  return { ...train, planes: train.weights.map((_, step) => plane(step)) };
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

/** What the spikes of a product were, summed over its values. */
export interface SpikeUse {
  /** Numbers that were coded. */
  readonly values: number;
  /** Those whose count is 0. */
  readonly zeros: number;
  /** Those whose count is more than `bits` hold, and was cut to it. */
  readonly clipped: number;
  readonly steps: number;
  /** Spikes of all steps that are not 0; there could be `values · steps`. */
  readonly spikes: number;
}

/**
 * x · weight by spikes, after training: the step's products with spikes are additions of weight rows, shifted by the step's
 * power of two, and a token's threshold scales what comes out. Equals (threshold · counts) · weight. Memory holds one step.
 *
 * @param x `[…, inputs]`. `weight` `[inputs, outputs]`.
 * @param onUse is told what the spikes were.
 */
export function spikeLinear(
  x: tf.Tensor,
  weight: tf.Tensor,
  { code, resolution, bits }: SpikeCodingConfig,
  onUse?: (use: SpikeUse) => void,
): tf.Tensor {
  return tf.tidy(() => {
    const { counts: exact, threshold } = spikeCounts(x, resolution);
    const most = bits === undefined ? Infinity : 2 ** bits - 1;
    const counts = bits === undefined ? exact : tf.clipByValue(exact, -most, most);
    const { weights, zero, plane } = spikeTrain(counts, code);
    let spikes = 0;
    let sum: tf.Tensor = tf.mul(tf.sum(weight, 0), zero);
    weights.forEach((scale, step) => {
      const before = sum;
      sum = tf.tidy(() => {
        const fired = plane(step);
        if (onUse !== undefined) spikes += spikeDensity(fired).density * fired.size;
        return tf.add(before, tf.mul(spikeMatMul(fired, weight), scale));
      });
      before.dispose();
    });
    onUse?.({
      values: x.size,
      zeros: Math.round((1 - spikeDensity(counts).density) * x.size),
      clipped:
        bits === undefined
          ? 0
          : tf.sum(tf.cast(tf.greater(tf.abs(exact), most), 'float32')).dataSync()[0],
      steps: weights.length,
      spikes: Math.round(spikes),
    });
    return tf.mul(sum, threshold);
  });
}
