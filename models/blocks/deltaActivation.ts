import * as tf from '@tensorflow/tfjs-core';

import type { Context } from '../context.js';
import type { Initialiser } from '../parameters.js';
import { deltaLoss, quantisedLevels } from '../runtime/deltaActivation.js';

export interface DeltaActivationConfig {
  /** First step of the rounding, in units of the activation, > 0; each layer learns its own. */
  readonly step: number;
  /** Weight of a change in the loss, ≥ 0: of one step of one value from frame to frame, times the outputs it feeds. */
  readonly rate: number;
}

/** ln of the step, `[1]`. */
export interface DeltaActivationParameters {
  readonly logStep: tf.Tensor;
}

export function initialiseDeltaActivation(
  initialiser: Initialiser,
  { step }: DeltaActivationConfig,
): DeltaActivationParameters {
  return { logStep: initialiser.constant([1], Math.log(step)) };
}

/**
 * Delta activation layer (Parger et al.): activations rounded to multiples of a learned step, so that small changes from
 * frame to frame vanish and the products behind it need not be made again (`runtime/deltaModel.ts`). In training it adds
 * rate · fanOut · mean |R[t] - R[t-1]| to the context's losses. R counts steps, not values: so the loss lengthens the step, for
 * which the published code turns the gradient's sign.
 *
 * @param x `[batch, time, …, features]`.
 * @param fanOut outputs that each value feeds.
 * @returns Q = s R, R = round(x / s), shape of `x`.
 */
export function deltaActivation(
  { logStep }: DeltaActivationParameters,
  x: tf.Tensor,
  { rate }: DeltaActivationConfig,
  fanOut: number,
  { training, losses }: Context,
): tf.Tensor {
  const step = tf.exp(logStep);
  const levels = quantisedLevels(x, step);
  if (training && rate > 0) losses?.push(deltaLoss(levels, fanOut, rate));
  return tf.mul(step, levels);
}
