import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, resolve } from 'node:path';

import { parse as parseYaml, YAMLParseError } from 'yaml';
import { z } from 'zod';

import { SaccadeError } from '../engine/support/errors.js';
import { datasetLayouts } from '../ingest/datasets/index.js';
import { modelSchema } from '../models/networks/index.js';
import { trainingSchema } from '../models/training/config.js';
import { parseAugmentation } from '../preprocess/augmentations/index.js';
import { parseFilter } from '../preprocess/filters/index.js';
import { representationNames } from '../preprocess/representations/index.js';

const share = z.number().min(0).max(1);
const positive = z.number().int().positive();

/** A text that a parser takes; its complaint is the schema's. */
function call(parse: (text: string) => unknown): z.ZodType<string, string> {
  return z.string().superRefine((text, context) => {
    try {
      parse(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  });
}

const datasetSchema = z.strictObject({
  /** Folder of the recordings, relative to the configuration file. */
  path: z.string().min(1),
  /** How the folder is laid out (`saccade dataset list`); told from its content where not given. */
  layout: z.enum(['folder', ...datasetLayouts.map(({ name }) => name)]).optional(),
  /** Shares of the groups (subjects or recordings) that are held out. */
  validation: share.default(0.2),
  test: share.default(0.2),
  /** Seed of the split; the experiment's own by default. */
  splitSeed: z.number().int().optional(),
});

export const windowSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('time'),
    windowUs: positive,
    strideUs: positive.optional(),
    incomplete: z.enum(['keep', 'drop']).default('keep'),
  }),
  z.strictObject({
    kind: z.literal('count'),
    count: positive,
    stride: positive.optional(),
    incomplete: z.enum(['keep', 'drop']).default('keep'),
  }),
]);

const preprocessSchema = z.strictObject({
  /** Filters in order, `name:arguments`. */
  filters: z.array(call(parseFilter)).default([]),
  window: windowSchema,
  /** What the model reads. */
  representation: z.enum(representationNames).default('spikes'),
  bins: positive.default(12),
  height: positive.default(32),
  width: positive.default(32),
  /** Augmentations of training clips in order, `name:arguments`. */
  augmentations: z.array(call(parseAugmentation)).default([]),
});

/** An experiment: what is read, how it is prepared, which model learns it and how. */
export const experimentSchema = z.strictObject({
  name: z.string().min(1).default('experiment'),
  seed: z.number().int().default(1),
  dataset: datasetSchema,
  preprocess: preprocessSchema,
  model: modelSchema,
  training: trainingSchema,
});

export type Experiment = z.infer<typeof experimentSchema>;
export type PreprocessConfig = Experiment['preprocess'];

/**
 * Checks an experiment.
 *
 * @param file named in errors.
 * @throws SaccadeError of kind `config` that names the first wrong field and what was expected there.
 */
export function parseExperiment(value: unknown, file: string): Experiment {
  const result = experimentSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue.path.join('.');
  const field =
    issue.code === 'unrecognized_keys'
      ? [path, issue.keys[0]].filter((part) => part !== '').join('.')
      : path === ''
        ? undefined
        : path;
  const message = issue.code === 'unrecognized_keys' ? 'there is no such field' : issue.message;
  throw new SaccadeError('config', message, { file, field });
}

/**
 * Reads a YAML (or JSON) experiment; relative data set paths are taken from the file's folder.
 *
 * @throws SaccadeError of kind `input` where the file is missing, `config` where it is wrong.
 */
export async function readExperiment(path: string): Promise<Experiment> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new SaccadeError('input', `cannot read the configuration (${error.code})`, {
      file: path,
    });
  });
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (error) {
    const { message } = error as YAMLParseError;
    throw new SaccadeError('config', `not valid YAML: ${message.split('\n')[0]}`, { file: path });
  }
  const experiment = parseExperiment(value, path);
  const { path: data } = experiment.dataset;
  return {
    ...experiment,
    dataset: {
      ...experiment.dataset,
      path: isAbsolute(data) ? data : resolve(dirname(path), data),
    },
  };
}
