import * as tf from '@tensorflow/tfjs-core';

import { depthwiseConv2d } from '../../engine/ops/depthwiseConv2d.js';
import type { Initialiser } from '../parameters.js';

/** A 3 × 3 convolution per feature: weight `[3, 3, width]`, bias `[width]`. */
export interface DepthwiseParameters {
  readonly weight: tf.Tensor;
  /** Left out where batch normalisation follows, which would cancel it. */
  readonly bias?: tf.Tensor;
}

const size = 3;

export function initialiseDepthwise(
  initialiser: Initialiser,
  width: number,
  { bias }: { readonly bias: boolean },
): DepthwiseParameters {
  return {
    weight: initialiser.normal('weight', [size, size, width], 1 / size),
    ...(bias && { bias: initialiser.constant([width], 0) }),
  };
}

/**
 * Convolves the tokens of each frame with their neighbours.
 *
 * @param x tokens in raster order, `[batch, time, rows · columns, width]`.
 * @returns the same shape.
 */
export function depthwise(
  { weight, bias }: DepthwiseParameters,
  x: tf.Tensor,
  rows: number,
  columns: number,
): tf.Tensor {
  const [batch, time, , width] = x.shape as [number, number, number, number];
  const frames = tf.reshape(x, [batch * time, rows, columns, width]);
  return tf.reshape(depthwiseConv2d(frames, weight, bias ?? tf.zeros([width])), x.shape);
}
