import { appendFile, readFile, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import type { ClipBatch } from '../../preprocess/loader.js';
import { makeFolders } from '../../engine/support/folders.js';
import { createRandom, type Random } from '../../engine/support/random.js';
import { readCheckpoint, writeCheckpoint } from '../checkpoints/checkpoint.js';
import { evaluate, firingRateWarnings, type Evaluation } from '../evaluation/evaluate.js';
import type { Model } from '../model.js';
import { flatten, Initialiser, unflatten } from '../parameters.js';
import type { TrainingConfig } from './config.js';
import { cutmix } from './cutmix.js';
import { smoothShares, smoothTargets } from './loss.js';
import { mixup } from './mixup.js';
import { learningRateAt } from './schedule.js';
import { disposeTraining, startTraining, trainingStep, type TrainingState } from './step.js';
import { openEventFile } from './tensorboard.js';

/**
 * Where the clips come from. Batches depend on their arguments alone, so that runs can be resumed. Each is done
 * with when the next is asked for.
 */
export interface TrainingData {
  readonly batchesPerEpoch: number;
  /** Shuffled and augmented training batches of an epoch, from batch `start` on. */
  train(epoch: number, start: number): Iterable<ClipBatch> | AsyncIterable<ClipBatch>;
  validation(): Iterable<ClipBatch> | AsyncIterable<ClipBatch>;
}

export interface TrainingOptions {
  readonly model: Model;
  readonly data: TrainingData;
  readonly config: TrainingConfig;
  readonly seed: number;
  /** Run folder: checkpoints, metrics, TensorBoard events. A run found there is resumed. */
  readonly folder: string;
  /** Written into every checkpoint, so that a checkpoint can be used alone. */
  readonly experiment: unknown;
  readonly signal?: AbortSignal;
  readonly onStep?: (progress: StepProgress) => void;
  readonly onEpoch?: (metrics: EpochMetrics) => void;
  /** Sentences for the user: dead layers and the like. */
  readonly onWarning?: (warning: string) => void;
}

export interface StepProgress {
  /** Steps done and to do, over the whole run. */
  readonly step: number;
  readonly totalSteps: number;
  readonly epoch: number;
  readonly loss: number;
  readonly learningRate: number;
}

export interface EpochMetrics {
  /** From 1. */
  readonly epoch: number;
  readonly step: number;
  readonly trainingLoss: number;
  readonly validationLoss: number;
  readonly validationAccuracy: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
  readonly firingRates: Readonly<Record<string, number>>;
}

/** Where a run stands; kept in the checkpoint. */
interface Progress {
  readonly epoch: number;
  readonly batch: number;
  readonly step: number;
  /** Loss and gradient norm of the current epoch so far, summed over its batches. */
  readonly lossSum: number;
  readonly normSum: number;
  readonly best?: { readonly epoch: number; readonly accuracy: number; readonly loss: number };
}

export interface TrainingResult {
  readonly steps: number;
  /** The epoch that was selected on validation, from 1. */
  readonly bestEpoch: number;
  readonly bestValidationAccuracy: number;
  readonly bestPath: string;
  readonly lastPath: string;
}

export const checkpointNames = { last: 'last.safetensors', best: 'best.safetensors' } as const;
const metricsName = 'metrics.jsonl';

/** A mean loss of so many times that of equal probabilities for all classes is divergence, not a bad start. */
const divergedLossRatio = 5;

const start: Progress = { epoch: 0, batch: 0, step: 0, lossSum: 0, normSum: 0 };

/**
 * Trains a model until `config.epochs`, or resumes the run found in `folder`: an interrupted and resumed
 * run ends with the same weights as an undisturbed one. The epoch with the best validation accuracy (the
 * lower loss at equal accuracy) is kept apart.
 *
 * @throws SaccadeError of kind `diverged` with a diagnosis where loss or gradient stop being finite, or an
 *   epoch's mean loss is far above that of guessing;
 *   `interrupted` after a checkpoint where the signal aborts.
 */
export async function train(options: TrainingOptions): Promise<TrainingResult> {
  const { model, data, config, seed, folder } = options;
  const lastPath = join(folder, checkpointNames.last);
  const bestPath = join(folder, checkpointNames.best);
  await makeFolders(folder);
  let { state, progress } = existsSync(lastPath)
    ? await resume(lastPath)
    : {
        state: startTraining(flatten(model.initialise(new Initialiser(seed)))),
        progress: start,
      };
  await keepMetrics(join(folder, metricsName), progress.epoch);
  const totalSteps = config.epochs * data.batchesPerEpoch;
  const rateAt = (step: number): number =>
    learningRateAt(step, {
      base: config.learningRate,
      final: config.finalLearningRate,
      warmupSteps: Math.round(config.warmupEpochs * data.batchesPerEpoch),
      totalSteps,
    });
  const events = openEventFile(folder);
  const save = (path: string, withOptimiser: boolean): Promise<void> =>
    writeCheckpoint(path, {
      parameters: unflatten(state.leaves),
      ...(withOptimiser && { optimiser: state.optimiser }),
      metadata: { experiment: options.experiment, progress },
    });
  let savedMs = performance.now();
  const saveLast = async (): Promise<void> => {
    await save(lastPath, true);
    savedMs = performance.now();
  };
  const isSaveDue = ({ checkpointSteps: steps, checkpointSeconds: seconds }: TrainingConfig) =>
    (steps > 0 && progress.step % steps === 0) ||
    (seconds > 0 && performance.now() - savedMs >= 1000 * seconds);

  try {
    while (progress.epoch < config.epochs) {
      const { epoch } = progress;
      for await (const batch of data.train(epoch, progress.batch)) {
        const learningRate = rateAt(progress.step);
        const result = runStep(options, state, progress.step, totalSteps, batch, learningRate);
        if (result.notFinite !== undefined) {
          await save(join(folder, 'diverged.safetensors'), true);
          const where =
            result.notFinite === 'loss' ? 'the loss' : `the gradient of ${result.notFinite}`;
          throw diverged(
            `loss ${result.loss}, first non-finite value in ${where}; the weights before this step are in ` +
              'diverged.safetensors',
            progress,
            learningRate,
            folder,
          );
        }
        state = result.state;
        progress = {
          ...progress,
          batch: progress.batch + 1,
          step: progress.step + 1,
          lossSum: progress.lossSum + result.loss,
          normSum: progress.normSum + result.gradientNorm,
        };
        events.scalars(
          { 'train/loss': result.loss, 'train/learningRate': learningRate },
          progress.step,
        );
        options.onStep?.({
          step: progress.step,
          totalSteps,
          epoch: epoch + 1,
          loss: result.loss,
          learningRate,
        });
        if (isSaveDue(config)) await saveLast();
        // Gives signal handlers and timers a turn between two steps.
        await new Promise((resolve) => setImmediate(resolve));
        if (options.signal?.aborted) {
          await saveLast();
          throw new SaccadeError(
            'interrupted',
            `stopped after step ${progress.step} of ${totalSteps}; the same command resumes it`,
            { file: lastPath },
          );
        }
      }
      const meanLoss = progress.lossSum / Math.max(1, progress.batch);
      const guessing = Math.log(model.classes);
      if (model.classes > 1 && meanLoss > divergedLossRatio * guessing) {
        throw diverged(
          `mean loss ${meanLoss.toFixed(2)} over the epoch, where guessing has ${guessing.toFixed(2)}`,
          progress,
          rateAt(progress.step - 1),
          folder,
        );
      }
      const evaluation = await evaluate(model, unflatten(state.leaves), data.validation());
      const metrics = epochMetrics(progress, evaluation, rateAt(progress.step - 1));
      const better =
        progress.best === undefined ||
        // Without validation clips there is nothing to select by: the last epoch it is.
        evaluation.labels.length === 0 ||
        evaluation.accuracy > progress.best.accuracy ||
        (evaluation.accuracy === progress.best.accuracy && evaluation.loss < progress.best.loss);
      progress = {
        ...start,
        epoch: epoch + 1,
        step: progress.step,
        best: better
          ? { epoch: epoch + 1, accuracy: evaluation.accuracy, loss: evaluation.loss }
          : progress.best,
      };
      // A run killed between these writes repeats the epoch: it selects again and takes the last line back.
      if (better) await save(bestPath, false);
      await appendFile(join(folder, metricsName), `${JSON.stringify(metrics)}\n`);
      await saveLast();
      events.scalars(
        {
          'validation/loss': metrics.validationLoss,
          'validation/accuracy': metrics.validationAccuracy,
          'train/gradientNorm': metrics.gradientNorm,
          ...Object.fromEntries(
            Object.entries(metrics.firingRates).map(([path, rate]) => [`firingRate/${path}`, rate]),
          ),
        },
        progress.step,
      );
      events.flush();
      for (const warning of firingRateWarnings(evaluation.firingRates)) {
        options.onWarning?.(`epoch ${epoch + 1}: ${warning}`);
      }
      options.onEpoch?.(metrics);
    }
  } finally {
    events.close();
    disposeTraining(state);
  }
  return {
    steps: progress.step,
    bestEpoch: progress.best?.epoch ?? 0,
    bestValidationAccuracy: progress.best?.accuracy ?? 0,
    bestPath,
    lastPath,
  };
}

/** Removes what a run left in its folder, so that the next one starts from the beginning. */
export async function clearRun(folder: string): Promise<void> {
  for (const name of [...Object.values(checkpointNames), metricsName]) {
    await rm(join(folder, name), { force: true });
  }
}

/** Takes back what a killed run has noted of epochs after its checkpoint: they come again. */
async function keepMetrics(path: string, epochs: number): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const kept = text.split('\n').slice(0, epochs);
  const wanted = kept.map((line) => `${line}\n`).join('');
  if (text.length > wanted.length) await writeFileAtomically(path, wanted);
}

function runStep(
  { model, config, seed }: TrainingOptions,
  state: TrainingState,
  step: number,
  totalSteps: number,
  batch: ClipBatch,
  learningRate: number,
): ReturnType<typeof trainingStep> {
  const { inputs, targets } = mixedBatch(batch, model.classes, config, () =>
    createRandom(seed, 'mixup', step),
  );
  const input = tf.tensor(inputs, [...batch.shape]);
  const target = tf.tensor(targets, [batch.shape[0], model.classes]);
  try {
    return trainingStep(model, state, input, target, {
      ...config,
      learningRate,
      progress: step / totalSteps,
    });
  } finally {
    tf.dispose([input, target]);
  }
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

async function resume(path: string): Promise<{ state: TrainingState; progress: Progress }> {
  const { parameters, optimiser, metadata } = await readCheckpoint(path);
  const progress = metadata.progress as Progress | undefined;
  if (optimiser === undefined || progress === undefined) {
    throw new SaccadeError('input', 'holds no optimiser state: it cannot be resumed from', {
      file: path,
    });
  }
  return { state: { leaves: flatten(parameters), optimiser, step: progress.step }, progress };
}

function epochMetrics(
  progress: Progress,
  evaluation: Evaluation,
  learningRate: number,
): EpochMetrics {
  return {
    epoch: progress.epoch + 1,
    step: progress.step,
    trainingLoss: progress.lossSum / Math.max(1, progress.batch),
    validationLoss: evaluation.loss,
    validationAccuracy: evaluation.accuracy,
    learningRate,
    gradientNorm: progress.normSum / Math.max(1, progress.batch),
    firingRates: evaluation.firingRates,
  };
}

function diverged(
  finding: string,
  progress: Progress,
  learningRate: number,
  folder: string,
): SaccadeError {
  return new SaccadeError(
    'diverged',
    `training diverged at step ${progress.step + 1} (epoch ${progress.epoch + 1}) at learning rate ` +
      `${learningRate.toExponential(2)}: ${finding}. ` +
      'Try a lower training.learningRate, a longer training.warmupEpochs or a smaller training.gradientClip',
    { file: folder },
  );
}
