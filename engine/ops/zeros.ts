import * as tf from '@tensorflow/tfjs-core';

/** Zeros that the backend makes in its own memory: `tf.zeros` makes an array on the host, which a GPU has to be sent. */
export function zeros(shape: readonly number[]): tf.Tensor {
  return tf.fill(shape as number[], 0);
}
