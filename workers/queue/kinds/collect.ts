import { z } from 'zod';

import { countSchema, defineKind, pathSchema } from './kind.js';

/** Ends a set of jobs: what each returned, in one file. */
export const collectKind = defineKind({
  name: 'collect',
  queue: 'ingest',
  summary: 'writes what a set of jobs returned into one JSON file',
  schema: z.strictObject({ title: z.string().max(1000), file: pathSchema }),
  result: z.strictObject({ file: pathSchema, jobs: countSchema }),
  resource: ({ file }) => file,
  run: async ({ title, file }, { children }) => {
    const { writeFileAtomically } = await import('../../../engine/support/atomicFile.js');
    await writeFileAtomically(file, `${JSON.stringify({ title, jobs: children }, undefined, 2)}\n`);
    return { file, jobs: children.length };
  },
});
