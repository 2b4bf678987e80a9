import * as tf from '@tensorflow/tfjs-core';

import type { PositionCode, Sizes } from '../slots.js';

/**
 * Linearised relative positions, LRPE (Qin et al. 2023, as in TransNormerLLM): features x become
 * [x cos tθ, x sin tθ] with learned θ per head and feature, so that products are
 * Σ q k cos((s - t) θ): relative, at twice the features.
 */
export function linearised({ heads, rows, columns }: Sizes, features: number): PositionCode {
  return {
    features: 2 * features,
    parameters: heads * features,
    initialise: (initialiser) => ({
      theta: initialiser.fill([heads, 1, features], (i) => 10_000 ** (-(i % features) / features)),
    }),
    apply({ theta }, { q, k }, { frame }) {
      const tokens = q.shape[2]!;
      const from = frame * rows * columns;
      const times = tf.reshape(tf.range(from, from + tokens), [1, 1, tokens, 1]);
      const angles = tf.mul(times, tf.expandDims(theta as tf.Tensor, 0));
      const [cosine, sine] = [tf.cos(angles), tf.sin(angles)];
      const turn = (x: tf.Tensor): tf.Tensor => tf.concat([tf.mul(x, cosine), tf.mul(x, sine)], 3);
      return { q: turn(q), k: turn(k) };
    },
  };
}
