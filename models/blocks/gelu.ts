import * as tf from '@tensorflow/tfjs-core';

/** GELU in its exact form, x · Φ(x) = x/2 · (1 + erf(x/√2)) (Hendrycks & Gimpel 2016). */
export function gelu(x: tf.Tensor): tf.Tensor {
  return tf.mul(tf.mul(0.5, x), tf.add(1, tf.erf(tf.mul(Math.SQRT1_2, x))));
}
