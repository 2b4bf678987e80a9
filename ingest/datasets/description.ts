import { access, readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { SaccadeError } from '../../engine/support/errors.js';
import { compareText, type Dataset, missingRecordings } from './dataset.js';

/** The file that describes a data set, at its root. */
const descriptionFile = 'dataset.json';

const insideRoot = (file: string): boolean =>
  !file.startsWith('/') && !file.includes('\\') && !file.split('/').includes('..');

/** Other fields are allowed: the simulator notes its options there. */
const descriptionSchema = z.object({
  name: z.string().optional(),
  synthetic: z.boolean().default(false),
  classes: z.array(z.string()).min(2),
  recordings: z
    .array(
      z.object({
        file: z.string().min(1).refine(insideRoot, 'expected a path inside the folder, with /'),
        label: z.string(),
        subject: z.string().optional(),
        split: z.enum(['train', 'validation', 'test']).optional(),
      }),
    )
    .min(1),
});

/**
 * Reads a data set from its `dataset.json`; undefined where there is none.
 *
 * @throws SaccadeError (`input`) that names the field which is wrong, or the recordings that are missing.
 */
export async function readDescription(root: string): Promise<Dataset | undefined> {
  const path = join(root, descriptionFile);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new SaccadeError('input', 'cannot be read', { file: path }, error);
  }
  const { name, synthetic, classes, recordings } = parseDescription(text, path);
  const labels = new Map(classes.map((className, label) => [className, label]));
  const listed = recordings.map(({ file, label, subject, split }, index) => {
    const known = labels.get(label);
    if (known === undefined) {
      const message = `expected one of the classes ${classes.join(', ')}, got "${label}"`;
      throw new SaccadeError('input', message, { file: path, field: `recordings.${index}.label` });
    }
    return { id: file, path: join(root, file), label: known, subject, split };
  });
  const there = await Promise.all(
    listed.map((recording) =>
      access(recording.path).then(
        () => true,
        () => false,
      ),
    ),
  );
  const missing = listed.filter((_, index) => !there[index]);
  if (missing.length > 0) {
    const names = missing.map(({ id }) => id);
    const message = `${missingRecordings(names, listed.length)}; make them, or take them out of the list`;
    throw new SaccadeError('input', message, { file: path, field: 'recordings' });
  }
  return {
    name: name ?? basename(resolve(root)),
    root,
    synthetic,
    classes,
    recordings: listed.sort((a, b) => compareText(a.id, b.id)),
    notes: [],
  };
}

function parseDescription(text: string, path: string): z.infer<typeof descriptionSchema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new SaccadeError('input', 'not valid JSON', { file: path }, error);
  }
  const parsed = descriptionSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new SaccadeError('input', issue.message, { file: path, field: issue.path.join('.') });
  }
  return parsed.data;
}
