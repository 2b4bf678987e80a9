import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../engine/support/errors.js';
import type { Transport } from '../engine/transport/transport.js';
import type { Model } from '../models/model.js';
import { createModel } from '../models/networks/index.js';
import { countParameters, disposeTree, Initialiser } from '../models/parameters.js';
import type { DistillationSettings } from '../models/training/config.js';
import { initialLeaves } from '../models/training/initialise.js';
import { linearise } from '../models/training/linearise.js';
import { checkpointNames, type TrainingData } from '../models/training/loop.js';
import { train, type EpochMetrics, type TrainingResult } from '../models/training/train.js';
import type { Experiment } from './experiment.js';
import type { JobContext } from './job.js';
import { prepareData, type PreparedData, trainingData } from './prepare.js';
import { inRunFolder, type RunJob, stepProgress } from './runFolder.js';
import { findCheckpoint, inputShape, loadLeaves, loadModel, type RunDescription } from './runs.js';

export type TrainJob = RunJob;

export interface TrainContext extends JobContext {
  readonly onEpoch?: (metrics: EpochMetrics) => void;
}

/** What a run took from the one that it started from. */
export interface Initialisation {
  /** Checkpoint. */
  readonly from: string;
  /** Paths of the weights that were taken. */
  readonly taken: readonly string[];
  /** Those that are fresh: the other has none of that path, or one of another shape. */
  readonly fresh: readonly string[];
  /** Those of the other run that have no place here. */
  readonly unused: readonly string[];
}

export interface TrainOutcome extends TrainingResult {
  readonly parameters: number;
  readonly clips: { readonly train: number; readonly validation: number };
  readonly notes: readonly string[];
  /** Where the run started from another one's weights, and did so now: a resumed one has its own. */
  readonly initialised?: Initialisation;
}

/**
 * Prepares an experiment's data, trains its model, and leaves in the run folder: `experiment.json`,
 * `last.safetensors`, `best.safetensors` (selected on validation), `metrics.jsonl`, TensorBoard events.
 *
 * @throws SaccadeError of kind `config` where the folder holds a run of another experiment, of kind `environment`
 *   where another process trains into it; see also `prepareData` and `train`.
 */
export async function trainJob(job: TrainJob, context: TrainContext = {}): Promise<TrainOutcome> {
  const { initialise, distil } = job.experiment.training;
  const isResumed = job.fresh !== true && existsSync(join(job.folder, checkpointNames.last));
  // Missed at once, not when hours of preparation are over.
  for (const from of [initialise, distil?.teacher]) {
    if (from !== undefined && !isResumed) await findCheckpoint(from);
  }
  return inRunFolder(job, 'training', context, prepareData, (prepared, description, transport) =>
    trainPrepared(job, prepared, description, transport, context),
  );
}

async function trainPrepared(
  job: TrainJob,
  prepared: PreparedData,
  description: RunDescription,
  transport: Transport | undefined,
  context: TrainContext,
): Promise<TrainOutcome> {
  const { experiment, folder } = job;
  const { classes, clips, notes } = prepared;
  const model = createModel(experiment.model, inputShape(experiment), classes.length);
  const first = model.initialise(new Initialiser(experiment.seed));
  const parameters = countParameters(first);
  disposeTree(first);
  const { initialise, distil } = experiment.training;
  const from = initialise ?? distil?.teacher;
  let initialised: Initialisation | undefined;
  const data = trainingData(experiment, prepared, job.process);
  const result = await train({
    model,
    data,
    config: experiment.training,
    seed: experiment.seed,
    folder,
    experiment: description,
    transport,
    signal: context.signal,
    ...(from !== undefined && {
      async initialise(fresh) {
        const { leaves, ...what } = await startFrom(from, fresh);
        initialised = what;
        for (const sentence of describeInitialisation(what)) context.onMessage?.(sentence);
        if (distil !== undefined)
          await distilInto(leaves, model, distil, experiment, data, context);
        return leaves;
      },
    }),
    onStep: stepProgress('train', context),
    onEpoch: context.onEpoch,
    onWarning: context.onMessage,
  }).finally(() => data.close());
  return {
    ...result,
    parameters,
    clips: { train: clips.train.length, validation: clips.validation.length },
    notes,
    initialised,
  };
}

/** Puts what the network's mixers learn from those of a trained one in place of their first weights. */
async function distilInto(
  leaves: Map<string, tf.Tensor>,
  model: Model,
  { teacher: from, steps, target, learningRate }: DistillationSettings,
  { training: { weightDecay, gradientClip, statisticsMomentum } }: Experiment,
  data: TrainingData,
  { signal, onProgress, onMessage }: TrainContext,
): Promise<void> {
  const teacher = await loadModel(from);
  try {
    if (!isDeepStrictEqual(teacher.model.input, model.input)) {
      throw new SaccadeError('config', 'reads frames of another shape than this model', {
        file: teacher.path,
        field: 'training.distil.teacher',
      });
    }
    const losses: number[] = [];
    const learned = await linearise({
      teacher,
      student: { model, leaves },
      data,
      steps,
      config: { target, learningRate, weightDecay, gradientClip, statisticsMomentum },
      signal,
      onStep({ step, loss }) {
        losses.push(loss);
        const info = `loss ${loss.toFixed(3)}`;
        onProgress?.({ phase: 'distil', done: step, total: steps, info });
      },
    });
    for (const [path, value] of learned) {
      leaves.get(path)?.dispose();
      leaves.set(path, value);
    }
    const [first, last] = [losses[0], losses[losses.length - 1]].map((loss) => loss.toFixed(4));
    onMessage?.(
      `distilled ${learned.size} weights from ${teacher.path}: loss ${first} at first, then ${last}`,
    );
  } finally {
    disposeTree(teacher.parameters);
  }
}

/** Fresh weights with those of another run in their place, where they fit. */
async function startFrom(
  from: string,
  fresh: Map<string, tf.Tensor>,
): Promise<Initialisation & { readonly leaves: Map<string, tf.Tensor> }> {
  const { path, leaves: other } = await loadLeaves(from);
  const { leaves, taken, fresh: kept, unused } = initialLeaves(fresh, other);
  const used = new Set(leaves.values());
  tf.dispose([...fresh.values(), ...other.values()].filter((tensor) => !used.has(tensor)));
  if (taken.length === 0) {
    tf.dispose([...used]);
    throw new SaccadeError('config', 'has no weight whose path and shape are those of this model', {
      file: path,
      field: 'training.initialise',
    });
  }
  const names = kept.map(({ path: name, found }) =>
    found === undefined ? name : `${name} (there [${found.join(', ')}])`,
  );
  return { leaves, from: path, taken, fresh: names, unused };
}

function describeInitialisation({ from, taken, fresh, unused }: Initialisation): string[] {
  const list = (what: string, names: readonly string[]): string[] =>
    names.length === 0 ? [] : [`${what}: ${names.join(', ')}`];
  return [
    `starts from ${taken.length} of ${taken.length + fresh.length} weights of ${from}`,
    ...list('taken', taken),
    ...list('fresh', fresh),
    ...list('not used of it', unused),
  ];
}
