import * as tf from '@tensorflow/tfjs-core';

import { silu } from '../../../../engine/ops/silu.js';
import { noProducts, type FeatureMap, type Sizes } from '../slots.js';

/** The same function of each feature of queries and keys. */
const elementwise =
  (map: (x: tf.Tensor) => tf.Tensor, positive = false) =>
  ({ keyWidth }: Sizes): FeatureMap => ({
    features: keyWidth,
    positive,
    apply: (_, { q, k }) => ({ q: map(q), k: map(k) }),
    products: () => noProducts,
  });

export const identity = elementwise((x) => x);

/** ELU(x) + 1 > 0 (Katharopoulos et al. 2020, eq. 7). */
export const elu1 = elementwise((x) => tf.add(tf.elu(x), 1), true);

export const relu = elementwise((x) => tf.relu(x));

/** SiLU of the queries alone, where a gate makes keys of what it gets (LightNet). */
export const siluQuery = ({ keyWidth }: Sizes): FeatureMap => ({
  features: keyWidth,
  apply: (_, { q, k }) => ({ q: silu(q), k }),
  products: () => noProducts,
});

export const siluMap = elementwise((x) => silu(x));

/** In (0, 1): capacities of flows (Flowformer). */
export const sigmoid = elementwise((x) => tf.sigmoid(x), true);

/** SiLU, then length 1, so that the delta rule's step stays a projection (Yang et al. 2024). */
export const unit = elementwise((x) => {
  const y = silu(x);
  return tf.mul(y, tf.rsqrt(tf.add(tf.sum(tf.square(y), -1, true), 1e-6)));
});
