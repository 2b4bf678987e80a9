import * as tf from '@tensorflow/tfjs-core';

import { inference, within, type Context } from '../context.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';

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
export function dense(
  { weight, bias }: DenseParameters,
  x: tf.Tensor,
  context: Context = inference,
): tf.Tensor {
  return tf.add(project(x, weight, within(context, 'weight')), bias);
}
