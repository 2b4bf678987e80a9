import { join, relative, resolve } from 'node:path';

import { openDataset } from '../../ingest/datasets/index.js';
import type { Experiment } from '../experiment.js';
import { splitOf } from '../prepare.js';
import type { JobTree } from './client.js';

/** One job for each recording of an experiment's data set. */
export async function prepareJobs(
  experiment: Experiment,
  cacheFolder: string,
): Promise<readonly JobTree[]> {
  const { dataset: settings, preprocess } = experiment;
  const dataset = await openDataset(settings.path, settings.layout);
  const { train, validation, test } = splitOf(experiment, dataset);
  return [...train, ...validation, ...test].map(({ recording, part }) => ({
    kind: 'prepare',
    data: {
      path: resolve(recording.path),
      range: recording.range,
      part,
      filters: preprocess.filters,
      window: preprocess.window,
      cacheFolder,
    },
  }));
}

/** Prepares each recording, trains when all are there, and evaluates where `part` is given. */
export async function trainingFlow(
  experiment: Experiment,
  {
    folder,
    cacheFolder,
    part,
    backend,
  }: {
    readonly folder: string;
    readonly cacheFolder: string;
    readonly part?: 'validation' | 'test';
    readonly backend?: string;
  },
): Promise<JobTree> {
  const train: JobTree = {
    kind: 'train',
    data: { experiment, folder, cacheFolder, backend },
    children: await prepareJobs(experiment, cacheFolder),
  };
  if (part === undefined) return train;
  return {
    kind: 'evaluate',
    data: { path: folder, cacheFolder, part, backend },
    children: [train],
  };
}

/** Prepares each recording, and pretrains when all are there. */
export async function pretrainingFlow(
  experiment: Experiment,
  {
    folder,
    cacheFolder,
    backend,
  }: { readonly folder: string; readonly cacheFolder: string; readonly backend?: string },
): Promise<JobTree> {
  return {
    kind: 'pretrain',
    data: { experiment, folder, cacheFolder, backend },
    children: await prepareJobs(experiment, cacheFolder),
  };
}

/** The preparation of a data set alone, with a list of what was prepared. */
export async function preparationFlow(
  experiment: Experiment,
  { file, cacheFolder }: { readonly file: string; readonly cacheFolder: string },
): Promise<JobTree> {
  return {
    kind: 'collect',
    data: { title: `windows of ${experiment.dataset.path}`, file },
    children: await prepareJobs(experiment, cacheFolder),
  };
}

/** Converts recordings into a folder, each at the place below it that it has below `root`, and lists them. */
export function conversionFlow(
  files: readonly string[],
  {
    root,
    folder,
    extension,
    ...settings
  }: {
    readonly root: string;
    readonly folder: string;
    /** With its dot. */
    readonly extension: string;
    readonly filters?: readonly string[];
    readonly format?: string;
  },
): JobTree {
  return {
    kind: 'collect',
    data: {
      title: `${files.length} recordings of ${resolve(root)}`,
      file: resolve(folder, 'conversion.json'),
    },
    children: files.map((file) => {
      const place = relative(root, file).replace(/\.[^./\\]+$/, '');
      return {
        kind: 'convert',
        data: {
          from: resolve(file),
          to: resolve(join(folder, place + extension)),
          ...settings,
        },
      };
    }),
  };
}
