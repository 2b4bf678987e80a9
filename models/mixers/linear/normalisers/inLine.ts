import * as tf from '@tensorflow/tfjs-core';

import type { Normaliser } from '../slots.js';
import type { NormaliserSizes } from './plain.js';
import { onesBeside } from './sum.js';

/**
 * InLine attention (Han et al., Bridging the Divide, 2024): weights sum to 1 by subtraction rather than by
 * division,
 *
 *     weight[i, j] = (s q[i] · k[j] + 1 - s q[i] · k̄) / N,   s = 1 / √d,   k̄ the mean key,
 *
 * which keeps the map from queries to weights injective: a division makes q and 2 q the same. Causal, means
 * run over the N tokens so far.
 */
export function inLine(sizes: NormaliserSizes): Normaliser {
  const { features, plainFeatures, positioned, valueWidth, keyWidth } = sizes;
  const scale = keyWidth ** -0.5;
  return {
    memories: [
      { features, values: positioned ? valueWidth : valueWidth + 1, of: 'placed' },
      ...(positioned ? [{ features: plainFeatures, values: 1, of: 'plain' as const }] : []),
      { features: 1, values: valueWidth + 1, of: 'ones' },
    ],
    apply({ q, k, v }, plain, mix, _, { mask }) {
      const ones = onesBeside(v);
      const counted = tf.concat([v, ones], 3);
      const [weighted, weights] = positioned
        ? [mix('values', { q, k, v }), mix('weights', { ...plain, v: ones })]
        : tf.split(mix('values', { q, k, v: counted }), [valueWidth, 1], 3);
      const present = mask === undefined ? ones : tf.mul(ones, mask);
      const [total, count] = tf.split(
        mix('mean', { q: ones, k: present, v: counted }),
        [valueWidth, 1],
        3,
      );
      const n = tf.maximum(count, 1e-6);
      const rest = tf.sub(1, tf.div(tf.mul(weights, scale), n));
      return {
        out: tf.div(tf.add(tf.mul(weighted, scale), tf.mul(rest, total)), n),
      };
    },
  };
}
