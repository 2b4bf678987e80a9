import * as tf from '@tensorflow/tfjs-core';

import { createRandom, type Random } from '../../engine/support/random.js';
import type { ClipBatch } from '../../preprocess/loader.js';
import {
  motionDelay,
  type MotionDelayConfig,
  type MotionDelayParameters,
} from '../delays/motionDelay.js';

/** Pixels per frame, down and right. */
export type Velocity = readonly [down: number, right: number];

/**
 * The motions that a layer of motions can learn: evenly spread directions from rightwards on, clockwise, at the speed at which
 * half of the kernel is crossed within its delays.
 */
export function motionVelocities({ motions, size, maxDelay }: MotionDelayConfig): Velocity[] {
  const speed = (size - 1) / 2 / Math.max(1, maxDelay);
  return Array.from({ length: motions }, (_, motion) => {
    const angle = (2 * Math.PI * motion) / motions;
    return [speed * Math.sin(angle), speed * Math.cos(angle)] as const;
  });
}

/** Frames and pixels of a side of the textures for a layer: enough for its delays and its kernel. */
export function textureSizes({ size, maxDelay }: MotionDelayConfig): {
  time: number;
  side: number;
} {
  return { time: maxDelay + 4, side: Math.max(16, 2 * size) };
}

/** Pixels of a texture for each of its spots. */
const areaOfSpot = 64;
/** Standard deviation of a spot, pixels. */
const spotSize = 0.5;
/** Brightness of a spot's middle, in contrasts: changes of brightness that make an event. */
const spotContrasts = 4;

interface Spot {
  readonly y: number;
  readonly x: number;
  /** 1 bright, -1 dark. */
  readonly sign: number;
}

function drawSpots(side: number, random: Random): Spot[] {
  return Array.from({ length: Math.round((side * side) / areaOfSpot) }, () => ({
    y: side * random.uniform(),
    x: side * random.uniform(),
    sign: random.uniform() < 0.5 ? 1 : -1,
  }));
}

/** Brightness of each pixel, `[side, side]`, in contrasts, of spots that have moved; what leaves on one side comes in on the other. */
function brightness(
  spots: readonly Spot[],
  side: number,
  down: number,
  right: number,
): Float64Array {
  const levels = new Float64Array(side * side);
  const apart = (a: number, b: number): number => {
    const offset = (((a - b) % side) + side) % side;
    return Math.min(offset, side - offset);
  };
  for (const { y, x, sign } of spots) {
    const rows = Array.from({ length: side }, (_, row) => apart(row, y + down) ** 2);
    const columns = Array.from({ length: side }, (_, column) => apart(column, x + right) ** 2);
    rows.forEach((a, row) =>
      columns.forEach((b, column) => {
        levels[row * side + column] +=
          sign * spotContrasts * Math.exp(-(a + b) / (2 * spotSize ** 2));
      }),
    );
  }
  return levels;
}

/**
 * Events of textures that move, each at one of a layer's velocities: bright and dark spots at random places, and an event for each
 * contrast by which a pixel's brightness rises or falls. Polarity 0 is falling, 1 rising. A function of the seed and `first`
 * alone.
 *
 * @param first number of the first clip; clip n has motion n mod motions.
 * @returns counts `[count, time, 2, side, side]`, and motions as labels.
 */
export function movingTextures(
  config: MotionDelayConfig,
  count: number,
  seed: number,
  first: number,
): ClipBatch {
  const { time, side } = textureSizes(config);
  const velocities = motionVelocities(config);
  const area = side * side;
  const inputs = new Float32Array(count * time * 2 * area);
  const labels = Int32Array.from({ length: count }, (_, i) => (first + i) % config.motions);
  for (let clip = 0; clip < count; clip++) {
    const random = createRandom(seed, 'texture', first + clip);
    const spots = drawSpots(side, random);
    const [down, right] = velocities[labels[clip]];
    // Where the sensor has last made an event: anywhere within a contrast.
    const last = brightness(spots, side, -down, -right).map(
      (level) => level + random.uniform() - 0.5,
    );
    for (let t = 0; t < time; t++) {
      brightness(spots, side, down * t, right * t).forEach((level, pixel) => {
        const events = Math.trunc(level - last[pixel]);
        last[pixel] += events;
        const polarity = events > 0 ? 1 : 0;
        inputs[((clip * time + t) * 2 + polarity) * area + pixel] = Math.abs(events);
      });
    }
  }
  return { inputs, labels, shape: [count, time, 2, side, side] };
}

/**
 * How well a layer tells motions at the pixels of events, whose whole past it has seen: the mean over motions and events of the
 * binary cross-entropy of each motion's own probability (HD-SNN, Grimaldi & Perrinet 2023), and the share of
 * events at which the motion with the most evidence is the right one.
 *
 * @param x counts, `[batch, time, 2, height, width]`.
 * @param labels motions, `[batch]`.
 */
export function motionLoss(
  parameters: MotionDelayParameters,
  x: tf.Tensor,
  labels: tf.Tensor1D,
  config: MotionDelayConfig,
): { loss: tf.Tensor; right: tf.Tensor; events: tf.Tensor } {
  const { maxDelay, size, motions } = config;
  const pixels = tf.transpose(x, [0, 1, 3, 4, 2]);
  const margin = (size - 1) / 2;
  const inner = (y: tf.Tensor): tf.Tensor =>
    tf.slice(
      y,
      [0, maxDelay, margin, margin, 0],
      [-1, y.shape[1]! - maxDelay, y.shape[2]! - 2 * margin, y.shape[3]! - 2 * margin, -1],
    );
  const evidence = inner(motionDelay(parameters, pixels, undefined, config).output);
  const here = tf.cast(tf.greater(inner(tf.sum(pixels, 4, true)), 0), 'float32');
  const events = tf.maximum(tf.sum(here), 1);
  const wanted = tf.reshape(tf.oneHot(labels, motions), [-1, 1, 1, 1, motions]);
  const entropy = tf.sub(tf.softplus(evidence), tf.mul(wanted, evidence));
  const best = tf.cast(tf.equal(tf.argMax(evidence, 4), tf.reshape(labels, [-1, 1, 1, 1])), 'float32'); // prettier-ignore
  return {
    loss: tf.div(tf.sum(tf.mul(tf.mean(entropy, 4, true), here)), events),
    right: tf.sum(tf.mul(tf.expandDims(best, 4), here)),
    events,
  };
}
