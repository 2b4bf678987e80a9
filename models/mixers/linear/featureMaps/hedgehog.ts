import * as tf from '@tensorflow/tfjs-core';

import type { FeatureMap, Sizes } from '../slots.js';

/**
 * The learned map of Hedgehog (Zhang et al. 2024): φ(x) = [softmax(W x), softmax(-W x)] in each head, W
 * starting as the identity, for queries and keys apart. Another map goes by the same name: one softmax
 * over both halves, [2 W x, -2 W x]. Features of the first sum to 2, of the second to 1, and their kernels
 * differ; the second is `joint`.
 */
const hedgehogMap =
  (joint: boolean) =>
  ({ heads, keyWidth: width }: Sizes): FeatureMap => {
    const map = (x: tf.Tensor, weight: tf.Tensor): tf.Tensor => {
      const [batch, , tokens] = x.shape as [number, number, number];
      // The gradient of a product does not sum over broadcast batches: heads come first instead.
      const byHead = tf.reshape(tf.transpose(x, [1, 0, 2, 3]), [heads, batch * tokens, width]);
      const y = tf.transpose(
        tf.reshape(tf.matMul(byHead, weight), [heads, batch, tokens, width]),
        [1, 0, 2, 3],
      );
      return joint
        ? tf.softmax(tf.concat([tf.mul(y, 2), tf.mul(y, -2)], 3))
        : tf.concat([tf.softmax(y), tf.softmax(tf.neg(y))], 3);
    };
    return {
      features: 2 * width,
      positive: true,
      parameters: 2 * heads * width * width,
      initialise: (initialiser) => {
        const identity = (): tf.Tensor =>
          initialiser.fill([heads, width, width], (i) =>
            Math.floor(i / width) % width === i % width ? 1 : 0,
          );
        return { query: identity(), key: identity() };
      },
      apply: ({ query, key }, { q, k }) => ({
        q: map(q, query as tf.Tensor),
        k: map(k, key as tf.Tensor),
      }),
      products: (tokens) => ({ macs: 2 * tokens * heads * width * width, synapses: 0 }),
    };
  };

export const hedgehog = hedgehogMap(false);
export const hedgehogJoint = hedgehogMap(true);
