import * as tf from '@tensorflow/tfjs-core';

/**
 * Solves A x = b for symmetric positive definite matrices by Gauss-Jordan elimination, without pivoting; the
 * loop runs over the rows of A, all systems at once.
 *
 * @param A `[systems, n, n]`; `b` `[systems, n, 1]`.
 * @returns x, `[systems, n, 1]`.
 */
export function solveSymmetric(A: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const [systems, n] = A.shape as [number, number];
  let table = tf.concat([A, b], 2);
  for (let i = 0; i < n; i++) {
    const unit = tf.tensor3d(
      Array.from({ length: n }, (_, row) => (row === i ? 1 : 0)),
      [1, n, 1],
    );
    const row = tf.slice(table, [0, i, 0], [systems, 1, n + 1]);
    const pivot = tf.slice(row, [0, 0, i], [systems, 1, 1]);
    const column = tf.slice(table, [0, 0, i], [systems, n, 1]);
    // Takes row i out of every other row, and divides it by its pivot.
    table = tf.sub(table, tf.mul(tf.sub(column, unit), tf.div(row, pivot)));
  }
  return tf.slice(table, [0, 0, n], [systems, n, 1]);
}
