import * as tf from '@tensorflow/tfjs-core';

/**
 * The steps of `[batch, time, …]` as tensors `[batch, …]`. Unlike `tf.unstack`, whose gradient fails
 * for a single step, it is differentiable for every length.
 */
export function timeSteps(x: tf.Tensor): tf.Tensor[] {
  const [batch, time, ...rest] = x.shape;
  const offset = rest.map(() => 0);
  return Array.from({ length: time }, (_, t) =>
    tf.reshape(tf.slice(x, [0, t, ...offset], [batch, 1, ...rest]), [batch, ...rest]),
  );
}
