import { z } from 'zod';

import { defineKind, pathSchema, sensorSchema } from './kind.js';

export const indexKind = defineKind({
  name: 'index',
  queue: 'ingest',
  summary: 'makes the time index beside a recording',
  schema: z.strictObject({ path: pathSchema, sensor: sensorSchema.optional() }),
  /** The index, null where the recording needs none. */
  result: z.strictObject({ path: pathSchema, index: pathSchema.nullable() }),
  inputs: ({ path }) => [path],
  resource: ({ path }) => `${path}.idx`,
  run: async ({ path, sensor }, { signal }) => {
    const { openRecording } = await import('../../../ingest/recording.js');
    const { indexPath, readTimeIndex } = await import('../../../ingest/timeIndex.js');
    const recording = await openRecording(path, { sensor, index: 'make', signal });
    // The index is made at the first slice; no event lies in this one.
    await recording.batches({ fromUs: 0, toUs: 0, signal })[Symbol.asyncIterator]().next();
    const index = await readTimeIndex({ path, format: recording.format.name });
    return { path, index: index === undefined ? null : indexPath(path) };
  },
});
