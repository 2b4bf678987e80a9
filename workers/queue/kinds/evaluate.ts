import { z } from 'zod';

import { defineKind, pathSchema } from './kind.js';

export const evaluateKind = defineKind({
  name: 'evaluate',
  queue: 'evaluate',
  summary: 'evaluates a run on its held-out part',
  schema: z.strictObject({
    path: pathSchema,
    cacheFolder: pathSchema,
    part: z.enum(['validation', 'test']),
    backend: z.string().optional(),
    data: pathSchema.optional(),
  }),
  resource: ({ path }) => path,
  run: async (data, context) => {
    const { evaluateJob } = await import('../../evaluate.js');
    const { file, picture, part, looks, selected } = await evaluateJob(
      { ...data, lookId: context.jobId },
      context,
    );
    const { correct, total, value, interval95 } = selected.accuracy;
    const interval = interval95 === null ? null : { ...interval95 };
    return { file, picture, part, looks, correct, total, accuracy: value, interval95: interval };
  },
});
