import { z } from 'zod';

import { countSchema, defineKind, pathSchema, sensorSchema, shareSchema } from './kind.js';

export const inferKind = defineKind({
  name: 'infer',
  queue: 'infer',
  summary: 'recognises what a recording shows',
  schema: z.strictObject({
    checkpoint: pathSchema,
    file: pathSchema,
    /** JSON file of the predictions by window. */
    out: pathSchema,
    format: z.string().optional(),
    sensor: sensorSchema.optional(),
    backend: z.string().optional(),
  }),
  result: z.strictObject({
    file: pathSchema,
    /** Null where the recording has no window. */
    prediction: z.string().nullable(),
    probabilities: z.array(shareSchema).nullable(),
    windows: countSchema,
  }),
  inputs: async ({ checkpoint, file }) => [
    ...(await (await import('../inputs.js')).runInputs(checkpoint, false)),
    file,
  ],
  resource: ({ out }) => out,
  run: async (data, context) => {
    const { inferJob } = await import('../../infer.js');
    const { prediction, probabilities, windows } = await inferJob(data, context);
    return {
      file: data.out,
      prediction,
      probabilities: probabilities && [...probabilities],
      windows: windows.length,
    };
  },
});
