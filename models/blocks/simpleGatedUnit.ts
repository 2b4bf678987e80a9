import * as tf from '@tensorflow/tfjs-core';

import { inference, within, type Context } from '../context.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';

/** `gate` and `value` `[width, hidden]`, `output` `[hidden, width]`. */
export type SimpleGatedUnitParameters = Readonly<Record<'gate' | 'value' | 'output', tf.Tensor>>;

export function initialiseSimpleGatedUnit(
  initialiser: Initialiser,
  { width, hidden }: { readonly width: number; readonly hidden: number },
): SimpleGatedUnitParameters {
  return {
    gate: initialiser.weight('gate', width, hidden),
    value: initialiser.weight('value', width, hidden),
    output: initialiser.weight('output', hidden, width),
  };
}

/**
 * TransNormerLLM's channel mixing, SGLU (Qin et al. 2023, eq. 8): `(x W_g ⊙ x W_v) W_o`, a gated linear unit
 * without a squashing function.
 *
 * @param x `[…, width]`.
 */
export function simpleGatedUnit(
  { gate, value, output }: SimpleGatedUnitParameters,
  x: tf.Tensor,
  context: Context = inference,
): tf.Tensor {
  const product = tf.mul(
    project(x, gate, within(context, 'gate')),
    project(x, value, within(context, 'value')),
  );
  return project(product, output, within(context, 'output'));
}
