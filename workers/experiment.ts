import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { parse as parseYaml, YAMLParseError } from 'yaml';
import { z } from 'zod';

import { SaccadeError } from '../engine/support/errors.js';
import { parseConfig } from '../engine/support/parseConfig.js';
import { datasetLayouts } from '../ingest/datasets/index.js';
import { modelSchema } from '../models/networks/schema.js';
import { pretrainingSchema, trainingSchema } from '../models/training/config.js';
import { preprocessSchema } from '../preprocess/pipeline/index.js';

const share = z.number().min(0).max(1);
const positive = z.number().int().positive();

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

/** How clips come from the cache to the model; none of it changes what is learned. */
const loaderSchema = z
  .strictObject({
    /** Threads that represent and augment training clips while the model learns; 0 = none but its own. */
    workers: z.number().int().min(0).max(64).default(1),
    /** Batches that are prepared ahead for each thread. */
    prefetch: positive.max(64).default(2),
    /** Whether clips that nothing is augmented of are kept in the cache as tensors, beside their events. */
    tensors: z.boolean().default(true),
  })
  .prefault({});

/** An experiment: what is read, how it is prepared, which model learns it and how. */
export const experimentSchema = z.strictObject({
  name: z.string().min(1).default('experiment'),
  seed: z.number().int().default(1),
  dataset: datasetSchema,
  preprocess: preprocessSchema,
  loader: loaderSchema,
  model: modelSchema,
  pretraining: pretrainingSchema,
  training: trainingSchema,
});

export type Experiment = z.infer<typeof experimentSchema>;

/**
 * Checks an experiment.
 *
 * @param file named in errors.
 * @throws SaccadeError of kind `config` that names the first wrong field and what was expected there.
 */
export function parseExperiment(value: unknown, file: string): Experiment {
  return parseConfig(experimentSchema, value, file);
}

/**
 * Reads a YAML (or JSON) experiment; relative paths in it are taken from the file's folder.
 *
 * @throws SaccadeError of kind `input` where the file is missing, `config` where it is wrong.
 */
export async function readExperiment(path: string): Promise<Experiment> {
  return withPathsFrom(dirname(path), parseExperiment(await readYaml(path), path));
}

/**
 * What a YAML (or JSON) file says.
 *
 * @throws SaccadeError of kind `input` where the file is missing, `config` where it is no YAML.
 */
export async function readYaml(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new SaccadeError('input', `cannot read the configuration (${error.code})`, {
      file: path,
    });
  });
  try {
    return parseYaml(text);
  } catch (error) {
    const { message } = error as YAMLParseError;
    throw new SaccadeError('config', `not valid YAML: ${message.split('\n')[0]}`, { file: path });
  }
}

/** The experiment with relative paths, of its data set and of the runs that it starts from, taken from a folder. */
export function withPathsFrom<T extends Pick<Experiment, 'dataset' | 'training'>>(
  folder: string,
  experiment: T,
): T {
  const { dataset, training } = experiment;
  const { initialise, distil } = training;
  return {
    ...experiment,
    dataset: { ...dataset, path: resolve(folder, dataset.path) },
    training: {
      ...training,
      ...(initialise !== undefined && { initialise: resolve(folder, initialise) }),
      ...(distil && { distil: { ...distil, teacher: resolve(folder, distil.teacher) } }),
    },
  };
}
