import * as tf from '@tensorflow/tfjs-core';

import type { LocalBranch, Sizes } from '../slots.js';

/**
 * Token shift (RWKV, SpikeGPT): m x[t] + (1 - m) x[t-1] per feature, of queries, keys and values each.
 * Being linear, it does the same after their projections as before.
 */
export function shift({ heads, keyWidth, valueWidth }: Sizes): LocalBranch {
  const channels = heads * (2 * keyWidth + valueWidth);
  return {
    parameters: channels,
    stateValues: () => channels,
    initialise: (initialiser) => ({ mix: initialiser.uniform('mix', [channels], 0.3, 0.9) }),
    before({ mix }, qkv, state) {
      const x = tf.concat([...qkv], 2);
      const [batch, tokens] = x.shape as [number, number];
      const before = (state?.last as tf.Tensor | undefined) ?? tf.zeros([batch, 1, channels]);
      const padded = tf.concat([before, x], 1);
      const previous = tf.slice(padded, [0, 0, 0], [batch, tokens, channels]);
      const mixed = tf.add(previous, tf.mul(mix as tf.Tensor, tf.sub(x, previous)));
      return {
        qkv: tf.split(
          mixed,
          qkv.map(({ shape }) => shape[2]!),
          2,
        ),
        state: { last: tf.slice(padded, [0, tokens, 0], [batch, 1, channels]) },
      };
    },
    products: () => ({ macs: 0, synapses: 0 }),
  };
}
