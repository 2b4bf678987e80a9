import * as tf from '@tensorflow/tfjs-core';

import { stopGradient, surrogateSpikes } from '../../engine/ops/lif.js';
import { timeSteps } from '../../engine/ops/timeSteps.js';
import type { ParameterTree } from '../parameters.js';
import type { Neuron } from './neuron.js';

/** Inverse of ln(1 + eˣ). */
const inverseSoftplus = (x: number): number => Math.log(Math.expm1(x));

interface Parameters extends ParameterTree {
  readonly logTau: tf.Tensor;
  readonly threshold: tf.Tensor;
  readonly reset: tf.Tensor;
  readonly temperature: tf.Tensor;
}

/**
 * A neuron that learns its inner parameters, each per feature (after the meta-neuron of Zhang et al.: time constant,
 * threshold, reset and firing probability, jointly):
 *
 *     H = V + (X - V) / τ, or V - V/τ + X;   p = P((H - θ) / w);   S = 1 where H ≥ θ, with the gradient of p
 *     V = H - S (r H + (1 - r) θ)
 *
 * with τ = 1 + e^a, θ = softplus(b), w = softplus(c) in units of the surrogate's width, whose primitive is P, and r =
 * sigmoid(d): 1 resets to zero, 0 subtracts the threshold.
 */
export const metaLifNeuron: Neuron = {
  kind: 'metaLif',
  states: 1,
  initialise: (initialiser, features, { tau, threshold, reset }): ParameterTree => ({
    logTau: initialiser.constant([features], Math.log(tau - 1)),
    threshold: initialiser.constant([features], inverseSoftplus(threshold)),
    reset: initialiser.constant([features], reset === 'hard' ? 2 : -2),
    temperature: initialiser.constant([features], inverseSoftplus(1)),
  }),
  run(x, [before], tree, config) {
    const { logTau, threshold, reset, temperature } = tree as Parameters;
    const rate = tf.reciprocal(tf.add(1, tf.exp(logTau)));
    const limit = tf.softplus(threshold);
    const width = tf.softplus(temperature);
    const hard = tf.sigmoid(reset);
    let membrane = before;
    const spikes = timeSteps(x).map((input) => {
      const charge = config.decayInput ? tf.mul(rate, input) : input;
      const h = tf.add(tf.mul(tf.sub(1, rate), membrane), charge);
      const spike = surrogateSpikes(tf.div(tf.sub(h, limit), width), config);
      const resetting = config.detachReset ? stopGradient(spike) : spike;
      const fall = tf.add(tf.mul(hard, h), tf.mul(tf.sub(1, hard), limit));
      membrane = tf.sub(h, tf.mul(resetting, fall));
      return spike;
    });
    return { spikes: tf.stack(spikes, 1), state: [membrane] };
  },
};
