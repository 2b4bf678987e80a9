import * as tf from '@tensorflow/tfjs-core';

import { batchNorm, batchNormInference } from '../../engine/ops/normalise.js';
import { shaped } from '../../engine/ops/shaped.js';
import { synchronisedBatchNorm } from '../../engine/ops/synchronisedBatchNorm.js';
import { zeros } from '../../engine/ops/zeros.js';
import { SaccadeError } from '../../engine/support/errors.js';
import type { Context } from '../context.js';
import type { Initialiser, ParameterTree } from '../parameters.js';
import { defaultNeuron, type NeuronConfig } from './neuron.js';
import { neurons } from './registry.js';

/** Parameters of a population of neurons: their normalisation, `[features]` each, and what they learn. */
export type SpikingParameters = Readonly<
  Record<'scale' | 'shift' | 'runningMean' | 'runningVariance', tf.Tensor>
> & { readonly inner?: ParameterTree };

/** @param config of the neurons that will run; plain LIF neurons learn nothing of their own. */
export function initialiseSpiking(
  initialiser: Initialiser,
  features: number,
  config: NeuronConfig = defaultNeuron,
): SpikingParameters {
  const complete = { ...defaultNeuron, ...config };
  const inner = neurons[complete.kind].initialise?.(initialiser, features, complete);
  return {
    scale: initialiser.constant([features], 1),
    shift: initialiser.constant([features], 0),
    runningMean: initialiser.constant([features], 0),
    runningVariance: initialiser.constant([features], 1),
    ...(inner && { inner }),
  };
}

/**
 * The paper's SNN(·): batch normalisation per feature, then spiking neurons whose time axis is the frames of one
 * clip. Clips never share a membrane.
 *
 * @param x `[batch, time, …, features]`.
 * @param membrane state, shape of one step of `x`; zeros at the start of a clip. Neurons with more state than a membrane
 *   have the rest behind it, on the last axis.
 * @returns spikes (0 or 1), shape of `x`, and the next membrane.
 */
export function spiking(
  parameters: SpikingParameters,
  x: tf.Tensor,
  membrane: tf.Tensor | undefined,
  config: NeuronConfig,
  context: Context,
): { spikes: tf.Tensor; membrane: tf.Tensor } {
  const complete = { ...defaultNeuron, ...config };
  const neuron = neurons[complete.kind];
  if (neuron.initialise !== undefined && parameters.inner === undefined) {
    throw new SaccadeError('usage', `${context.path}: parameters of ${neuron.kind} neurons are missing`); // prettier-ignore
  }
  const [batch, time, ...rest] = x.shape;
  const features = rest[rest.length - 1];
  const tokens = rest.slice(0, -1).reduce((a, b) => a * b, 1);
  const stored = membrane && shaped(membrane, [batch, tokens, neuron.states * features]);
  const before = Array.from({ length: neuron.states }, (_, i) =>
    stored === undefined
      ? zeros([batch, tokens, features])
      : neuron.states === 1
        ? stored
        : tf.slice(stored, [0, 0, i * features], [-1, -1, features]),
  );
  const { spikes, state } = neuron.run(
    shaped(normalise(parameters, x, context), [batch, time, tokens, features]),
    before,
    parameters.inner ?? {},
    complete,
  );
  const { recorder, path } = context;
  if (recorder?.wantsRates) recorder.firingRates.set(path, tf.keep(tf.mean(spikes)));
  recorder?.neuronStates.set(path, neuron.states * tokens * features);
  recorder?.spikes?.set(path, tf.keep(tf.reshape(spikes, x.shape)));
  return {
    spikes: shaped(spikes, x.shape),
    membrane: shaped(state.length === 1 ? state[0] : tf.concat(state, 2), [
      batch,
      ...rest.slice(0, -1),
      neuron.states * features,
    ]),
  };
}

function normalise(parameters: SpikingParameters, x: tf.Tensor, context: Context): tf.Tensor {
  const { scale, shift, runningMean, runningVariance } = parameters;
  if (!context.training) {
    return batchNormInference(x, { scale, shift, mean: runningMean, variance: runningVariance });
  }
  const { y, mean, variance } =
    context.transport === undefined
      ? batchNorm(x, scale, shift)
      : synchronisedBatchNorm(x, scale, shift, context.transport);
  context.recorder?.statistics.set(context.path, {
    mean: tf.keep(tf.clone(mean)),
    variance: tf.keep(tf.clone(variance)),
  });
  return y;
}
