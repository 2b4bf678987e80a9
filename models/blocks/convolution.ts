import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';

export interface ConvolutionOptions {
  /** Pixels from one output to the next; 2 halves rows and columns, which are even. */
  readonly stride?: 1 | 2;
  /** Makes the product, `linear` where nothing is said. */
  readonly multiply?: (x: tf.Tensor, weight: tf.Tensor) => tf.Tensor;
}

/**
 * A 3 × 3 convolution with a border of zeros, as one product over shifted frames: its gradient needs no kernel that
 * some backend lacks.
 *
 * @param x `[frames, rows, columns, inputs]`.
 * @param weight `[9 · inputs, outputs]`, by row, column and input.
 * @returns `[frames, rows / stride, columns / stride, outputs]`.
 */
export function convolution3(
  x: tf.Tensor,
  weight: tf.Tensor,
  { stride = 1, multiply = linear }: ConvolutionOptions = {},
): tf.Tensor {
  const [frames, rows, columns, inputs] = x.shape as [number, number, number, number];
  const padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]); // prettier-ignore
  const size = [frames, rows / stride, columns / stride, inputs];
  const phases = stride === 1 ? [[padded]] : everySecond(padded);
  const shifted = Array.from({ length: 9 }, (_, tap) => {
    const [row, column] = [Math.floor(tap / 3), tap % 3];
    const from = [0, Math.floor(row / stride), Math.floor(column / stride), 0];
    return tf.slice(phases[row % stride][column % stride], from, size);
  });
  return multiply(tf.concat(shifted, 3), weight);
}

/** The pixels of even and odd rows and columns. */
function everySecond(x: tf.Tensor): tf.Tensor[][] {
  const [frames, rows, columns, channels] = x.shape as [number, number, number, number];
  const phase = (y: tf.Tensor, odd: number): tf.Tensor => {
    const [outer, , inner] = y.shape as [number, number, number];
    return tf.slice(y, [0, odd, 0], [outer, 1, inner]);
  };
  return [0, 1].map((oddRow) => {
    const some = phase(tf.reshape(x, [(frames * rows) / 2, 2, columns * channels]), oddRow);
    const pairs = tf.reshape(some, [(frames * rows * columns) / 4, 2, channels]);
    return [0, 1].map((oddColumn) =>
      tf.reshape(phase(pairs, oddColumn), [frames, rows / 2, columns / 2, channels]),
    );
  });
}
