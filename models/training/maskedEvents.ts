import * as tf from '@tensorflow/tfjs-core';

import type { Random } from '../../engine/support/random.js';
import { patches } from '../../engine/ops/patches.js';
import type { Transport } from '../../engine/transport/transport.js';
import { dense, initialiseDense, type DenseParameters } from '../blocks/dense.js';
import type { Context } from '../context.js';
import type { TokenEncoder } from '../model.js';
import type { Initialiser, ParameterTree } from '../parameters.js';
import { gradientStep, type StepConfig, type StepResult, type TrainingState } from './step.js';

/** Which tokens are hidden: 1 for those, `[clips, time, tokens]`; in each clip the same number. */
export function drawTokenMask(
  [clips, time, tokens]: readonly [number, number, number],
  share: number,
  random: Random,
): tf.Tensor {
  const perClip = time * tokens;
  const hidden = Math.round(share * perClip);
  const mask = new Float32Array(clips * perClip);
  for (let clip = 0; clip < clips; clip++) {
    // Selection sampling: each token with the chance that is left to it.
    let left = hidden;
    for (let i = 0; i < perClip; i++) {
      if (random.uniform() * (perClip - i) >= left) continue;
      mask[clip * perClip + i] = 1;
      left--;
    }
  }
  return tf.tensor(mask, [clips, time, tokens]);
}

/**
 * The frames without the events of hidden tokens.
 *
 * @param x `[batch, time, channels, height, width]`.
 * @param mask of `drawTokenMask`, for patches in raster order.
 */
export function hideTokens(x: tf.Tensor, mask: tf.Tensor, patch: number): tf.Tensor {
  const [batch, time, , height, width] = x.shape as [number, number, number, number, number];
  const [rows, columns] = [height / patch, width / patch];
  const coarse = tf.reshape(mask, [batch, time, 1, rows, 1, columns, 1]);
  const wide = tf.tile(coarse, [1, 1, 1, 1, patch, 1, patch]);
  return tf.mul(x, tf.sub(1, tf.reshape(wide, [batch, time, 1, height, width])));
}

/**
 * What a token is asked for: ln(1 + events) of each channel in its patch.
 *
 * @returns `[batch, time, tokens, channels]`.
 */
export function eventTargets(x: tf.Tensor, patch: number): tf.Tensor {
  const [batch, time, channels, height, width] = x.shape as [number, number, number, number, number]; // prettier-ignore
  const cut = patches(tf.reshape(x, [batch * time * channels, 1, height, width]), patch);
  const counts = tf.reshape(tf.sum(cut, 2), [batch, time, channels, -1]);
  return tf.log1p(tf.transpose(counts, [0, 1, 3, 2]));
}

/** The layer that predicts events from tokens; pretraining alone has it. */
export function initialiseReconstruction(
  initialiser: Initialiser,
  embedding: number,
  channels: number,
): DenseParameters {
  return initialiseDense(initialiser, embedding, channels);
}

/**
 * Masked event modelling (after the masked image modelling of Spikformer V2, Zhou et al. 2024): the mean squared error of the
 * predicted ln(1 + events), over hidden tokens alone.
 *
 * @param tokens what an encoder made of the frames of `hideTokens`, `[batch, time, tokens, embedding]`.
 * @param targets of `eventTargets`, of the whole frames.
 */
export function maskedEventLoss(
  parameters: DenseParameters,
  tokens: tf.Tensor,
  targets: tf.Tensor,
  mask: tf.Tensor,
): tf.Tensor {
  const error = tf.mean(tf.square(tf.sub(dense(parameters, tokens), targets)), 3);
  return tf.div(tf.sum(tf.mul(error, mask)), tf.maximum(tf.sum(mask), 1));
}

/**
 * One step of pretraining. The leaves of `state` are a network's own, and `reconstruction.…` of the layer that predicts.
 *
 * @param x whole frames, `[batch, time, channels, height, width]`.
 * @param mask of `drawTokenMask`.
 * @param shared of processes that each have a part of the batch; the part's weight among them (`BatchPart`).
 */
export function pretrainingStep(
  encoder: TokenEncoder,
  state: TrainingState,
  x: tf.Tensor,
  mask: tf.Tensor,
  config: Omit<StepConfig, 'perStepLoss'>,
  { transport, weight = 1 }: { readonly transport?: Transport; readonly weight?: number } = {},
): StepResult {
  return gradientStep(
    state,
    (parameters, context) => tf.mul(hiddenEventLoss(encoder, parameters, x, mask, context), weight),
    config,
    transport,
  );
}

/** `maskedEventLoss` of what an encoder makes of the frames that the mask leaves. */
export function hiddenEventLoss(
  encoder: TokenEncoder,
  parameters: ParameterTree,
  x: tf.Tensor,
  mask: tf.Tensor,
  context: Context,
): tf.Tensor {
  const tokens = encoder.encode(parameters, hideTokens(x, mask, encoder.patch), context);
  const layer = parameters.reconstruction as unknown as DenseParameters;
  return maskedEventLoss(layer, tokens, eventTargets(x, encoder.patch), mask);
}
