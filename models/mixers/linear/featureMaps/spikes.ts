import * as tf from '@tensorflow/tfjs-core';

import { defaultLif, type LifConfig } from '../../../../engine/ops/lif.js';
import { within } from '../../../context.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../../../neurons/spiking.js';
import { joinHeads, splitHeads } from '../../heads.js';
import { noProducts, type FeatureMap, type Sizes } from '../slots.js';

/** The neurons of all mixers: their input isn't divided by tau, so that they fire from the start. */
export const mixerNeurons = (smooth: boolean): LifConfig => ({
  ...defaultLif,
  decayInput: false,
  ...(smooth && { relaxed: true, detachReset: false }),
});

/**
 * Spiking queries and keys, `SNN(q)`, `SNN(k)` (SpikMamba, fig. 2): products with them are additions. The
 * neurons run along the frames.
 */
export const spikes =
  (smooth: boolean) =>
  ({ heads, keyWidth, rows, columns }: Sizes): FeatureMap => {
    const features = heads * keyWidth;
    const tokens = rows * columns;
    const neuron = mixerNeurons(smooth);
    return {
      features: keyWidth,
      spikes: true,
      parameters: 4 * features,
      stateValues: () => 2 * tokens * features,
      initialise: (initialiser) => ({
        query: initialiseSpiking(initialiser, features, neuron),
        key: initialiseSpiking(initialiser, features, neuron),
      }),
      apply(parameters, { q, k }, state, { context }) {
        const fire = (
          name: 'query' | 'key',
          x: tf.Tensor,
        ): { spikes: tf.Tensor; membrane: tf.Tensor } => {
          const [batch, , length] = x.shape as [number, number, number];
          const y = tf.reshape(joinHeads(x), [batch, length / tokens, tokens, features]);
          const fired = spiking(
            parameters[name] as unknown as SpikingParameters,
            y,
            state?.[name] as tf.Tensor | undefined,
            neuron,
            within(context, name),
          );
          return {
            spikes: splitHeads(tf.reshape(fired.spikes, [batch, length, features]), heads),
            membrane: fired.membrane,
          };
        };
        const [query, key] = [fire('query', q), fire('key', k)];
        return {
          q: query.spikes,
          k: key.spikes,
          state: { query: query.membrane, key: key.membrane },
        };
      },
      products: () => noProducts,
    };
  };
