import { appendFile, readFile, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import type * as tf from '@tensorflow/tfjs-core';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { makeFolders } from '../../engine/support/folders.js';
import type { Transport } from '../../engine/transport/transport.js';
import type { ClipBatch } from '../../preprocess/loader.js';
import { readCheckpoint, writeCheckpoint } from '../checkpoints/checkpoint.js';
import { firingRateWarnings } from '../evaluation/evaluate.js';
import { flatten, unflatten } from '../parameters.js';
import type { LoopConfig } from './config.js';
import { learningRateAt } from './schedule.js';
import { disposeTraining, startTraining, type StepResult, type TrainingState } from './step.js';
import { openEventFile } from './tensorboard.js';

/**
 * Where the clips come from. Batches depend on their arguments alone, so that runs can be resumed. Each is done
 * with when the next but one is asked for.
 */
export interface TrainingData {
  readonly batchesPerEpoch: number;
  /** Shuffled and augmented training batches of an epoch, from batch `start` on. */
  train(epoch: number, start: number): Iterable<ClipBatch> | AsyncIterable<ClipBatch>;
  validation(): Iterable<ClipBatch> | AsyncIterable<ClipBatch>;
}

/** How good the weights are on validation clips. */
export type Score = Readonly<Record<string, number>> & { readonly loss: number };

/** What an epoch's weights do on the validation clips. */
export interface Judgement<S extends Score> {
  readonly clips: number;
  readonly score: S;
  /** Mean spikes per neuron and step, by layer. */
  readonly firingRates: Readonly<Record<string, number>>;
}

/** What a run learns: in what one kind of training differs from another. */
export interface LearningTask<S extends Score> {
  /** First values of all leaves; the loop owns them. Not asked for where a run is resumed. */
  initialise(): Promise<Map<string, tf.Tensor>>;
  /**
   * @param step those done before, over the whole run.
   * @param next the batch of the step after this one, if there is one in this epoch.
   */
  step(
    state: TrainingState,
    batch: ClipBatch,
    step: number,
    learningRate: number,
    next?: ClipBatch,
  ): StepResult;
  judge(leaves: ReadonlyMap<string, tf.Tensor>): Promise<Judgement<S>>;
  isBetter(score: S, best: S): boolean;
  /** The loss of guessing, where it is known: a mean far above it is divergence. */
  readonly guessing?: number;
}

export interface LoopOptions<S extends Score> {
  readonly task: LearningTask<S>;
  readonly data: TrainingData;
  readonly config: LoopConfig;
  /** Run folder: checkpoints, metrics, TensorBoard events. A run found there is resumed. */
  readonly folder: string;
  /** Written into every checkpoint, so that a checkpoint can be used alone. */
  readonly experiment: unknown;
  /**
   * Of several processes that train together, each on its part of every batch. The first one resumes, judges and writes;
   * the others follow it, and leave the run folder alone.
   */
  readonly transport?: Transport;
  readonly signal?: AbortSignal;
  readonly onStep?: (progress: StepProgress) => void;
  readonly onEpoch?: (metrics: LoopMetrics<S>) => void;
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

/** A line of `metrics.jsonl`. The parts of the score have names such as `validationLoss`. */
export type LoopMetrics<S extends Score> = {
  /** From 1. */
  readonly epoch: number;
  readonly step: number;
  readonly trainingLoss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
  readonly firingRates: Readonly<Record<string, number>>;
} & { readonly [name in keyof S as `validation${Capitalize<name & string>}`]: S[name] };

/** Where a run stands; kept in the checkpoint. */
interface Progress<S extends Score> {
  readonly epoch: number;
  readonly batch: number;
  readonly step: number;
  /** Loss and gradient norm of the current epoch so far, summed over its batches. */
  readonly lossSum: number;
  readonly normSum: number;
  readonly best?: { readonly epoch: number } & S;
}

export interface LoopResult<S extends Score> {
  readonly steps: number;
  /** The epoch that was selected on validation, from 1. */
  readonly bestEpoch: number;
  /** What it did there. */
  readonly best: S | undefined;
  readonly bestPath: string;
  readonly lastPath: string;
}

export const checkpointNames = { last: 'last.safetensors', best: 'best.safetensors' } as const;
const metricsName = 'metrics.jsonl';

/** A mean loss of so many times that of guessing is divergence, not a bad start. */
const divergedLossRatio = 5;

const start = { epoch: 0, batch: 0, step: 0, lossSum: 0, normSum: 0 };

/**
 * Runs a task through `config.epochs` epochs, or resumes the run found in `folder`: an interrupted and resumed
 * run ends with the same weights as an undisturbed one. The epoch with the best score is kept apart.
 *
 * @throws SaccadeError of kind `diverged` with a diagnosis where loss or gradient stop being finite, or an
 *   epoch's mean loss is far above that of guessing;
 *   `interrupted` after a checkpoint where the signal aborts.
 */
export async function runEpochs<S extends Score>(options: LoopOptions<S>): Promise<LoopResult<S>> {
  const { task, data, config, folder, transport } = options;
  const isFirst = transport === undefined || transport.rank === 0;
  const lastPath = join(folder, checkpointNames.last);
  const bestPath = join(folder, checkpointNames.best);
  if (isFirst) await makeFolders(folder);
  let { state, progress } =
    isFirst && existsSync(lastPath)
      ? await resume<S>(lastPath)
      : {
          state: startTraining(await task.initialise()),
          progress: start as Progress<S>,
        };
  if (transport !== undefined) ({ state, progress } = shareState(transport, state, progress));
  if (isFirst) await keepMetrics(join(folder, metricsName), progress.epoch);
  const totalSteps = config.epochs * data.batchesPerEpoch;
  const rateAt = (step: number): number =>
    learningRateAt(step, {
      base: config.learningRate,
      final: config.finalLearningRate,
      warmupSteps: Math.round(config.warmupEpochs * data.batchesPerEpoch),
      totalSteps,
    });
  const events = isFirst ? openEventFile(folder) : undefined;
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
  const isSaveDue = ({ checkpointSteps: steps, checkpointSeconds: seconds }: LoopConfig): boolean =>
    (steps > 0 && progress.step % steps === 0) ||
    (seconds > 0 && performance.now() - savedMs >= 1000 * seconds);

  try {
    while (progress.epoch < config.epochs) {
      const { epoch } = progress;
      for await (const [batch, next] of withNext(data.train(epoch, progress.batch))) {
        const learningRate = rateAt(progress.step);
        const result = task.step(state, batch, progress.step, learningRate, next);
        if (result.notFinite !== undefined) {
          if (isFirst) await save(join(folder, 'diverged.safetensors'), true);
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
        events?.scalars(
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
        if (isFirst && isSaveDue(config)) await saveLast();
        // Gives signal handlers and timers a turn between two steps.
        await new Promise((resolve) => setImmediate(resolve));
        const isAborted = options.signal?.aborted === true;
        // All stop after the same step.
        if (transport?.any(isAborted) ?? isAborted) {
          if (isFirst) await saveLast();
          throw new SaccadeError(
            'interrupted',
            `stopped after step ${progress.step} of ${totalSteps}; the same command resumes it`,
            { file: lastPath },
          );
        }
      }
      const meanLoss = progress.lossSum / Math.max(1, progress.batch);
      const { guessing } = task;
      if (guessing !== undefined && meanLoss > divergedLossRatio * guessing) {
        throw diverged(
          `mean loss ${meanLoss.toFixed(2)} over the epoch, where guessing has ${guessing.toFixed(2)}`,
          progress,
          rateAt(progress.step - 1),
          folder,
        );
      }
      if (!isFirst) {
        progress = { ...start, epoch: epoch + 1, step: progress.step };
        continue;
      }
      const { clips, score, firingRates } = await task.judge(state.leaves);
      const validation = Object.entries(score);
      const metrics = {
        epoch: epoch + 1,
        step: progress.step,
        trainingLoss: meanLoss,
        ...Object.fromEntries(validation.map(([name, value]) => [metricName(name), value])),
        learningRate: rateAt(progress.step - 1),
        gradientNorm: progress.normSum / Math.max(1, progress.batch),
        firingRates,
      } as LoopMetrics<S>;
      const better =
        progress.best === undefined ||
        // Without validation clips there is nothing to select by: the last epoch it is.
        clips === 0 ||
        task.isBetter(score, progress.best);
      progress = {
        ...start,
        epoch: epoch + 1,
        step: progress.step,
        best: better ? { epoch: epoch + 1, ...score } : progress.best,
      };
      // A run killed between these writes repeats the epoch: it selects again and takes the last line back.
      if (better) await save(bestPath, false);
      await appendFile(join(folder, metricsName), `${JSON.stringify(metrics)}\n`);
      await saveLast();
      events?.scalars(
        {
          ...Object.fromEntries(validation.map(([name, value]) => [`validation/${name}`, value])),
          'train/gradientNorm': metrics.gradientNorm,
          ...Object.fromEntries(
            Object.entries(firingRates).map(([path, rate]) => [`firingRate/${path}`, rate]),
          ),
        },
        progress.step,
      );
      events?.flush();
      for (const warning of firingRateWarnings(firingRates)) {
        options.onWarning?.(`epoch ${epoch + 1}: ${warning}`);
      }
      options.onEpoch?.(metrics);
    }
  } finally {
    events?.close();
    disposeTraining(state);
  }
  const { best, step: steps } = progress;
  return { steps, bestEpoch: best?.epoch ?? 0, best, bestPath, lastPath };
}

function metricName(part: string): string {
  return `validation${part[0].toUpperCase()}${part.slice(1)}`;
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

async function resume<S extends Score>(
  path: string,
): Promise<{ state: TrainingState; progress: Progress<S> }> {
  const { parameters, optimiser, metadata } = await readCheckpoint(path);
  const progress = metadata.progress as Progress<S> | undefined;
  if (optimiser === undefined || progress === undefined) {
    throw new SaccadeError('input', 'holds no optimiser state: it cannot be resumed from', {
      file: path,
    });
  }
  return { state: { leaves: flatten(parameters), optimiser, step: progress.step }, progress };
}

/** The first process's state in place of everybody's. */
function shareState<S extends Score>(
  transport: Transport,
  state: TrainingState,
  progress: Progress<S>,
): { state: TrainingState; progress: Progress<S> } {
  const shared = JSON.parse(transport.shareText(JSON.stringify(progress))) as Progress<S>;
  const maps = [state.leaves, state.optimiser.m, state.optimiser.v];
  // In one order everywhere, wherever the maps come from.
  const paths = maps.map((map) => [...map.keys()].sort());
  const tensors = transport.broadcast(
    maps.flatMap((map, i) => paths[i].map((path) => map.get(path)!)),
  );
  const [leaves, m, v] = paths.map((each) => new Map(each.map((path) => [path, tensors.shift()!])));
  disposeTraining(state);
  return { state: { leaves, optimiser: { m, v }, step: shared.step }, progress: shared };
}

function diverged(
  finding: string,
  progress: Pick<Progress<Score>, 'step' | 'epoch'>,
  learningRate: number,
  folder: string,
): SaccadeError {
  return new SaccadeError(
    'diverged',
    `training diverged at step ${progress.step + 1} (epoch ${progress.epoch + 1}) at learning rate ` +
      `${learningRate.toExponential(2)}: ${finding}. ` +
      'Try a lower learningRate, a longer warmupEpochs or a smaller gradientClip',
    { file: folder },
  );
}

/** Each item with the one after it. */
async function* withNext<T>(
  items: Iterable<T> | AsyncIterable<T>,
): AsyncGenerator<[T, T | undefined]> {
  let held: [T] | undefined;
  for await (const item of items) {
    if (held !== undefined) yield [held[0], item];
    held = [item];
  }
  if (held !== undefined) yield [held[0], undefined];
}
