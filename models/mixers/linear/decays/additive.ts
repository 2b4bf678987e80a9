import * as tf from '@tensorflow/tfjs-core';

import { noProducts, type DecayGate, type Sizes } from '../slots.js';

/** Stands for the logarithm of 0. */
const never = -1e9;

/**
 * log Σ exp over the tokens up to each and what was before them: spans twice as long in each round, so that
 * no exponential is of more than 0.
 *
 * @param x `[batch, heads, tokens, features]`; `before` the same with one token.
 */
function cumulatedLogSumExp(x: tf.Tensor, before: tf.Tensor): tf.Tensor {
  const [batch, heads, tokens, features] = x.shape as [number, number, number, number];
  let z = tf.concat([before, x], 2);
  for (let span = 1; span <= tokens; span *= 2) {
    const earlier = tf.concat(
      [
        tf.fill([batch, heads, span, features], never),
        tf.slice(z, [0, 0, 0, 0], [batch, heads, tokens + 1 - span, features]),
      ],
      2,
    );
    const top = tf.maximum(z, earlier);
    const total = tf.add(tf.exp(tf.sub(z, top)), tf.exp(tf.sub(earlier, top)));
    z = tf.add(top, tf.log(total));
  }
  return tf.slice(z, [0, 0, 1, 0], [batch, heads, tokens, features]);
}

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
      if (!causal) {
        const byChannel = tf.transpose(logits, [0, 1, 3, 2]);
        return { k: tf.transpose(tf.softmax(byChannel), [0, 1, 3, 2]) };
      }
      const before =
        (state?.z as tf.Tensor | undefined) ?? tf.fill([batch, heads, 1, features], never);
      const z = cumulatedLogSumExp(logits, before);
      const from = (t: number, length: number): tf.Tensor =>
        tf.slice(z, [0, 0, t, 0], [batch, heads, length, features]);
      // The first token of a sequence has nothing to scale down.
      const start = state === undefined ? from(0, 1) : before;
      const previous = tf.concat([start, from(0, tokens - 1)], 2);
      return {
        k: tf.exp(tf.sub(logits, z)),
        // Below exp(-60), what is left of the past is nothing.
        logDecay: tf.clipByValue(tf.sub(previous, z), -60, 0),
        state: { z: from(tokens - 1, 1) },
      };
    },
    products: () => noProducts,
  };
}
