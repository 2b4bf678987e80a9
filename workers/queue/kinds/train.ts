import { z } from 'zod';

import { experimentSchema } from '../../experiment.js';
import type { JobInput } from '../inputs.js';
import { countSchema, defineKind, pathSchema, shareSchema } from './kind.js';

/** What jobs that learn into a run folder are told. */
export const runJobSchema = z.strictObject({
  experiment: experimentSchema,
  folder: pathSchema,
  cacheFolder: pathSchema,
  backend: z.string().optional(),
});

/** The data set, and the runs that a new one starts from; its configuration is in the job's data itself. */
export async function learningInputs({
  experiment,
}: z.infer<typeof runJobSchema>): Promise<readonly JobInput[]> {
  const { datasetInputs, runInputs } = await import('../inputs.js');
  const { initialise, distil } = experiment.training;
  const runs = [initialise, distil?.teacher].filter((path) => path !== undefined);
  const starts = await Promise.all(runs.map((path) => runInputs(path, false)));
  return [...(await datasetInputs(experiment)), ...starts.flat()];
}

/** What they return. */
export const runResultShape = {
  folder: pathSchema,
  steps: countSchema,
  /** The epoch that was selected on validation, from 1; 0 where there was none. */
  bestEpoch: countSchema,
  bestPath: pathSchema,
  lastPath: pathSchema,
  parameters: countSchema,
  clips: z.strictObject({ train: countSchema, validation: countSchema }),
  /** How many sentences about the data there were. */
  notes: countSchema,
};

export const trainKind = defineKind({
  name: 'train',
  queue: 'train',
  summary: 'trains a model into a run folder, or goes on with the run found there',
  schema: runJobSchema,
  result: z.strictObject({
    ...runResultShape,
    bestValidationAccuracy: shareSchema,
    /** Weights that came from another run, where it started from one now. */
    taken: countSchema.optional(),
  }),
  inputs: learningInputs,
  resource: ({ folder }) => folder,
  run: async (data, context) => {
    const { trainJob } = await import('../../train.js');
    const { notes, initialised, ...outcome } = await trainJob(data, {
      ...context,
      onEpoch: ({ epoch, trainingLoss, validationAccuracy }) =>
        context.onMessage?.(
          `epoch ${epoch}: training loss ${trainingLoss.toFixed(3)}, ` +
            `validation accuracy ${(100 * validationAccuracy).toFixed(1)} %`,
        ),
    });
    const taken = initialised?.taken.length;
    return {
      folder: data.folder,
      ...outcome,
      notes: notes.length,
      ...(taken !== undefined && { taken }),
    };
  },
});
