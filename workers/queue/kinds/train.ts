import { z } from 'zod';

import { experimentSchema } from '../../experiment.js';
import { defineKind, pathSchema } from './kind.js';

export const trainKind = defineKind({
  name: 'train',
  queue: 'train',
  summary: 'trains a model into a run folder, or goes on with the run found there',
  schema: z.strictObject({
    experiment: experimentSchema,
    folder: pathSchema,
    cacheFolder: pathSchema,
    backend: z.string().optional(),
  }),
  resource: ({ folder }) => folder,
  run: async (data, context) => {
    const { trainJob } = await import('../../train.js');
    const { notes, ...outcome } = await trainJob(data, {
      ...context,
      onEpoch: ({ epoch, trainingLoss, validationAccuracy }) =>
        context.onMessage?.(
          `epoch ${epoch}: training loss ${trainingLoss.toFixed(3)}, ` +
            `validation accuracy ${(100 * validationAccuracy).toFixed(1)} %`,
        ),
    });
    return { folder: data.folder, ...outcome, notes: notes.length };
  },
});
