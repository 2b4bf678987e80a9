import * as tf from '@tensorflow/tfjs-core';

import { adamw } from '../../engine/ops/adamw.js';
import { euclideanNorm } from '../../engine/ops/norm.js';
import { Recorder, type Context } from '../context.js';
import type { OptimiserState } from '../checkpoints/checkpoint.js';
import type { Model } from '../model.js';
import { isTrainable, unflatten, type ParameterTree } from '../parameters.js';
import { clipLoss } from './loss.js';

/** Everything that a training step changes. */
export interface TrainingState {
  /** All leaves of the parameter tree by path, running statistics included. */
  readonly leaves: ReadonlyMap<string, tf.Tensor>;
  readonly optimiser: OptimiserState;
  /** Optimiser steps done. */
  readonly step: number;
}

export interface StepConfig {
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly gradientClip: number;
  readonly perStepLoss: number;
  readonly statisticsMomentum: number;
  /** Learning rate of delays, in that of the rest; 1 where nothing is said. */
  readonly delayRate?: number;
  /** Share of the training that is done, 0 … 1, for what narrows with it; all of it where nothing is said. */
  readonly progress?: number;
}

export interface StepResult {
  readonly state: TrainingState;
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradientNorm: number;
  /** Path of the first parameter whose gradient is not finite. */
  readonly notFinite?: string;
}

/** Starts training from a parameter tree, with moments of zero. Owns its tensors from then on. */
export function startTraining(parameters: ReadonlyMap<string, tf.Tensor>): TrainingState {
  const zeros = (): Map<string, tf.Tensor> =>
    new Map(
      [...parameters]
        .filter(([path]) => isTrainable(path))
        .map(([path, tensor]) => [path, tf.zerosLike(tensor)]),
    );
  return { leaves: parameters, optimiser: { m: zeros(), v: zeros() }, step: 0 };
}

export function disposeTraining({ leaves, optimiser }: TrainingState): void {
  for (const map of [leaves, optimiser.m, optimiser.v]) {
    for (const tensor of map.values()) tensor.dispose();
  }
}

/**
 * Forward, backward, AdamW. Disposes the tensors of `state` that it replaces. A step whose loss or
 * gradient is not finite changes nothing and says so.
 *
 * @param input `[batch, time, channels, height, width]`.
 * @param targets `[batch, classes]`.
 */
export function trainingStep(
  model: Model,
  state: TrainingState,
  input: tf.Tensor,
  targets: tf.Tensor,
  config: StepConfig,
): StepResult {
  return gradientStep(
    state,
    (parameters, context) =>
      clipLoss(
        model.apply(parameters, input, undefined, context).logits,
        targets,
        config.perStepLoss,
      ),
    config,
  );
}

/**
 * `trainingStep` for any loss.
 *
 * @param lossOf a scalar of the parameters; its layers record their statistics in the context, and leave losses of their
 *   own, which are added.
 */
export function gradientStep(
  state: TrainingState,
  lossOf: (parameters: ParameterTree, context: Context) => tf.Tensor,
  config: Omit<StepConfig, 'perStepLoss'>,
): StepResult {
  const recorder = new Recorder();
  const losses: tf.Tensor[] = [];
  const context = { training: true, progress: config.progress, recorder, losses, path: '' };
  const trained = [...state.leaves.keys()].filter(isTrainable);
  const { value, grads } = tf.tidy(() => {
    const loss = (...values: tf.Tensor[]): tf.Scalar => {
      const leaves = new Map(state.leaves);
      trained.forEach((path, i) => leaves.set(path, values[i]));
      const own = lossOf(unflatten(leaves), context);
      return tf.addN([own, ...losses.map((layer) => tf.reshape(layer, own.shape))]) as tf.Scalar;
    };
    return tf.valueAndGrads(loss)(trained.map((path) => state.leaves.get(path)!));
  });
  try {
    // One read: a device has to be waited for at each.
    const [loss, ...norms] = tf.tidy(() =>
      Array.from(tf.stack([value, ...grads.map(euclideanNorm)]).dataSync()),
    );
    const gradientNorm = Math.hypot(...norms);
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) {
      const notFinite = trained[norms.findIndex((norm) => !Number.isFinite(norm))] ?? 'loss';
      return { state, loss, gradientNorm, notFinite };
    }
    tf.engine().startScope();
    const next = updated(state, trained, grads, gradientNorm, recorder, config);
    tf.engine().endScope();
    return { state: next, loss, gradientNorm };
  } finally {
    value.dispose();
    tf.dispose(grads);
    recorder.dispose();
  }
}

const isDelay = (path: string): boolean => /(^|\.)delay$/.test(path);

function updated(
  state: TrainingState,
  trained: readonly string[],
  gradients: readonly tf.Tensor[],
  gradientNorm: number,
  recorder: Recorder,
  config: Omit<StepConfig, 'perStepLoss'>,
): TrainingState {
  const { learningRate, weightDecay, gradientClip, statisticsMomentum, delayRate = 1 } = config;
  const step = state.step + 1;
  const gradientScale =
    gradientClip > 0 && gradientNorm > gradientClip ? gradientClip / gradientNorm : 1;
  const leaves = new Map(state.leaves);
  const m = new Map(state.optimiser.m);
  const v = new Map(state.optimiser.v);
  const replace = (map: Map<string, tf.Tensor>, path: string, tensor: tf.Tensor): void => {
    map.get(path)!.dispose();
    map.set(path, tf.keep(tensor));
  };
  trained.forEach((path, i) => {
    const parameter = leaves.get(path)!;
    const next = adamw({ parameter, m: m.get(path)!, v: v.get(path)! }, gradients[i], {
      learningRate: isDelay(path) ? delayRate * learningRate : learningRate,
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      // Scales, shifts, biases and the like are vectors, and so is A in effect: they don't decay. Nor do delays.
      weightDecay: parameter.rank > 1 && !path.endsWith('logA') && !isDelay(path) ? weightDecay : 0, // prettier-ignore
      step,
      gradientScale,
    });
    replace(leaves, path, next.parameter);
    replace(m, path, next.m);
    replace(v, path, next.v);
  });
  // The first values (mean 0, variance 1) were never measured: at first, all steps count alike.
  const share = Math.max(1 - statisticsMomentum, 1 / step);
  const blend = (path: string, current: tf.Tensor): void => {
    const kept = tf.mul(1 - share, leaves.get(path)!);
    replace(leaves, path, tf.add(kept, tf.mul(share, current)));
  };
  for (const [path, { mean, variance }] of recorder.statistics) {
    blend(`${path}.runningMean`, mean);
    blend(`${path}.runningVariance`, variance);
  }
  return { leaves, optimiser: { m, v }, step };
}
