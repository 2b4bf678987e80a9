import { z } from 'zod';

import { defineKind } from './kind.js';
import { learningInputs, runJobSchema, runResultShape } from './train.js';

export const pretrainKind = defineKind({
  name: 'pretrain',
  queue: 'train',
  summary:
    'pretrains a model without labels into a run folder, or goes on with the run found there',
  schema: runJobSchema,
  result: z.strictObject({
    ...runResultShape,
    /** Of the selected epoch. */
    validationLoss: z.number(),
    /** Where hidden events were learned. */
    explained: z.number().optional(),
    /** Where motions were. */
    accuracy: z.number().optional(),
  }),
  // Textures are made, not read.
  inputs: (data) =>
    data.experiment.pretraining.task === 'motions' ? Promise.resolve([]) : learningInputs(data),
  resource: ({ folder }) => folder,
  run: async (data, context) => {
    const { pretrainJob } = await import('../../pretrain.js');
    const { notes, ...outcome } = await pretrainJob(data, {
      ...context,
      onEpoch: ({ epoch, trainingLoss, validationLoss }) =>
        context.onMessage?.(
          `epoch ${epoch}: training loss ${trainingLoss.toFixed(3)}, ` +
            `validation loss ${validationLoss.toFixed(3)}`,
        ),
    });
    return { folder: data.folder, ...outcome, notes: notes.length };
  },
});
