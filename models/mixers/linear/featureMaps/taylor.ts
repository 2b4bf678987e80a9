import * as tf from '@tensorflow/tfjs-core';

import { noProducts, type FeatureMap, type Sizes } from '../slots.js';

/**
 * The second-order Taylor map of BASED (Arora et al. 2024): with s = q · k / √d,
 *
 *     φ(q) · φ(k) = 1 + s + s² / 2 ≥ 1 / 2.
 *
 * Of x xᵀ only the upper triangle is kept, so that a head has 1 + d + d (d + 1) / 2 features.
 */
export function taylor({ keyWidth: width }: Sizes): FeatureMap {
  const map = (x: tf.Tensor): tf.Tensor => {
    const [batch, heads, tokens] = x.shape as [number, number, number];
    const from = (i: number, count: number): tf.Tensor =>
      tf.slice(x, [0, 0, 0, i], [batch, heads, tokens, count]);
    const squares = tf.mul(tf.square(x), Math.SQRT1_2 / Math.sqrt(width));
    const pairs = Array.from({ length: width - 1 }, (_, i) =>
      tf.mul(tf.mul(from(i, 1), from(i + 1, width - 1 - i)), 1 / Math.sqrt(width)),
    );
    return tf.concat(
      [tf.ones([batch, heads, tokens, 1]), tf.mul(x, width ** -0.25), squares, ...pairs],
      3,
    );
  };
  return {
    features: 1 + width + (width * (width + 1)) / 2,
    apply: (_, { q, k }) => ({ q: map(q), k: map(k) }),
    products: () => noProducts,
  };
}
