import type * as tf from '@tensorflow/tfjs-core';

import { linear } from '../engine/ops/linear.js';
import type { Context } from './context.js';

/**
 * x W of real values, in the form that the context asks for. (Products with spikes cost their spikes alone, and stay
 * `spikeMatMul`.)
 *
 * @param x `[batch, time, …, inputs]`.
 * @param weight `[inputs, outputs]`.
 * @param context whose path is the weight's.
 * @returns `[batch, time, …, outputs]`.
 */
export function project(x: tf.Tensor, weight: tf.Tensor, context: Context): tf.Tensor {
  return context.forms?.product?.(x, weight, context) ?? linear(x, weight);
}
