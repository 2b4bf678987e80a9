import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import { zeros } from '../../engine/ops/zeros.js';
import { frameTensor, type FrameCount } from '../frames.js';
import type { Initialiser } from '../parameters.js';

export interface HeadParameters {
  readonly weight: tf.Tensor;
  readonly bias: tf.Tensor;
}

/** Sum of the features of all frames so far, `[batch, width]`. Their number is the clip's frame count. */
export interface HeadState {
  readonly sum: tf.Tensor;
}

export function initialiseHead(
  initialiser: Initialiser,
  width: number,
  classes: number,
): HeadParameters {
  return {
    // Small, so that a fresh network starts near equal probabilities.
    weight: initialiser.weight('weight', width, classes, 0.1),
    bias: initialiser.constant([classes], 0),
  };
}

/**
 * Prediction: mean over the frames up to each step, then one linear layer. The last step's logits are
 * those of the whole clip.
 *
 * @param x features per frame, `[batch, time, width]`.
 * @param frame number of frames of the clip, or of each clip, before this chunk.
 * @returns logits, `[batch, time, classes]`.
 */
export function head(
  parameters: HeadParameters,
  x: tf.Tensor,
  state: HeadState | undefined,
  frame: FrameCount,
): { logits: tf.Tensor; state: HeadState } {
  const [batch, time, width] = x.shape;
  const before = state?.sum ?? zeros([batch, width]);
  // A triangular product rather than `tf.cumsum`, whose gradient is wrong on all but the last axis.
  const upToNow = (): tf.Tensor =>
    tf.tensor(
      Float32Array.from({ length: time * time }, (_, i) => (i % time <= i / time ? 1 : 0)),
      [1, time, time],
    );
  const running = time === 1 ? x : tf.matMul(upToNow(), x);
  const sums = tf.add(running, tf.expandDims(before, 1));
  const counts = frameTensor(frame, 'head', (firsts) =>
    tf.tensor(
      firsts.flatMap((first) => Array.from({ length: time }, (_, i) => first + 1 + i)),
      [firsts.length, time, 1],
    ),
  );
  const logits = linear(tf.div(sums, counts), parameters.weight, parameters.bias);
  const sum = tf.reshape(tf.slice(sums, [0, time - 1, 0], [batch, 1, width]), [batch, width]);
  return { logits, state: { sum } };
}
