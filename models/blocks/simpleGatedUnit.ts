import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import type { Initialiser } from '../parameters.js';

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
): tf.Tensor {
  return linear(tf.mul(linear(x, gate), linear(x, value)), output);
}
