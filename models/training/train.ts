import * as tf from '@tensorflow/tfjs-core';

import { sendAhead } from '../../engine/graphs.js';
import { createRandom, type Random } from '../../engine/support/random.js';
import type { ClipBatch } from '../../preprocess/loader.js';
import { evaluate } from '../evaluation/evaluate.js';
import type { Model } from '../model.js';
import { flatten, Initialiser, unflatten } from '../parameters.js';
import type { TrainingConfig } from './config.js';
import { cutmix } from './cutmix.js';
import {
  type LearningTask,
  type LoopMetrics,
  type LoopOptions,
  type LoopResult,
  runEpochs,
} from './loop.js';
import { smoothShares, smoothTargets } from './loss.js';
import { mixup } from './mixup.js';
import { createTrainingStep } from './step.js';

/** What a classifier is selected by, on validation: the higher accuracy, at equal ones the lower loss. */
export type ClassificationScore = { readonly accuracy: number; readonly loss: number };

export interface TrainingOptions extends Omit<LoopOptions<ClassificationScore>, 'task' | 'config'> {
  readonly model: Model;
  readonly config: TrainingConfig;
  readonly seed: number;
  /** Puts other first values in place of the fresh ones it gets, some or all. It disposes those that it does not return. */
  readonly initialise?: (fresh: Map<string, tf.Tensor>) => Promise<Map<string, tf.Tensor>>;
}

export type EpochMetrics = LoopMetrics<ClassificationScore>;

export interface TrainingResult extends Omit<LoopResult<ClassificationScore>, 'best'> {
  readonly bestValidationAccuracy: number;
}

/**
 * Trains a classifier, or resumes the run found in `folder`. The epoch with the best validation accuracy (the
 * lower loss at equal accuracy) is kept apart.
 *
 * @throws SaccadeError as `runEpochs` does.
 */
export async function train(options: TrainingOptions): Promise<TrainingResult> {
  const { model, data, seed, initialise, transport } = options;
  const steps = createTrainingStep(model, transport);
  const totalSteps = options.config.epochs * data.batchesPerEpoch;
  /** The next batch, which goes to a device while that computes the step before. */
  let ahead = undefined as PreparedBatch | undefined;
  const task: LearningTask<ClassificationScore> = {
    async initialise() {
      const fresh = flatten(model.initialise(new Initialiser(seed)));
      // Others than the first process get its values anyway.
      const isFirst = transport === undefined || transport.rank === 0;
      return initialise === undefined || !isFirst ? fresh : initialise(fresh);
    },
    step(state, batch, step, learningRate, next) {
      const { input, target } = ahead?.batch === batch ? ahead : prepare(options, batch, step);
      ahead = undefined;
      const config = { ...options.config, learningRate, progress: step / totalSteps };
      try {
        return steps.step(state, input, target, config, () => {
          if (next === undefined) return;
          ahead = prepare(options, next, step + 1);
          sendAhead(ahead.input);
        });
      } finally {
        tf.dispose([input, target]);
      }
    },
    async judge(leaves) {
      const evaluation = await evaluate(model, unflatten(leaves), data.validation());
      const { labels, accuracy, loss, firingRates } = evaluation;
      return { clips: labels.length, score: { accuracy, loss }, firingRates };
    },
    isBetter: (score, before) =>
      score.accuracy > before.accuracy ||
      (score.accuracy === before.accuracy && score.loss < before.loss),
    // With one class there is nothing to guess.
    guessing: model.classes > 1 ? Math.log(model.classes) : undefined,
  };
  try {
    const { best, ...result } = await runEpochs<ClassificationScore>({ ...options, task });
    return { ...result, bestValidationAccuracy: best?.accuracy ?? 0 };
  } finally {
    steps.dispose();
    if (ahead !== undefined) tf.dispose([ahead.input, ahead.target]);
  }
}

/** A batch and what a step takes of it. */
interface PreparedBatch {
  readonly batch: ClipBatch;
  readonly input: tf.Tensor;
  readonly target: tf.Tensor;
}

/** @param step for which it is. */
function prepare(
  { model, config, seed }: TrainingOptions,
  batch: ClipBatch,
  step: number,
): PreparedBatch {
  const { inputs, targets } = mixedBatch(batch, model.classes, config, () =>
    createRandom(seed, 'mixup', step),
  );
  // The loss is linear in the targets: so a larger part of the batch counts for more.
  const { weight } = batch.part ?? { weight: 1 };
  if (weight !== 1) for (let i = 0; i < targets.length; i++) targets[i] *= weight;
  const input = tf.tensor(inputs, [...batch.shape]);
  const target = tf.tensor(targets, [batch.shape[0], model.classes]);
  return { batch, input, target };
}

/** A batch with smoothed targets, mixed as the settings say. */
function mixedBatch(
  { inputs, shape, labels, targets: shares }: ClipBatch,
  classes: number,
  { labelSmoothing, mixup: mixupAlpha, cutmix: cutmixAlpha }: TrainingConfig,
  createMixRandom: () => Random,
): { inputs: Float32Array; targets: Float32Array } {
  const targets =
    shares === undefined
      ? smoothTargets(labels, classes, labelSmoothing)
      : smoothShares(shares, classes, labelSmoothing);
  if (mixupAlpha === 0 && cutmixAlpha === 0) return { inputs, targets };
  const random = createMixRandom();
  const cuts = cutmixAlpha > 0 && (mixupAlpha === 0 || random.uniform() < 0.5);
  return cuts
    ? cutmix(inputs, shape, targets, cutmixAlpha, random)
    : mixup(inputs, targets, shape[0], mixupAlpha, random);
}
