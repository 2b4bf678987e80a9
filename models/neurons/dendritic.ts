import * as tf from '@tensorflow/tfjs-core';

import { gatherRows } from '../../engine/ops/gatherRows.js';
import { stopGradient, surrogateSpikes } from '../../engine/ops/lif.js';
import { timeSteps } from '../../engine/ops/timeSteps.js';
import { createRandom } from '../../engine/support/random.js';
import type { ParameterTree } from '../parameters.js';
import type { Neuron } from './neuron.js';

/**
 * Leaky integrate-and-fire neurons with dendritic segments (after Hawkins & Ahmad 2016): each segment has synapses to a few
 * neurons of the population, drawn once for all; where a segment's weighted sum of their last spikes reaches its
 * threshold, the neuron expects to fire, and its own threshold is lowered:
 *
 *     e = step(max over segments (w · S[t-1]) - segmentThreshold),   θ = threshold (1 - expectation · e)
 *
 * The second state is the spikes of the step before.
 */
export const dendriticNeuron: Neuron = {
  kind: 'dendritic',
  states: 2,
  initialise: (initialiser, features, { segments, synapses }): ParameterTree => ({
    synapses: initialiser.constant([features, segments, Math.min(synapses, features)], 1),
  }),
  run(x, [membraneBefore, spikesBefore], { synapses }, config) {
    const weights = synapses as tf.Tensor;
    const [features, segments, perSegment] = weights.shape as [number, number, number];
    const index = drawSynapses(features, segments, perSegment);
    const [batch, , tokens] = x.shape as [number, number, number];
    const leak = 1 - 1 / config.tau;
    const gain = config.decayInput && config.tau !== Infinity ? 1 / config.tau : 1;
    let membrane = membraneBefore;
    let last = spikesBefore;
    const spikes = timeSteps(x).map((input) => {
      const seen = gatherRows(tf.reshape(last, [batch * tokens, features, 1]), index);
      const sums = tf.sum(
        tf.mul(tf.reshape(seen, [-1, features, segments, perSegment]), weights),
        3,
      );
      const best = tf.reshape(tf.max(sums, 2), [batch, tokens, features]);
      const expected = surrogateSpikes(tf.sub(best, config.segmentThreshold), config);
      const limit = tf.mul(config.threshold, tf.sub(1, tf.mul(config.expectation, expected)));
      const h = tf.add(tf.mul(leak, membrane), tf.mul(gain, input));
      last = surrogateSpikes(tf.sub(h, limit), config);
      const resetting = config.detachReset ? stopGradient(last) : last;
      membrane =
        config.reset === 'hard'
          ? tf.mul(h, tf.sub(1, resetting))
          : tf.sub(h, tf.mul(limit, resetting));
      return last;
    });
    return { spikes: tf.stack(spikes, 1), state: [membrane, last] };
  },
};

/** The neurons that each segment listens to, `[features, segments, synapses]`: none twice, and the same every time. */
export function drawSynapses(features: number, segments: number, synapses: number): Int32Array {
  const drawn = new Int32Array(features * segments * synapses);
  const order = Int32Array.from({ length: features }, (_, i) => i);
  const random = createRandom(0, 'synapses', features, segments, synapses);
  for (let at = 0; at < drawn.length; at += synapses) {
    for (let i = 0; i < synapses; i++) {
      const other = i + random.integer(features - i);
      [order[i], order[other]] = [order[other], order[i]];
      drawn[at + i] = order[i];
    }
  }
  return drawn;
}

/** ln of the binomial coefficient. */
function logChoose(n: number, k: number): number {
  let sum = 0;
  for (let i = 1; i <= k; i++) sum += Math.log((n - k + i) / i);
  return sum;
}

/**
 * How likely a segment takes a random pattern for its own (Ahmad & Hawkins 2016, eq. 4): the chance that of `active` among
 * `cells` cells, `threshold` or more lie on its `synapses`. Says which synapses and thresholds suit a measured sparsity.
 */
export function falseMatchProbability(
  cells: number,
  active: number,
  synapses: number,
  threshold: number,
): number {
  let probability = 0;
  for (let overlap = threshold; overlap <= Math.min(synapses, active); overlap++) {
    if (active - overlap > cells - synapses) continue;
    probability += Math.exp(
      logChoose(synapses, overlap) +
        logChoose(cells - synapses, active - overlap) -
        logChoose(cells, active),
    );
  }
  return probability;
}
