import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import type { Initialiser } from '../parameters.js';

export interface MotionDelayConfig {
  /** Motions that the layer tells apart. */
  readonly motions: number;
  readonly polarities: number;
  /** Side of the kernel in pixels, odd. */
  readonly size: number;
  /** Delays are 0 … this many frames. */
  readonly maxDelay: number;
}

export interface MotionDelayParameters {
  /** K by frames back, row, column and polarity: `[maxDelay + 1, size, size, polarities, motions]`. */
  readonly kernel: tf.Tensor;
  /** `[motions]`. */
  readonly bias: tf.Tensor;
}

/** The layer that a kernel is of, by its shape; undefined where it is none of a layer of motions. */
export function motionConfigOf(kernel: tf.Tensor | undefined): MotionDelayConfig | undefined {
  if (kernel?.rank !== 5) return undefined;
  const [delays, size, , polarities, motions] = kernel.shape as [number, number, number, number, number]; // prettier-ignore
  return { maxDelay: delays - 1, size, polarities, motions };
}

/** The last `maxDelay` frames, `[batch, maxDelay, height, width, polarities]`; none for a maximum of 0. */
export interface MotionDelayState {
  readonly tail?: tf.Tensor;
}

export function initialiseMotionDelay(
  initialiser: Initialiser,
  { motions, polarities, size, maxDelay }: MotionDelayConfig,
): MotionDelayParameters {
  const shape = [maxDelay + 1, size, size, polarities, motions];
  return {
    kernel: initialiser.normal('kernel', shape, 1e-2),
    bias: initialiser.constant([motions], 0),
  };
}

/**
 * Taps that a motion can have, 0 or 1: at delay d, those within a radius that grows from 1 pixel to half the kernel.
 *
 * @returns `[maxDelay + 1, size, size, 1, 1]`.
 */
export function motionDisc({ size, maxDelay }: MotionDelayConfig): tf.Tensor {
  const middle = (size - 1) / 2;
  const mask = Float32Array.from({ length: (maxDelay + 1) * size * size }, (_, at) => {
    const delay = Math.floor(at / size / size);
    const radius = 1 + (Math.max(0, middle - 1) * delay) / Math.max(1, maxDelay);
    const distance = Math.hypot((Math.floor(at / size) % size) - middle, (at % size) - middle);
    return distance <= radius + 1e-6 ? 1 : 0;
  });
  return tf.tensor(mask, [maxDelay + 1, size, size, 1, 1]);
}

/**
 * The heterogeneous-delay motion layer (HD-SNN, Grimaldi & Perrinet 2023): evidence for each motion at each pixel,
 *
 *     B[t, y, x, m] = b[m] + Σ K[d, i, j, p, m] A[t - d, y - i, x - j, p],
 *
 * i and j counted from the kernel's middle, taps outside of `motionDisc` left out. sigmoid(B) is each motion's probability.
 *
 * @param x counts or spikes, `[batch, time, height, width, polarities]`.
 * @returns B, `[batch, time, height, width, motions]`, and the state for the next chunk.
 */
export function motionDelay(
  { kernel, bias }: MotionDelayParameters,
  x: tf.Tensor,
  state: MotionDelayState | undefined,
  config: MotionDelayConfig,
): { output: tf.Tensor; state: MotionDelayState } {
  const { size, maxDelay, motions } = config;
  const [batch, time, height, width, polarities] = x.shape as [number, number, number, number, number]; // prettier-ignore
  const before = state?.tail ?? tf.zeros([batch, maxDelay, height, width, polarities]);
  const long = maxDelay === 0 ? x : tf.concat([before, x], 1);
  const middle = (size - 1) / 2;
  const margin: [number, number] = [middle, middle];
  const flat = tf.reshape(long, [batch * (time + maxDelay), height, width, polarities]);
  const wide = tf.reshape(tf.pad(flat, [[0, 0], margin, margin, [0, 0]]), [batch, time + maxDelay, height + 2 * middle, width + 2 * middle, polarities]); // prettier-ignore
  const masked = tf.mul(kernel, motionDisc(config));
  const sums = Array.from({ length: maxDelay + 1 }, (_, delay) => {
    const frames = tf.slice(wide, [0, maxDelay - delay], [-1, time]);
    // A kernel's first row looks furthest down: this is a convolution, not a correlation.
    const taps = Array.from({ length: size * size }, (_, tap) =>
      tf.slice(
        frames,
        [0, 0, size - 1 - Math.floor(tap / size), size - 1 - (tap % size), 0],
        [batch, time, height, width, polarities],
      ),
    );
    const weights = tf.slice(masked, [delay], [1]);
    return linear(tf.concat(taps, 4), tf.reshape(weights, [-1, motions]));
  });
  return {
    output: tf.add(tf.addN(sums), bias),
    state: maxDelay === 0 ? {} : { tail: tf.slice(long, [0, time], [-1, maxDelay]) },
  };
}

/** An event on a pixel in a frame. */
export interface MotionEvent {
  readonly row: number;
  readonly column: number;
  readonly polarity: number;
  /** Events that come as one; 1 where nothing is said. */
  readonly strength?: number;
}

/** The layer as taps that aren't zero, by polarity, for streams of events. */
export interface MotionTaps {
  readonly config: MotionDelayConfig;
  readonly bias: Float32Array;
  readonly taps: readonly (readonly MotionTap[])[];
}

interface MotionTap {
  readonly delay: number;
  /** Pixels from the event to where it counts. */
  readonly down: number;
  readonly right: number;
  readonly motion: number;
  readonly weight: number;
}

export function toMotionTaps(
  { kernel, bias }: MotionDelayParameters,
  config: MotionDelayConfig,
): MotionTaps {
  const { size, polarities, motions } = config;
  const middle = (size - 1) / 2;
  const values = tf.tidy(() => tf.mul(kernel, motionDisc(config)).dataSync());
  const taps: MotionTap[][] = Array.from({ length: polarities }, () => []);
  values.forEach((weight, at) => {
    if (weight === 0) return;
    const place = Math.floor(at / motions / polarities);
    taps[Math.floor(at / motions) % polarities].push({
      delay: Math.floor(place / size / size),
      down: (Math.floor(place / size) % size) - middle,
      right: (place % size) - middle,
      motion: at % motions,
      weight,
    });
  });
  return { config, bias: bias.dataSync() as Float32Array, taps };
}

/** Evidence under way, by the frame in which it counts, and the frame that comes next. */
export interface MotionBuffer {
  readonly frame: number;
  readonly height: number;
  readonly width: number;
  /** `[maxDelay + 1, height, width, motions]`, a ring: frame t stands at t mod (maxDelay + 1). */
  readonly pending: Float32Array;
}

export function emptyMotionBuffer(
  { motions, maxDelay }: MotionDelayConfig,
  height: number,
  width: number,
): MotionBuffer {
  return { frame: 0, height, width, pending: new Float32Array((maxDelay + 1) * height * width * motions) }; // prettier-ignore
}

/**
 * One frame of a stream of events, at a cost of events × taps: the same as `motionDelay`, tap by tap.
 *
 * @returns B of this frame, `[height, width, motions]`, the next buffer, and the additions made.
 */
export function scatterEvents(
  { config: { motions, maxDelay }, bias, taps }: MotionTaps,
  events: Iterable<MotionEvent>,
  { frame, height, width, pending }: MotionBuffer,
): { output: Float32Array; buffer: MotionBuffer; additions: number } {
  const next = pending.slice();
  const area = height * width * motions;
  let additions = 0;
  for (const { row, column, polarity, strength = 1 } of events) {
    for (const { delay, down, right, motion, weight } of taps[polarity]) {
      const [y, x] = [row + down, column + right];
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      const at = ((frame + delay) % (maxDelay + 1)) * area;
      next[at + (y * width + x) * motions + motion] += strength * weight;
      additions++;
    }
  }
  const from = (frame % (maxDelay + 1)) * area;
  const output = next.slice(from, from + area);
  for (let i = 0; i < area; i++) output[i] += bias[i % motions];
  next.fill(0, from, from + area);
  return { output, buffer: { frame: frame + 1, height, width, pending: next }, additions };
}

/** The kernel with all but its largest weights set to zero; `share` of them stay. */
export function pruneMotions(
  { kernel, bias }: MotionDelayParameters,
  share: number,
): MotionDelayParameters {
  const sizes = Array.from(tf.tidy(() => tf.abs(kernel).dataSync())).sort((a, b) => b - a);
  const least = sizes[Math.max(0, Math.ceil(share * sizes.length) - 1)];
  return {
    kernel: tf.mul(kernel, tf.cast(tf.greaterEqual(tf.abs(kernel), least), 'float32')),
    bias,
  };
}

/** The evidence for an input and for the same with its polarities swapped, whichever is stronger. */
export function eitherPolarity(
  parameters: MotionDelayParameters,
  x: tf.Tensor,
  config: MotionDelayConfig,
): tf.Tensor {
  const [one, other] = [x, tf.reverse(x, 4)].map((y) => motionDelay(parameters, y, undefined, config).output); // prettier-ignore
  return tf.maximum(one, other);
}

/** Spikes of the motions that win their pixel with at least that probability, shape of the evidence. */
export function motionSpikes(evidence: tf.Tensor, probability: number): tf.Tensor {
  const wins = tf.equal(evidence, tf.max(evidence, -1, true));
  const sure = tf.greaterEqual(tf.sigmoid(evidence), probability);
  return tf.cast(tf.logicalAnd(wins, sure), 'float32');
}
