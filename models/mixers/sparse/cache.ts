import * as tf from '@tensorflow/tfjs-core';

/**
 * What a stream keeps of its latest tokens: always as many, those before its start as zeros, so that clips which began at
 * different times fit into one batch.
 *
 * @param x `[…, known tokens, …]` with the tokens along `axis`.
 */
export function keepLatest(x: tf.Tensor, axis: number, tokens: number): tf.Tensor {
  const known = x.shape[axis]!;
  if (known >= tokens) return latest(x, axis, tokens);
  const missing = x.shape.map((extent, i) => (i === axis ? tokens - known : extent));
  return tf.concat([tf.zeros(missing), x], axis);
}

/** The last tokens along an axis. */
export function latest(x: tf.Tensor, axis: number, tokens: number): tf.Tensor {
  const from = x.shape.map((extent, i) => (i === axis ? extent - tokens : 0));
  return tf.slice(x, from, x.shape.map((extent, i) => (i === axis ? tokens : extent))); // prettier-ignore
}

/** The tokens that a cache holds of a stream, and those of now after them. */
export function withLatest(
  cache: tf.Tensor | undefined,
  now: tf.Tensor,
  axis: number,
  tokens: number,
): tf.Tensor {
  if (cache === undefined || tokens === 0) return now;
  return tf.concat([latest(cache, axis, tokens), now], axis);
}
