import * as tf from '@tensorflow/tfjs-core';

import { joinHeads, splitHeads } from '../../heads.js';
import { logSigmoid } from '../decays/learned.js';
import { usedAxes } from '../positions/places.js';
import type { LocalBranch, Sizes } from '../slots.js';

/**
 * Toeplitz positions along several axes, MD-TPE (LightNet, Qin et al. 2024): to each query, key and value, sums of
 * those before it along time, its row and its column are added, that fade with the distance,
 *
 *     y[n] = x[n] + Σ_axis a_axis Σ_{m ≤ n} λ_axis^(n - m) x[m],
 *
 * with learned a and λ in (0, 1) per head and axis; axes of one place have none. The paper has it on tokens before
 * their projections, normalised and projected again; here it is bare, so that a = 0 is no position. Its state is the
 * sum along time, of each patch. Both ways, distances count in both directions.
 */
export function toeplitz(sizes: Sizes): LocalBranch {
  const { heads, keyWidth, valueWidth, rows, columns, causal } = sizes;
  const axes = usedAxes(sizes);
  const patches = rows * columns;
  const channels = heads * (2 * keyWidth + valueWidth);
  const ofAxis = (x: tf.Tensor, index: number): tf.Tensor =>
    tf.reshape(tf.slice(x, [index, 0], [1, heads]), [heads, 1, 1]);

  /** λ^(n - m) for all pairs of places, `[heads, places, places]`. */
  const factors = (logDecay: tf.Tensor, places: number): tf.Tensor => {
    const distance = new Float32Array(places * places).map(
      (_, i) => Math.floor(i / places) - (i % places),
    );
    const seen = distance.map((d) => (causal && d < 0 ? 0 : 1));
    const shape: [number, number, number] = [1, places, places];
    return tf.mul(
      tf.exp(tf.mul(logDecay, tf.tensor3d(distance.map(Math.abs), shape))),
      tf.tensor3d(seen, shape),
    );
  };

  /** Sums along one axis of `[heads, batch, frames, rows, columns, features]`. */
  const along = (x: tf.Tensor, axis: number, logDecay: tf.Tensor): tf.Tensor => {
    const at = axis + 2;
    const order = [0, at, ...[1, 2, 3, 4, 5].filter((other) => other !== at)];
    const first = tf.transpose(x, order);
    const places = first.shape[1]!;
    const summed = tf.matMul(
      factors(logDecay, places),
      tf.reshape(first, [heads, places, x.size / heads / places]),
    );
    return tf.transpose(
      tf.reshape(summed, first.shape),
      order.map((_, i) => order.indexOf(i)),
    );
  };

  return {
    parameters: 2 * heads * axes.length,
    ...(causal && { stateValues: () => patches * channels }),
    initialise: (initialiser) => ({
      gain: initialiser.uniform('gain', [axes.length, heads], 0.1, 0.5),
      // Logits: λ between 0.5 and 0.95.
      decay: initialiser.uniform('decay', [axes.length, heads], 0, 3),
    }),
    before({ gain, decay }, qkv, state) {
      const [batch, length] = qkv[0].shape as [number, number];
      const frames = length / patches;
      const widths = qkv.map((x) => x.shape[2]! / heads);
      const split = tf.concat(
        qkv.map((x) => splitHeads(x, heads)),
        3,
      );
      const features = split.shape[3]!;
      const x = tf.reshape(tf.transpose(split, [1, 0, 2, 3]), [heads, batch, frames, rows, columns, features]); // prettier-ignore
      const logDecay = logSigmoid(decay as tf.Tensor);
      let y: tf.Tensor = x;
      let last: tf.Tensor | undefined;
      axes.forEach((axis, index) => {
        const own = ofAxis(logDecay, index);
        let sums = along(x, axis, own);
        if (axis === 0 && causal) {
          const before = state?.sum as tf.Tensor | undefined;
          if (before !== undefined) {
            const ages = tf.reshape(tf.range(1, frames + 1), [1, 1, frames, 1, 1, 1]);
            const fading = tf.exp(tf.mul(tf.reshape(own, [heads, 1, 1, 1, 1, 1]), ages));
            const carried = tf.transpose(before, [1, 0, 2, 3, 4, 5]);
            sums = tf.add(sums, tf.mul(fading, carried));
          }
          const end = tf.slice(sums, [0, 0, frames - 1, 0, 0, 0], [heads, batch, 1, rows, columns, features]); // prettier-ignore
          last = tf.transpose(end, [1, 0, 2, 3, 4, 5]);
        }
        const factor = tf.reshape(ofAxis(gain as tf.Tensor, index), [heads, 1, 1, 1, 1, 1]);
        y = tf.add(y, tf.mul(factor, sums));
      });
      const byBatch = tf.transpose(tf.reshape(y, [heads, batch, length, features]), [1, 0, 2, 3]);
      return {
        qkv: tf.split(byBatch, widths, 3).map(joinHeads),
        ...(last !== undefined && { state: { sum: last } }),
      };
    },
    products(tokens) {
      const places = [tokens / patches, rows, columns];
      const pairs = axes.reduce((sum, axis) => sum + places[axis], 0);
      return { macs: tokens * pairs * channels, synapses: 0 };
    },
  };
}
