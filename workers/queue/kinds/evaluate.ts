import { z } from 'zod';

import { countSchema, defineKind, pathSchema, shareSchema } from './kind.js';

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
  result: z.strictObject({
    file: pathSchema,
    picture: pathSchema,
    part: z.enum(['validation', 'test']),
    looks: countSchema,
    correct: countSchema,
    total: countSchema,
    /** Null where there is no sample, as its interval is. */
    accuracy: shareSchema.nullable(),
    interval95: z.tuple([shareSchema, shareSchema]).nullable(),
  }),
  inputs: async ({ path, data }) => (await import('../inputs.js')).runInputs(path, data),
  resource: ({ path }) => path,
  run: async (data, context) => {
    const { evaluateJob } = await import('../../evaluate.js');
    const { file, picture, looks, selected } = await evaluateJob(
      { ...data, lookId: context.jobId },
      context,
    );
    const { correct, total, value, interval95 } = selected.accuracy;
    return {
      file,
      picture,
      part: data.part,
      looks,
      correct,
      total,
      accuracy: value,
      interval95: interval95 && [...interval95],
    };
  },
});
