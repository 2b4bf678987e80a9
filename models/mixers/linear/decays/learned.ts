import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../../../engine/ops/linear.js';
import { splitHeads } from '../../heads.js';
import type { DecayGate, Sizes } from '../slots.js';

/** log σ(x), without overflow. */
export const logSigmoid = (x: tf.Tensor): tf.Tensor => tf.neg(tf.softplus(tf.neg(x)));

/** The temperature that keeps factors near 1: σ(·)^(1/16). */
const temperature = 16;

/**
 * A factor per key channel from the token: log α = log σ(W₂ W₁ x + b) / 16, through a low rank (gated linear
 * attention, Yang et al. 2024, section 4.4).
 */
export function channel({ width, heads, keyWidth }: Sizes, { rank }: { rank: number }): DecayGate {
  const features = heads * keyWidth;
  return {
    perChannel: true,
    parameters: rank * (width + features) + features,
    initialise: (initialiser) => ({
      down: initialiser.weight('down', width, rank),
      up: initialiser.weight('up', rank, features),
      bias: initialiser.constant([features], 0),
    }),
    apply({ down, up, bias }, k, _, { x }) {
      const gate = linear(linear(x, down as tf.Tensor), up as tf.Tensor, bias as tf.Tensor);
      return { k, logDecay: splitHeads(tf.div(logSigmoid(gate), temperature), heads) };
    },
    products: (tokens) => ({ macs: tokens * rank * (width + features), synapses: 0 }),
  };
}

/**
 * A factor per head from the token: log α = -exp(a) · softplus(W x + b), as in gated DeltaNet (Yang et al.
 * 2025) and Mamba-2.
 */
export function scalar({ width, heads }: Sizes): DecayGate {
  return {
    perChannel: false,
    parameters: heads * (width + 2),
    initialise: (initialiser) => ({
      weight: initialiser.weight('weight', width, heads),
      // A step of about 0.02 at first.
      bias: initialiser.constant([heads], -4),
      rate: initialiser.fill([heads], (head) => Math.log(1 + head)),
    }),
    apply({ weight, bias, rate }, k, _, { x }) {
      const step = tf.softplus(linear(x, weight as tf.Tensor, bias as tf.Tensor));
      return { k, logDecay: splitHeads(tf.neg(tf.mul(tf.exp(rate as tf.Tensor), step)), heads) };
    },
    products: (tokens) => ({ macs: tokens * width * heads, synapses: 0 }),
  };
}
