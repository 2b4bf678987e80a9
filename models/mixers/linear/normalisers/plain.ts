import * as tf from '@tensorflow/tfjs-core';

import type { Normaliser } from '../slots.js';

/** What a normaliser is built for: sizes of a head once the feature map and positions are through. */
export interface NormaliserSizes {
  readonly heads: number;
  /** Features with positions, and without. */
  readonly features: number;
  readonly plainFeatures: number;
  readonly positioned: boolean;
  readonly valueWidth: number;
  /** Of a head before the feature map. */
  readonly keyWidth: number;
  readonly causal: boolean;
  readonly epsilon: number;
}

/** No denominator: a norm on the output keeps it in range (TransNormerLLM, DeltaNet). */
export const none = ({ features, valueWidth }: NormaliserSizes): Normaliser => ({
  memories: [{ features, values: valueWidth, of: 'placed' }],
  apply: (input, _, mix) => ({ out: mix('values', input) }),
});

/** A fixed factor, 1 / √d (gated linear attention). */
export const scaled = (sizes: NormaliserSizes): Normaliser => ({
  ...none(sizes),
  apply: (input, _, mix) => ({ out: tf.mul(mix('values', input), sizes.keyWidth ** -0.5) }),
});
