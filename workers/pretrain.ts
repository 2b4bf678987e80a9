import { SaccadeError } from '../engine/support/errors.js';
import { createModel } from '../models/networks/index.js';
import { countParameters, disposeTree, Initialiser } from '../models/parameters.js';
import {
  pretrain,
  type PretrainingMetrics,
  type PretrainingResult,
  requireEncoder,
} from '../models/training/pretrain.js';
import {
  type MotionMetrics,
  motionLayerOf,
  pretrainMotions,
  validationTextures,
} from '../models/training/pretrainMotions.js';
import type { JobContext } from './job.js';
import { prepareData, trainingData } from './prepare.js';
import { inRunFolder, type RunJob, stepProgress } from './runFolder.js';
import { inputShape, type RunDescription } from './runs.js';

export type PretrainJob = RunJob;

export interface PretrainContext extends JobContext {
  readonly onEpoch?: (metrics: PretrainingMetrics | MotionMetrics) => void;
}

export interface PretrainOutcome extends Omit<PretrainingResult, 'best'> {
  /** Of the selected epoch. */
  readonly validationLoss: number;
  /** Share of the variance of hidden events; where those were learned. */
  readonly explained?: number;
  /** Share of events whose motion is told; where motions were learned. */
  readonly accuracy?: number;
  /** Of the network without its head, or of its layer of motions. */
  readonly parameters: number;
  /** Of the data set; textures of motions. */
  readonly clips: { readonly train: number; readonly validation: number };
  readonly notes: readonly string[];
}

/**
 * Trains an experiment's network without labels, as `pretraining.task` says: on its data, to tell the events of hidden tokens; or its
 * layer of motions, on synthetic textures alone. Training starts from what it leaves in the run folder by
 * `training.initialise`; the files are those of `trainJob`.
 *
 * @throws SaccadeError as `trainJob` does; of kind `config` where the network makes no tokens, or has no layer of motions; of kind
 *   `usage` where several processes are to learn motions.
 */
export function pretrainJob(
  job: PretrainJob,
  context: PretrainContext = {},
): Promise<PretrainOutcome> {
  const jobs = { hiddenEvents: hiddenEventsJob, motions: motionsJob };
  return jobs[job.experiment.pretraining.task](job, context);
}

/** What either task is run with. */
function loopOptions(
  { experiment, folder }: PretrainJob,
  description: RunDescription,
  context: PretrainContext,
) {
  return {
    config: experiment.pretraining,
    seed: experiment.seed,
    folder,
    experiment: description,
    signal: context.signal,
    onStep: stepProgress('pretrain', context),
    onEpoch: context.onEpoch,
    onWarning: context.onMessage,
  };
}

async function motionsJob(job: PretrainJob, context: PretrainContext): Promise<PretrainOutcome> {
  const { experiment } = job;
  if (job.process !== undefined && job.process.world > 1) {
    throw new SaccadeError('usage', 'motions are learned by one process', { field: '--processes' });
  }
  // Any number of classes: the head has no part in this.
  const model = createModel(experiment.model, inputShape(experiment), 1);
  const textures = { classes: [], synthetic: true, notes: [], release: () => Promise.resolve() };
  const prepare = (): Promise<typeof textures> => Promise.resolve(textures);
  return inRunFolder(job, 'pretraining', context, prepare, async (_, description) => {
    const { motions, polarities, size, maxDelay } = motionLayerOf(model);
    const { best, ...result } = await pretrainMotions({
      ...loopOptions(job, description, context),
      model,
    });
    return {
      ...result,
      validationLoss: best?.loss ?? 0,
      accuracy: best?.accuracy ?? 0,
      parameters: motions * (1 + polarities * size ** 2 * (maxDelay + 1)),
      clips: {
        train: experiment.pretraining.texturesPerEpoch,
        validation: validationTextures(motions),
      },
      notes: [],
    };
  });
}

async function hiddenEventsJob(
  job: PretrainJob,
  context: PretrainContext,
): Promise<PretrainOutcome> {
  const { experiment } = job;
  const { pretraining, seed } = experiment;
  // Any number of classes: the head has no part in this.
  requireEncoder(createModel(experiment.model, inputShape(experiment), 1));
  return inRunFolder(
    job,
    'pretraining',
    context,
    prepareData,
    async (prepared, description, transport) => {
      const { classes, clips, notes } = prepared;
      const model = createModel(experiment.model, inputShape(experiment), classes.length);
      const { head, ...body } = model.initialise(new Initialiser(seed));
      const parameters = countParameters(body);
      disposeTree({ head, ...body });
      const { batchSize } = pretraining;
      const data = trainingData(
        { ...experiment, training: { ...experiment.training, batchSize } },
        prepared,
        job.process,
      );
      const { best, ...result } = await pretrain({
        ...loopOptions(job, description, context),
        model,
        data,
        transport,
      }).finally(() => data.close());
      return {
        ...result,
        validationLoss: best?.loss ?? 0,
        explained: best?.explained ?? 0,
        parameters,
        clips: { train: clips.train.length, validation: clips.validation.length },
        notes,
      };
    },
  );
}
