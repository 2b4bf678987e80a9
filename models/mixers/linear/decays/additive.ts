import * as tf from '@tensorflow/tfjs-core';

import { causalMask } from '../memories/masks.js';
import { noProducts, type DecayGate, type Sizes } from '../slots.js';

/** Stands for the logarithm of 0. */
const never = -1e9;

/**
 * LightNet's additive decay (Qin et al. 2024): with z[t] = log Σ_{s ≤ t} exp k[s] per channel,
 *
 *     S[t] = exp(z[t-1] - z[t]) S[t-1] + exp(k[t] - z[t]) v[t]ᵀ,
 *
 * so that S is a softmax over time of the values. The state is z. Both ways, the softmax is over all tokens
 * and nothing decays: the memory doesn't depend on their order.
 */
export function additive({ heads, keyWidth, causal }: Sizes): DecayGate {
  return {
    perChannel: causal,
    stateValues: () => (causal ? heads * keyWidth : 0),
    apply(_, k, state, { mask }) {
      const logits = mask === undefined ? k : tf.add(k, tf.mul(tf.sub(1, mask), never));
      const [batch, , tokens, features] = k.shape as [number, number, number, number];
      const byChannel = tf.transpose(logits, [0, 1, 3, 2]);
      if (!causal) return { k: tf.transpose(tf.softmax(byChannel), [0, 1, 3, 2]) };
      // Sums over time of each channel, by the pairs (t, s): stable whatever the range of k.
      const pairs = tf.add(
        tf.expandDims(byChannel, 3),
        tf.mul(tf.sub(1, causalMask(tokens)), never),
      );
      const before =
        (state?.z as tf.Tensor | undefined) ?? tf.fill([batch, heads, features, 1], never);
      const known = tf.add(tf.expandDims(before, 3), tf.zeros([batch, heads, features, tokens, 1]));
      const z = tf.transpose(tf.logSumExp(tf.concat([known, pairs], 4), 4), [0, 1, 3, 2]);
      const last = tf.slice(z, [0, 0, tokens - 1, 0], [batch, heads, 1, features]);
      const first = tf.slice(z, [0, 0, 0, 0], [batch, heads, 1, features]);
      // The first token of a sequence has nothing to scale down.
      const start = state === undefined ? first : tf.transpose(before, [0, 1, 3, 2]);
      const previous = tf.concat(
        [start, tf.slice(z, [0, 0, 0, 0], [batch, heads, tokens - 1, features])],
        2,
      );
      return {
        k: tf.exp(tf.sub(logits, z)),
        // Below exp(-60), what is left of the past is nothing.
        logDecay: tf.clipByValue(tf.sub(previous, z), -60, 0),
        state: { z: tf.transpose(last, [0, 1, 3, 2]) },
      };
    },
    products: () => noProducts,
  };
}
