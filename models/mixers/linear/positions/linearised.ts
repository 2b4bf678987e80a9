import * as tf from '@tensorflow/tfjs-core';

import { placesOf, usedAxes } from './places.js';
import type { PositionCode, Sizes } from '../slots.js';

/** Features turned by a place times θ, learned per head and feature; `first` is θ at the start. */
const turned = (
  { heads }: Sizes,
  features: number,
  first: (feature: number) => number,
  places: (from: number, tokens: number) => tf.Tensor,
): PositionCode => ({
  features: 2 * features,
  parameters: heads * features,
  initialise: (initialiser) => ({
    theta: initialiser.fill([heads, 1, features], (i) => first(i % features)),
  }),
  apply({ theta }, { q, k }, { frame }) {
    const angles = tf.mul(places(frame, q.shape[2]!), tf.expandDims(theta as tf.Tensor, 0));
    const [cosine, sine] = [tf.cos(angles), tf.sin(angles)];
    const turn = (x: tf.Tensor): tf.Tensor => tf.concat([tf.mul(x, cosine), tf.mul(x, sine)], 3);
    return { q: turn(q), k: turn(k) };
  },
});

/**
 * Linearised relative positions, LRPE (Qin et al. 2023, as in TransNormerLLM): features x become
 * [x cos tθ, x sin tθ] with learned θ per head and feature, so that products are
 * Σ q k cos((s - t) θ): relative, at twice the features.
 */
export function linearised(sizes: Sizes, features: number): PositionCode {
  const patches = sizes.rows * sizes.columns;
  return turned(
    sizes,
    features,
    (feature) => 10_000 ** (-feature / features),
    (frame, tokens) =>
      tf.reshape(tf.range(frame * patches, frame * patches + tokens), [1, 1, tokens, 1]),
  );
}

/**
 * The same over several axes, MD-LRPE (LightNet, Qin et al. 2024): the first features turn with the frame, the next
 * with the row, the last with the column, axes of one place having none, so that products depend on the offset along
 * each axis.
 */
export function linearisedGrid(sizes: Sizes, features: number): PositionCode {
  const axes = usedAxes(sizes);
  const perAxis = Math.ceil(features / axes.length);
  return turned(
    sizes,
    features,
    (feature) => 10_000 ** (-(feature % perAxis) / perAxis),
    (frame, tokens) => {
      const places = placesOf(sizes, frame, tokens);
      const values = Float32Array.from({ length: tokens * features }, (_, i) => {
        const [token, feature] = [Math.floor(i / features), i % features];
        return places[token][axes[Math.floor(feature / perAxis)]];
      });
      return tf.tensor4d(values, [1, 1, tokens, features]);
    },
  );
}
