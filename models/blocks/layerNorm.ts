import * as tf from '@tensorflow/tfjs-core';

import { rmsNorm } from '../../engine/ops/normalise.js';
import type { Initialiser } from '../parameters.js';

/** Per feature, `[width]` each. */
export type LayerNormParameters = Readonly<Record<'scale' | 'shift', tf.Tensor>>;

export function initialiseLayerNorm(initialiser: Initialiser, width: number): LayerNormParameters {
  return { scale: initialiser.constant([width], 1), shift: initialiser.constant([width], 0) };
}

/** Layer normalisation of each token (Ba et al. 2016): centred, it is root-mean-square normalisation. */
export function layerNorm({ scale, shift }: LayerNormParameters, x: tf.Tensor): tf.Tensor {
  return tf.add(rmsNorm(tf.sub(x, tf.mean(x, -1, true)), scale), shift);
}
