import * as tf from '@tensorflow/tfjs-core';

import { within, type Context } from '../context.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';
import type { FeedForwardConfig } from './feedForward.js';
import { shiftMix, tokenShift } from './tokenShift.js';

/**
 * `receptance` `[width, width]`, `key` `[width, hidden]`, `value` `[hidden, width]`; shares of the present in what each of
 * the first two reads, `[width]`.
 */
export interface SpikingReceptanceParameters {
  readonly receptance: tf.Tensor;
  readonly key: tf.Tensor;
  readonly value: tf.Tensor;
  readonly receptanceMix: tf.Tensor;
  readonly keyMix: tf.Tensor;
  readonly neurons: SpikingParameters;
}

export interface SpikingReceptanceState {
  /** The frame before, `[batch, 1, tokens, width]`. */
  readonly last: tf.Tensor;
  /** `[batch, tokens, width]`. */
  readonly membrane: tf.Tensor;
}

export function initialiseSpikingReceptance(
  initialiser: Initialiser,
  { width, hidden, neuron }: FeedForwardConfig,
): SpikingReceptanceParameters {
  const mix = (name: string): tf.Tensor => initialiser.uniform(name, [width], 0.3, 0.9);
  return {
    receptance: initialiser.weight('receptance', width, width),
    key: initialiser.weight('key', width, hidden),
    value: initialiser.weight('value', hidden, width),
    receptanceMix: mix('receptanceMix'),
    keyMix: mix('keyMix'),
    neurons: initialiseSpiking(initialiser, width, neuron),
  };
}

/**
 * SpikeGPT's channel mixing, the spiking receptance feed-forward network (Zhu et al. 2023):
 * `LIF(σ(W_r x_r) ⊙ W_v relu(W_k x_k)²)`, where x_r and x_k are each a mix of a frame and the one before. What it gives are
 * spikes, so that a residual stream that begins with spikes is of whole numbers.
 *
 * @param x `[batch, time, tokens, width]`.
 */
export function spikingReceptance(
  parameters: SpikingReceptanceParameters,
  x: tf.Tensor,
  state: SpikingReceptanceState | undefined,
  { neuron }: FeedForwardConfig,
  context: Context,
): { output: tf.Tensor; state: SpikingReceptanceState } {
  const { previous, last } = tokenShift(x, state?.last);
  const product = (name: 'receptance' | 'key' | 'value', y: tf.Tensor): tf.Tensor =>
    project(y, parameters[name], within(context, name));
  const gate = tf.sigmoid(product('receptance', shiftMix(x, previous, parameters.receptanceMix)));
  const hidden = product('key', shiftMix(x, previous, parameters.keyMix));
  const { spikes, membrane } = spiking(
    parameters.neurons,
    tf.mul(gate, product('value', tf.square(tf.relu(hidden)))),
    state?.membrane,
    neuron,
    within(context, 'neurons'),
  );
  return { output: spikes, state: { last, membrane } };
}
