import Table from 'cli-table3';

import type { MeanInterval } from '../../models/evaluation/metrics.js';
import type { ComparedModel } from '../../workers/compare.js';
import { cacheFolder } from '../cacheFolder.js';
import {
  backendOption,
  cacheOption,
  changeExperiment,
  dataOption,
  epochsOption,
} from '../experimentOptions.js';
import { grouped, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { examples, integerBetween, jsonOption, parseNames } from '../options.js';

interface Options {
  readonly models: readonly string[];
  readonly seeds: number;
  readonly out?: string;
  readonly data?: string;
  readonly epochs?: number;
  readonly cache?: string;
  readonly backend?: string;
  readonly json?: boolean;
}

export const registerCompare: RegisterCommand = (program, io) => {
  program
    .command('compare')
    .summary('train several models under one protocol and compare them')
    .description(
      'Trains each model with the data and training settings of a configuration, with several seeds (each ' +
        'draws another split), selects the epoch on validation and looks at the test part once. Says the ' +
        'mean accuracy and its 95 % interval (Student). Interrupted, it goes on where it was. With --json: ' +
        'a list of {model, parameters, selected, last, recordings, seeds}.',
    )
    .argument('<config>', 'experiment, a YAML file; its model is not used')
    .option(
      '--models <a,b,c>',
      'nano, small, base, published, spikingConvNet, spikformer, linear, lempelZiv',
      parseNames,
      ['nano', 'spikingConvNet', 'spikformer', 'linear'],
    )
    .option('--seeds <N>', 'number of seeds, from 1', integerBetween(1, 1000), 3)
    .option('--out <folder>', 'folder of all runs (default: runs/compare- and the name)')
    .addOption(dataOption())
    .addOption(epochsOption())
    .addOption(cacheOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade compare configs/actions.yaml', 'nano and the baselines, three seeds'],
        ['saccade compare configs/gestures.yaml --models nano,small --seeds 5', 'two sizes'],
      ),
    )
    .action(async (config: string, { json, seeds, models, ...options }: Options) => {
      const [{ readExperiment }, { compareJob }] = await Promise.all([
        import('../../workers/experiment.js'),
        import('../../workers/compare.js'),
      ]);
      const experiment = changeExperiment(await readExperiment(config), options);
      const job = commandJob(io, json);
      const compared = await compareJob(
        {
          experiment,
          models,
          seeds: Array.from({ length: seeds }, (_, i) => i + 1),
          folder: options.out ?? `runs/compare-${experiment.name}`,
          cacheFolder: options.cache ?? cacheFolder(io.env),
          backend: options.backend,
        },
        job.context,
      ).finally(job.done);
      if (json) printJson(io, compared);
      else print(io, comparisonTable(compared));
    });
};

function comparisonTable(compared: readonly ComparedModel[]): string {
  const table = new Table({
    head: ['model', 'parameters', 'selected epoch', 'last epoch', 'whole recordings'],
    colAligns: ['left', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const { model, parameters, selected, last, recordings } of compared) {
    table.push([model, grouped(parameters), share(selected), share(last), share(recordings)]);
  }
  return table.toString();
}

/** "81.2 % (74.0 … 88.4)"; the interval of a share ends at 0 and 100 %. */
function share({ mean, interval95 }: MeanInterval): string {
  const percent = (value: number): string => (100 * Math.min(1, Math.max(0, value))).toFixed(1);
  const interval =
    interval95 === null ? '' : ` (${percent(interval95[0])} … ${percent(interval95[1])})`;
  return `${percent(mean)} %${interval}`;
}
