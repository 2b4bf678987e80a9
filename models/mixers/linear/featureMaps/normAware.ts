import * as tf from '@tensorflow/tfjs-core';

import { noProducts, type FeatureMap, type Sizes } from '../slots.js';

/** Signs apart: [relu(x), relu(-x)]. */
const bySign = (x: tf.Tensor): tf.Tensor => tf.concat([tf.relu(x), tf.relu(tf.neg(x))], x.rank - 1);

/**
 * The map of NaLaFormer (norm × direction): queries keep their direction, raised to a power that grows with
 * their norm, so that longer queries attend more sharply, which a ReLU map's normaliser cancels:
 *
 *     φ(q) = [relu(q) / |q|, relu(-q) / |q|]^p,  p = 3 (1/2 + tanh |q|);   φ(k) = [relu(k³), relu(-k³)].
 *
 * The norm has an epsilon here: without one, the published code's quotient is NaN for a zero query,
 * which blank patches give.
 */
export function normAware({ keyWidth }: Sizes): FeatureMap {
  return {
    features: 2 * keyWidth,
    apply(_, { q, k }) {
      const norm = tf.sqrt(tf.add(tf.sum(tf.square(q), -1, true), 1e-8));
      const power = tf.mul(3, tf.add(0.5, tf.tanh(norm)));
      return {
        q: tf.pow(bySign(tf.div(q, norm)), power),
        k: bySign(tf.mul(k, tf.square(k))),
      };
    },
    products: () => noProducts,
  };
}
