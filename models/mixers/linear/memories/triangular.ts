import * as tf from '@tensorflow/tfjs-core';

/**
 * (I + L)⁻¹ of strictly lower triangular matrices, block by block: the inverses X of the diagonal blocks of
 * size s become those of size 2 s by X - X C X, C being the part of L below them. As exact as forward
 * substitution, in log2(n) products of matrices; the series I - L + L² … is as short but loses its digits
 * when keys repeat.
 *
 * @param L `[…, n, n]`.
 */
export function inverseOfUnitLower(L: tf.Tensor): tf.Tensor {
  const n = L.shape[L.rank - 1]!;
  const identity = tf.add(tf.eye(n), tf.zerosLike(L));
  let inverse = identity;
  for (let size = 1; size < n; size *= 2) {
    const below = tf.mul(L, belowDiagonalBlocks(n, size));
    // Blocks of size 1 are all 1.
    inverse =
      size === 1
        ? tf.sub(identity, below)
        : tf.sub(inverse, tf.matMul(inverse, tf.matMul(below, inverse)));
  }
  return inverse;
}

/** Products of n × n matrices in `inverseOfUnitLower`. */
export function inverseProducts(n: number): number {
  return n <= 2 ? 0 : 2 * (Math.ceil(Math.log2(n)) - 1);
}

/** 1 in the lower left quarter of each diagonal block of size 2 `size`. */
function belowDiagonalBlocks(n: number, size: number): tf.Tensor {
  const mask = new Float32Array(n * n);
  for (let row = 0; row < n; row++) {
    if (Math.floor(row / size) % 2 === 0) continue;
    const start = (Math.floor(row / size) - 1) * size;
    mask.fill(1, row * n + start, row * n + start + size);
  }
  return tf.tensor2d(mask, [n, n]);
}
