import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';

/**
 * A 3 × 3 convolution with zero padding to the same size, as one product over shifted frames: its gradient needs no kernel that
 * some backend lacks.
 *
 * @param x `[frames, rows, columns, inputs]`.
 * @param weight `[9 · inputs, outputs]`, by row, column and input.
 * @param multiply makes the product.
 * @returns `[frames, rows, columns, outputs]`.
 */
export function convolution3(
  x: tf.Tensor,
  weight: tf.Tensor,
  multiply: (x: tf.Tensor, weight: tf.Tensor) => tf.Tensor = linear,
): tf.Tensor {
  const [frames, rows, columns, inputs] = x.shape as [number, number, number, number];
  const padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]); // prettier-ignore
  const shifted = Array.from({ length: 9 }, (_, tap) =>
    tf.slice(padded, [0, Math.floor(tap / 3), tap % 3, 0], [frames, rows, columns, inputs]),
  );
  return multiply(tf.concat(shifted, 3), weight);
}
