import * as tf from '@tensorflow/tfjs-core';

import { noProducts, type DecayGate, type Sizes } from '../slots.js';

/** Which layer of how many a mixer is in. */
export interface LayerPlace {
  readonly layer: number;
  readonly layers: number;
}

/** One factor per head that never changes: log λ = -slope. */
const fixed =
  (slope: (head: number, heads: number, place: LayerPlace) => number) =>
  ({ heads }: Sizes, place: LayerPlace): DecayGate => {
    const slopes = Array.from({ length: heads }, (_, head) => -slope(head, heads, place));
    return {
      perChannel: false,
      apply(_, k) {
        const [batch, , tokens] = k.shape as [number, number, number];
        return {
          k,
          logDecay: tf.tile(tf.tensor4d(slopes, [1, heads, 1, 1]), [batch, 1, tokens, 1]),
        };
      },
      products: () => noProducts,
    };
  };

/** Where H is no power of 2: the slopes of the power below it, then every other one of the power above (Press et al. 2022). */
function alibiSlope(head: number, heads: number): number {
  const power = 2 ** Math.floor(Math.log2(heads));
  const [place, of] = head < power ? [head + 1, power] : [2 * (head - power) + 1, 2 * power];
  return 2 ** ((-8 * place) / of);
}

/** Slopes of ALiBi, 2^(-8 (h + 1) / H), as in Lightning Attention-2. */
export const alibi = fixed(alibiSlope);

/**
 * TransNormerLLM's and Lightning Attention's: ALiBi's slopes times (1 - l / (L - 1) + 1e-5), so that the
 * last layer barely decays.
 */
export const annealed = fixed(
  (head, heads, { layer, layers }) =>
    alibiSlope(head, heads) * (1 - (layers > 1 ? layer / (layers - 1) : 0) + 1e-5),
);

/**
 * Linear slopes, 8 h / H · (1 - l / L): what another widely used library calls Lightning Attention. Its head
 * 0 never decays; it is not interchangeable with `annealed`.
 */
export const linearSlopes = fixed(
  (head, heads, { layer, layers }) => (8 / heads) * head * (1 - layer / layers),
);

/** Retention's 1 - 2^(-5 - h) (Sun et al. 2023, eq. 8). */
export const retention = fixed((head) => -Math.log1p(-(2 ** (-5 - head))));
