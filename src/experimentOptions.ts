import { resolve } from 'node:path';

import { Option } from 'commander';

import { backendNames, backendVariable } from '../engine/backendNames.js';
import { deltaUnits } from '../models/runtime/deltaModel.js';
import type { Experiment } from '../workers/experiment.js';
import { cacheVariable } from './cacheFolder.js';
import { integerBetween } from './options.js';

/** What the command line changes of an experiment. */
export interface ExperimentChanges {
  readonly data?: string;
  readonly seed?: number;
  readonly epochs?: number;
  /** Run folder or checkpoint to start from. */
  readonly init?: string;
}

/** `--data`, which names another folder of recordings. */
export function dataOption(): Option {
  return new Option('--data <folder>', 'folder of recordings, in place of the one configured');
}

export function seedOption(): Option {
  return new Option('--seed <N>', 'seed, in place of the one configured').argParser(
    integerBetween(0, 2 ** 31 - 1),
  );
}

export function epochsOption(): Option {
  return new Option('--epochs <N>', 'epochs, in place of those configured').argParser(
    integerBetween(1, 1_000_000),
  );
}

/** `--exit`, of commands that can stop early. */
export function exitOption(): Option {
  return new Option(
    '--exit',
    'decide as soon as the model is sure, as `calibrate` found it; what is left of a clip does not count any more',
  );
}

/** `--delta-unit`, of commands that have `--delta`. */
export function deltaUnitOption(): Option {
  return new Option(
    '--delta-unit <unit>',
    'what is computed anew: all of a token in which a value has changed, or what changed values add (default: token)',
  ).choices(deltaUnits);
}

/** `--init`, of commands that train. */
export function initOption(): Option {
  return new Option(
    '--init <folder>',
    'run folder or checkpoint whose weights training starts from, where their paths and shapes match',
  );
}

export function cacheOption(): Option {
  return new Option(
    '--cache <folder>',
    `folder of prepared clips (default: ${cacheVariable}, otherwise .saccade/cache)`,
  );
}

export function backendOption(): Option {
  return new Option(
    '--backend <name>',
    `what computes (default: ${backendVariable}, otherwise the fastest that works)`,
  ).choices(['auto', ...backendNames]);
}

/** The experiment with what the command line says in place of its own settings. */
export function changeExperiment<T extends Experiment>(
  experiment: T,
  { data, seed, epochs, init }: ExperimentChanges,
): T {
  return {
    ...experiment,
    seed: seed ?? experiment.seed,
    dataset: {
      ...experiment.dataset,
      path: data === undefined ? experiment.dataset.path : resolve(data),
    },
    training: {
      ...experiment.training,
      epochs: epochs ?? experiment.training.epochs,
      ...(init !== undefined && { initialise: resolve(init) }),
    },
  };
}
