import * as tf from '@tensorflow/tfjs-core';

import { causalConv1d } from '../../../../engine/ops/causalConv1d.js';
import { silu } from '../../../../engine/ops/silu.js';
import type { LocalBranch, Sizes } from '../slots.js';

/**
 * A short causal convolution over the tokens, of queries, keys and values each, before their feature maps
 * (DeltaNet, Mamba); values pass SiLU after it.
 */
export function convolution(sizes: Sizes, { taps }: { taps: number }): LocalBranch {
  const { heads, keyWidth, valueWidth } = sizes;
  const channels = heads * (2 * keyWidth + valueWidth);
  return {
    parameters: (taps + 1) * channels,
    stateValues: () => (taps - 1) * channels,
    initialise: (initialiser) => ({
      weight: initialiser.normal('weight', [taps, channels], 1 / Math.sqrt(taps)),
      bias: initialiser.constant([channels], 0),
    }),
    before({ weight, bias }, qkv, state) {
      const x = tf.concat([...qkv], 2);
      const { y, state: tail } = causalConv1d(
        x,
        weight as tf.Tensor,
        bias as tf.Tensor,
        (state?.tail as tf.Tensor | undefined) ?? tf.zeros([x.shape[0], taps - 1, channels]),
      );
      const [q, k, v] = tf.split(
        y,
        qkv.map(({ shape }) => shape[2]!),
        2,
      );
      return { qkv: [q, k, silu(v)], state: { tail } };
    },
    products: (tokens) => ({ macs: tokens * taps * channels, synapses: 0 }),
  };
}
