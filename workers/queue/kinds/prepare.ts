import { z } from 'zod';

import { windowSchema } from '../../../preprocess/pipeline/index.js';
import { countSchema, defineKind, pathSchema, sensorSchema } from './kind.js';

/** The windows of one recording (or a labelled range of it), into the cache. */
export const prepareKind = defineKind({
  name: 'prepare',
  queue: 'ingest',
  summary: "brings a recording's windows into the cache",
  schema: z.strictObject({
    path: pathSchema,
    sensor: sensorSchema.optional(),
    range: z
      .union([
        z.strictObject({ fromUs: z.number(), toUs: z.number() }),
        z.strictObject({ fromEvent: z.number(), toEvent: z.number() }),
      ])
      .optional(),
    part: z.tuple([z.number(), z.number()]).optional(),
    filters: z.array(z.string()).max(100),
    window: windowSchema,
    cacheFolder: pathSchema,
  }),
  result: z.strictObject({
    path: pathSchema,
    windows: countSchema,
    damageCount: countSchema.optional(),
    /** Why it could not be read. */
    passedOver: z.string().optional(),
  }),
  inputs: ({ path }) => [path],
  run: async ({ path, sensor, range, part, filters, window, cacheFolder }, { signal }) => {
    const { cachedWindows } = await import('../../../preprocess/cache/index.js');
    const { parseFilter } = await import('../../../preprocess/filters/index.js');
    const { SaccadeError } = await import('../../../engine/support/errors.js');
    const pipeline = { filters: filters.map((text) => parseFilter(text)), window };
    try {
      const source = { path, sensor, range, part };
      const { shard } = await cachedWindows(cacheFolder, source, pipeline, { signal });
      return { path, windows: shard.length, damageCount: shard.damageCount };
    } catch (error) {
      // One recording that cannot be read does not keep a set from being used; training says so again.
      if (!(error instanceof SaccadeError) || error.kind !== 'input') throw error;
      return { path, windows: 0, passedOver: error.message };
    }
  },
});
