import * as tf from '@tensorflow/tfjs-core';

import type { Normaliser } from '../slots.js';
import type { NormaliserSizes } from './plain.js';

/** A value of 1 for each token of `x`. */
export const onesBeside = (x: tf.Tensor): tf.Tensor => tf.ones([...x.shape.slice(0, 3), 1]);

/**
 * Division by the sum of the weights, q · Σ k (Katharopoulos et al. 2020, eq. 4). The sum is read from the
 * memory as one more value, 1, so that it decays as the memory does. Positions stay out of it, in a memory
 * of its own, where there are any: turned products can be negative.
 */
export function sum(sizes: NormaliserSizes): Normaliser {
  const { features, plainFeatures, valueWidth, epsilon, positioned } = sizes;
  return {
    memories: positioned
      ? [
          { features, values: valueWidth, of: 'placed' },
          { features: plainFeatures, values: 1, of: 'plain' },
        ]
      : [{ features, values: valueWidth + 1, of: 'placed' }],
    apply({ q, k, v }, plain, mix) {
      const [numerator, total] = positioned
        ? [mix('values', { q, k, v }), mix('weights', { ...plain, v: onesBeside(v) })]
        : tf.split(
            mix('values', { q, k, v: tf.concat([v, onesBeside(v)], 3) }),
            [valueWidth, 1],
            3,
          );
      return { out: tf.div(numerator, tf.add(total, epsilon)) };
    },
  };
}
