import type * as tf from '@tensorflow/tfjs-core';

import { spikeMatMul } from '../../engine/ops/spikes.js';
import { within, type Context } from '../context.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';

export interface FeedForwardConfig {
  readonly width: number;
  readonly hidden: number;
  readonly neuron: NeuronConfig;
}

export interface FeedForwardParameters {
  readonly input: tf.Tensor;
  readonly neurons: SpikingParameters;
  readonly output: tf.Tensor;
}

/** Membrane of the hidden neurons, `[batch, tokens, hidden]`. */
export interface FeedForwardState {
  readonly membrane: tf.Tensor;
}

export function initialiseFeedForward(
  initialiser: Initialiser,
  { width, hidden, neuron }: FeedForwardConfig,
): FeedForwardParameters {
  return {
    input: initialiser.weight('input', width, hidden),
    neurons: initialiseSpiking(initialiser, hidden, neuron),
    output: initialiser.weight('output', hidden, width),
  };
}

/**
 * Two linear layers. What stands between them the paper doesn't say: here, spiking neurons.
 *
 * @param x `[batch, time, tokens, width]`.
 */
export function feedForward(
  parameters: FeedForwardParameters,
  x: tf.Tensor,
  state: FeedForwardState | undefined,
  { neuron }: FeedForwardConfig,
  context: Context,
): { output: tf.Tensor; state: FeedForwardState } {
  const { spikes, membrane } = spiking(
    parameters.neurons,
    project(x, parameters.input, within(context, 'input')),
    state?.membrane,
    neuron,
    within(context, 'neurons'),
  );
  return { output: spikeMatMul(spikes, parameters.output), state: { membrane } };
}
