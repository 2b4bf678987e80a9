import * as tf from '@tensorflow/tfjs-core';

import { softmaxCrossEntropy } from '../../engine/ops/softmaxCrossEntropy.js';

/**
 * Cross-entropy of the last step's logits, mixed with the mean over every step's (temporal efficient
 * training; Deng et al. 2022, eq. 9, without the regulariser).
 *
 * @param logits `[batch, time, classes]`.
 * @param targets class probabilities, `[batch, classes]`, rows sum to 1.
 * @param perStepLoss share of the per-step mean, 0 … 1.
 * @returns a scalar, the mean over the batch.
 */
export function clipLoss(logits: tf.Tensor, targets: tf.Tensor, perStepLoss: number): tf.Tensor {
  const [batch, time, classes] = logits.shape;
  const entropies = softmaxCrossEntropy(
    logits,
    tf.tile(tf.reshape(targets, [batch, 1, classes]), [1, time, 1]),
  );
  const last = tf.mean(tf.slice(entropies, [0, time - 1], [batch, 1]));
  if (perStepLoss === 0) return last;
  return tf.add(tf.mul(1 - perStepLoss, last), tf.mul(perStepLoss, tf.mean(entropies)));
}

/**
 * One-hot targets, smoothed: 1 - s + s/K for the class, s/K for the others (Szegedy et al. 2016).
 *
 * @returns `[labels.length, classes]`, row-major.
 */
export function smoothTargets(
  labels: ArrayLike<number>,
  classes: number,
  smoothing: number,
): Float32Array {
  const shares = new Float32Array(labels.length * classes);
  for (let i = 0; i < labels.length; i++) shares[i * classes + labels[i]] = 1;
  return smoothShares(shares, classes, smoothing);
}

/**
 * The same for clips that show several classes: (1 - s) · share + s/K.
 *
 * @param shares of the classes, `[clips, classes]`, rows sum to 1; not changed.
 */
export function smoothShares(
  shares: Float32Array,
  classes: number,
  smoothing: number,
): Float32Array {
  const targets = new Float32Array(shares.length).fill(smoothing / classes);
  for (let i = 0; i < shares.length; i++) targets[i] += (1 - smoothing) * shares[i];
  return targets;
}
