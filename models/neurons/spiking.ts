import * as tf from '@tensorflow/tfjs-core';

import { batchNorm, batchNormInference } from '../../engine/ops/normalise.js';
import { lif, type LifConfig } from '../../engine/ops/lif.js';
import type { Context } from '../context.js';
import type { Initialiser } from '../parameters.js';

/** Parameters of a population of neurons: their normalisation, `[features]` each. */
export type SpikingParameters = Readonly<
  Record<'scale' | 'shift' | 'runningMean' | 'runningVariance', tf.Tensor>
>;

export function initialiseSpiking(initialiser: Initialiser, features: number): SpikingParameters {
  return {
    scale: initialiser.constant([features], 1),
    shift: initialiser.constant([features], 0),
    runningMean: initialiser.constant([features], 0),
    runningVariance: initialiser.constant([features], 1),
  };
}

/**
 * The paper's SNN(·): batch normalisation per feature, then leaky integrate-and-fire neurons whose time
 * axis is the frames of one clip. Clips never share a membrane.
 *
 * @param x `[batch, time, …, features]`.
 * @param membrane state, shape of one step of `x`; zeros at the start of a clip.
 * @returns spikes (0 or 1), shape of `x`, and the next membrane.
 */
export function spiking(
  parameters: SpikingParameters,
  x: tf.Tensor,
  membrane: tf.Tensor | undefined,
  config: LifConfig,
  context: Context,
): { spikes: tf.Tensor; membrane: tf.Tensor } {
  const [batch, time, ...rest] = x.shape;
  const perStep = rest.reduce((a, b) => a * b, 1);
  const normal = normalise(parameters, x, context);
  const result = lif(
    tf.reshape(normal, [batch, time, perStep]),
    membrane === undefined ? tf.zeros([batch, perStep]) : tf.reshape(membrane, [batch, perStep]),
    config,
  );
  const { recorder, path } = context;
  recorder?.firingRates.set(path, tf.keep(tf.mean(result.spikes)));
  recorder?.spikes?.set(path, tf.keep(tf.clone(result.spikes)));
  return {
    spikes: tf.reshape(result.spikes, x.shape),
    membrane: tf.reshape(result.membrane, [batch, ...rest]),
  };
}

function normalise(parameters: SpikingParameters, x: tf.Tensor, context: Context): tf.Tensor {
  const { scale, shift, runningMean, runningVariance } = parameters;
  if (!context.training) {
    return batchNormInference(x, { scale, shift, mean: runningMean, variance: runningVariance });
  }
  const { y, mean, variance } = batchNorm(x, scale, shift);
  context.recorder?.statistics.set(context.path, {
    mean: tf.keep(tf.clone(mean)),
    variance: tf.keep(tf.clone(variance)),
  });
  return y;
}
