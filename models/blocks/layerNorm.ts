import type * as tf from '@tensorflow/tfjs-core';

import { layerNorm as normalise } from '../../engine/ops/normalise.js';
import type { Initialiser } from '../parameters.js';

/** Per feature, `[width]` each. */
export type LayerNormParameters = Readonly<Record<'scale' | 'shift', tf.Tensor>>;

export function initialiseLayerNorm(initialiser: Initialiser, width: number): LayerNormParameters {
  return { scale: initialiser.constant([width], 1), shift: initialiser.constant([width], 0) };
}

/** Layer normalisation of each token (Ba et al. 2016). */
export function layerNorm({ scale, shift }: LayerNormParameters, x: tf.Tensor): tf.Tensor {
  return normalise(x, scale, shift);
}
