import * as tf from '@tensorflow/tfjs-core';

import { shiftMix, tokenShift } from '../../../blocks/tokenShift.js';
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
      const { previous, last } = tokenShift(x, state?.last as tf.Tensor | undefined);
      const mixed = shiftMix(x, previous, mix as tf.Tensor);
      return {
        qkv: tf.split(
          mixed,
          qkv.map(({ shape }) => shape[2]!),
          2,
        ),
        state: { last },
      };
    },
    products: () => ({ macs: 0, synapses: 0 }),
  };
}
