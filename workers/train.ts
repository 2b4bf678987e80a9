import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { selectBackend } from '../engine/backend.js';
import { removeTemporaries } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { processLock } from '../engine/support/processLock.js';
import { createModel } from '../models/networks/index.js';
import { countParameters, disposeTree, Initialiser } from '../models/parameters.js';
import {
  clearRun,
  train,
  type EpochMetrics,
  type TrainingResult,
} from '../models/training/train.js';
import type { Experiment } from './experiment.js';
import type { JobContext } from './job.js';
import { type PreparedData, prepareData, trainingData } from './prepare.js';
import { inputShape, readDescription, writeDescription, type RunDescription } from './runs.js';

export interface TrainJob {
  readonly experiment: Experiment;
  /** Run folder. A run of the same experiment found there is resumed. */
  readonly folder: string;
  readonly cacheFolder: string;
  readonly backend?: string;
  /** Starts over whatever the folder holds. */
  readonly fresh?: boolean;
}

export interface TrainContext extends JobContext {
  readonly onEpoch?: (metrics: EpochMetrics) => void;
}

export interface TrainOutcome extends TrainingResult {
  readonly parameters: number;
  readonly clips: { readonly train: number; readonly validation: number };
  readonly notes: readonly string[];
}

/**
 * Prepares an experiment's data, trains its model, and leaves in the run folder: `experiment.json`,
 * `last.safetensors`, `best.safetensors` (selected on validation), `metrics.jsonl`, TensorBoard events.
 *
 * @throws SaccadeError of kind `config` where the folder holds a run of another experiment, of kind `environment`
 *   where another process trains into it; see also `prepareData` and `train`.
 */
export async function trainJob(job: TrainJob, context: TrainContext = {}): Promise<TrainOutcome> {
  const lock = await processLock(join(job.folder, '.lock'), 'this run folder');
  try {
    await removeTemporaries(job.folder, true);
    await selectBackend(job.backend);
    const prepared = await prepareData(job.experiment, job.cacheFolder, context);
    try {
      return await trainPrepared(job, prepared, context);
    } finally {
      await prepared.release();
    }
  } finally {
    await lock.release();
  }
}

async function trainPrepared(
  { experiment, folder, fresh = false }: TrainJob,
  prepared: PreparedData,
  context: TrainContext,
): Promise<TrainOutcome> {
  const { classes, synthetic, notes } = prepared;
  for (const sentence of notes) context.onMessage?.(sentence);
  const description: RunDescription = { experiment, classes, synthetic };
  if (fresh) await clearRun(folder);
  else await requireSameRun(folder, description);
  await writeDescription(folder, description);

  const model = createModel(experiment.model, inputShape(experiment), classes.length);
  const first = model.initialise(new Initialiser(experiment.seed));
  const parameters = countParameters(first);
  disposeTree(first);
  const data = trainingData(experiment, prepared);
  const result = await train({
    model,
    data,
    config: experiment.training,
    seed: experiment.seed,
    folder,
    experiment: description,
    signal: context.signal,
    onStep: ({ step, totalSteps, epoch, loss }) =>
      context.onProgress?.({
        phase: 'train',
        done: step,
        total: totalSteps,
        info: `epoch ${epoch}, loss ${loss.toFixed(3)}`,
      }),
    onEpoch: context.onEpoch,
    onWarning: context.onMessage,
  }).finally(() => data.close());
  const { train: trained, validation } = prepared.clips;
  return {
    ...result,
    parameters,
    clips: { train: trained.length, validation: validation.length },
    notes,
  };
}

/**
 * A folder's earlier run must be of this experiment; only the number of epochs may have changed, and how clips
 * are loaded and when checkpoints are written, which changes nothing of the result.
 */
async function requireSameRun(folder: string, wanted: RunDescription): Promise<void> {
  const found = await readDescription(folder);
  if (found === undefined) return;
  const comparable = ({ experiment, ...rest }: RunDescription): unknown =>
    JSON.parse(
      JSON.stringify({
        ...rest,
        experiment: {
          ...experiment,
          loader: undefined,
          training: {
            ...experiment.training,
            epochs: undefined,
            checkpointSteps: undefined,
            checkpointSeconds: undefined,
          },
        },
      }),
    );
  if (isDeepStrictEqual(comparable(found), comparable(wanted))) return;
  throw new SaccadeError(
    'config',
    'holds a run of another experiment; use another folder, or start over with --fresh',
    { file: folder },
  );
}
