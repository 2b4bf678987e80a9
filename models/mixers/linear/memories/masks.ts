import * as tf from '@tensorflow/tfjs-core';

/** 1 where column ≤ row (or < row, where `strict`), `[tokens, tokens]`. */
export function causalMask(tokens: number, strict = false): tf.Tensor {
  const mask = new Float32Array(tokens * tokens);
  for (let row = 0; row < tokens; row++) {
    mask.fill(1, row * tokens, row * tokens + row + (strict ? 0 : 1));
  }
  return tf.tensor2d(mask, [tokens, tokens]);
}

/** exp(b[i] - b[j]) for the pairs i ≥ j of cumulated logarithms, 0 else; never more than 1. */
export function decayBetween(rows: tf.Tensor, columns: tf.Tensor, mask: tf.Tensor): tf.Tensor {
  return tf.mul(tf.exp(tf.minimum(tf.sub(rows, columns), 0)), mask);
}

/** The tokens of `[batch, heads, tokens, features]`, each `[batch, heads, 1, features]`. */
export function tokensOf(x: tf.Tensor): tf.Tensor[] {
  const [batch, heads, tokens, features] = x.shape as [number, number, number, number];
  return Array.from({ length: tokens }, (_, t) =>
    tf.slice(x, [0, 0, t, 0], [batch, heads, 1, features]),
  );
}

/**
 * Sums up to each token of `[batch, heads, tokens, features]`. Runs along the last axis: elsewhere
 * TensorFlow.js gives the gradient of a cumulated sum a wrong shape.
 */
export function cumulated(x: tf.Tensor): tf.Tensor {
  return tf.transpose(tf.cumsum(tf.transpose(x, [0, 1, 3, 2]), 3), [0, 1, 3, 2]);
}
