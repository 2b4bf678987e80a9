import * as tf from '@tensorflow/tfjs-core';

import { causalConv1d } from '../../../../engine/ops/causalConv1d.js';
import {
  depthwise,
  initialiseDepthwise,
  type DepthwiseParameters,
} from '../../../blocks/depthwise.js';
import { joinHeads, splitHeads } from '../../heads.js';
import type { LocalBranch, Sizes } from '../slots.js';

/**
 * Local positional encoding, LePE: a depthwise convolution of the values beside the attention, over 3 × 3
 * patches of each frame; where a token is a time step, over the last `taps` of them.
 */
export function positional(sizes: Sizes, { taps }: { taps: number }): LocalBranch {
  const { heads, valueWidth, rows, columns, causal } = sizes;
  const channels = heads * valueWidth;
  const tokens = rows * columns;
  if (tokens > 1) {
    return {
      parameters: 10 * channels,
      initialise: (initialiser) => ({
        ...initialiseDepthwise(initialiser, channels, { bias: true }),
      }),
      beside(parameters, { v }) {
        const x = joinHeads(v);
        const [batch, length] = x.shape as [number, number];
        const y = depthwise(
          parameters as unknown as DepthwiseParameters,
          tf.reshape(x, [batch, length / tokens, tokens, channels]),
          rows,
          columns,
        );
        return { out: splitHeads(tf.reshape(y, x.shape), heads) };
      },
      products: (count) => ({ macs: 9 * count * channels, synapses: 0 }),
    };
  }
  return {
    parameters: (taps + 1) * channels,
    ...(causal && { stateValues: () => (taps - 1) * channels }),
    initialise: (initialiser) => ({
      weight: initialiser.normal('weight', [taps, channels], 1 / Math.sqrt(taps)),
      bias: initialiser.constant([channels], 0),
    }),
    beside({ weight, bias }, { v }, state) {
      const x = joinHeads(v);
      const { y, state: tail } = causalConv1d(
        x,
        weight as tf.Tensor,
        bias as tf.Tensor,
        (state?.tail as tf.Tensor | undefined) ?? tf.zeros([x.shape[0], taps - 1, channels]),
      );
      return { out: splitHeads(y, heads), ...(causal && { state: { tail } }) };
    },
    products: (count) => ({ macs: count * taps * channels, synapses: 0 }),
  };
}
