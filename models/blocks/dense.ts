import type * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import type { Initialiser } from '../parameters.js';

/** A linear layer with bias: weight `[inputs, outputs]`, bias `[outputs]`. */
export type DenseParameters = Readonly<Record<'weight' | 'bias', tf.Tensor>>;

export function initialiseDense(
  initialiser: Initialiser,
  inputs: number,
  outputs: number,
): DenseParameters {
  return {
    weight: initialiser.weight('weight', inputs, outputs),
    bias: initialiser.constant([outputs], 0),
  };
}

/** `[…, inputs]` to `[…, outputs]`. */
export function dense({ weight, bias }: DenseParameters, x: tf.Tensor): tf.Tensor {
  return linear(x, weight, bias);
}
