import { z } from 'zod';

import { countSchema, defineKind, pathSchema, sensorSchema } from './kind.js';

export const convertKind = defineKind({
  name: 'convert',
  queue: 'ingest',
  summary: 'writes a recording in another format',
  schema: z.strictObject({
    from: pathSchema,
    to: pathSchema,
    fromUs: z.number().optional(),
    toUs: z.number().optional(),
    filters: z.array(z.string()).max(100).optional(),
    format: z.string().optional(),
    inFormat: z.string().optional(),
    sensor: sensorSchema.optional(),
  }),
  result: z.strictObject({
    from: pathSchema,
    to: pathSchema,
    events: z.strictObject({ read: countSchema, written: countSchema }),
    bytes: countSchema,
    backwardSteps: countSchema,
    damageCount: countSchema,
  }),
  inputs: ({ from }) => [from],
  resource: ({ to }) => to,
  run: async (data, context) => {
    const { convertJob } = await import('../../convert.js');
    return { ...(await convertJob(data, context)) };
  },
});
