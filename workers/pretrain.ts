import { createModel } from '../models/networks/index.js';
import { countParameters, disposeTree, Initialiser } from '../models/parameters.js';
import {
  pretrain,
  type PretrainingMetrics,
  type PretrainingResult,
  requireEncoder,
} from '../models/training/pretrain.js';
import type { JobContext } from './job.js';
import { trainingData } from './prepare.js';
import { inRunFolder, type RunJob, stepProgress } from './runFolder.js';
import { inputShape } from './runs.js';

export type PretrainJob = RunJob;

export interface PretrainContext extends JobContext {
  readonly onEpoch?: (metrics: PretrainingMetrics) => void;
}

export interface PretrainOutcome extends Omit<PretrainingResult, 'best'> {
  /** Of the selected epoch. */
  readonly validationLoss: number;
  readonly explained: number;
  /** Of the network without its head. */
  readonly parameters: number;
  readonly clips: { readonly train: number; readonly validation: number };
  readonly notes: readonly string[];
}

/**
 * Prepares an experiment's data and trains its network, without labels, to tell the events of hidden tokens. Training starts
 * from what it leaves in the run folder by `training.initialise`; the files are those of `trainJob`.
 *
 * @throws SaccadeError as `trainJob` does; of kind `config` where the network makes no tokens.
 */
export async function pretrainJob(
  job: PretrainJob,
  context: PretrainContext = {},
): Promise<PretrainOutcome> {
  const { experiment, folder } = job;
  const { pretraining, seed } = experiment;
  // Any number of classes: the head has no part in this.
  requireEncoder(createModel(experiment.model, inputShape(experiment), 1));
  return inRunFolder(job, 'pretraining', context, async (prepared, description, transport) => {
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
      model,
      data,
      config: pretraining,
      seed,
      folder,
      experiment: description,
      transport,
      signal: context.signal,
      onStep: stepProgress('pretrain', context),
      onEpoch: context.onEpoch,
      onWarning: context.onMessage,
    }).finally(() => data.close());
    return {
      ...result,
      validationLoss: best?.loss ?? 0,
      explained: best?.explained ?? 0,
      parameters,
      clips: { train: clips.train.length, validation: clips.validation.length },
      notes,
    };
  });
}
