import * as tf from '@tensorflow/tfjs-core';

/**
 * Each step with the one before it (RWKV's token shift).
 *
 * @param x `[batch, time, …]`.
 * @param before the step before the first, `[batch, 1, …]`; zeros at the start of a clip.
 * @returns the steps before those of `x`, and the last of `x`, which is `before` of what follows.
 */
export function tokenShift(
  x: tf.Tensor,
  before: tf.Tensor | undefined,
): { previous: tf.Tensor; last: tf.Tensor } {
  const [batch, time, ...rest] = x.shape;
  const padded = tf.concat([before ?? tf.zeros([batch, 1, ...rest]), x], 1);
  const origin = rest.map(() => 0);
  return {
    previous: tf.slice(padded, [0, 0, ...origin], x.shape),
    last: tf.slice(padded, [0, time, ...origin], [batch, 1, ...rest]),
  };
}

/** m x[t] + (1 - m) x[t-1], m per feature. */
export const shiftMix = (x: tf.Tensor, previous: tf.Tensor, mix: tf.Tensor): tf.Tensor =>
  tf.add(previous, tf.mul(mix, tf.sub(x, previous)));
