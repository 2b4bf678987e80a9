import { writeFile } from 'node:fs/promises';
import Table from 'cli-table3';
import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import type { DenoiseResult } from '../../workers/benchDenoise.js';
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
import { examples, integerBetween, jsonOption, numberBetween, sensorOption } from '../options.js';
import { checkOutput } from '../output.js';

interface ModelsOptions {
  readonly out?: string;
  readonly data?: string;
  readonly epochs?: number;
  readonly cache?: string;
  readonly backend?: string;
  readonly json?: boolean;
}

type RecallOptions = Pick<ModelsOptions, 'out' | 'backend' | 'json'>;

interface Options {
  readonly shotHz: number;
  readonly hotPixels: number;
  readonly hotHz: number;
  readonly seed: number;
  readonly maxEvents: number;
  readonly packet: number;
  readonly plot?: string;
  readonly sensor?: SensorSize;
  readonly json?: boolean;
}

export const registerBench: RegisterCommand = (program, io) => {
  const bench = program.command('bench').summary('measure parts of the pipeline on recordings');
  bench
    .command('denoise')
    .summary('compare the denoising filters on events with known noise')
    .description(
      'Adds shot noise and hot pixels to recordings (without any: to a simulated gesture that has none) and ' +
        'prints for each denoising filter, over a sweep of its threshold: the area under the ROC curve ' +
        '(AUC; signal kept over noise kept), and at the setting with the greatest difference of the two ' +
        'the shares kept and the mean event structural ratio (MESR; E-MLB, 2023), which needs no truth. All events ' +
        "of a recording count as signal, the sensor's own noise too. With --json: [{source, assumed, sensor, " +
        'events: {signal, shot, hot}, mesr: {signal, noisy}, curves: [{filter, swept, auc, best, points: ' +
        '[{call, kept: {signal, shot, hot, noise}, mesr}]}]}].',
    )
    .argument('[recordings...]', 'recordings')
    .option('--shot-hz <Hz>', 'shot noise of each pixel', numberBetween(0, 1e5), 5)
    .option('--hot-pixels <N>', 'number of hot pixels', integerBetween(0, 1e6), 20)
    .option('--hot-hz <Hz>', 'rate of each hot pixel', numberBetween(0, 1e5), 200)
    .option('--seed <N>', 'seed of the noise', integerBetween(0, Number.MAX_SAFE_INTEGER), 1)
    .option(
      '--max-events <N>',
      'events of each recording, from its beginning',
      integerBetween(2, 1e8),
      300_000,
    )
    .option('--packet <N>', 'events in a packet of the MESR', integerBetween(2, 1e8), 30_000)
    .option('--plot <PNG>', 'write the ROC curves as a picture; of one recording')
    .addOption(sensorOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade bench denoise', 'on a simulated gesture'],
        ['saccade bench denoise walk.aedat --shot-hz 10 --plot roc.png', 'with a plot'],
      ),
    )
    .action(async (files: string[], { plot, json, ...options }: Options) => {
      if (plot !== undefined && files.length > 1) {
        const message = `shows one recording, but ${files.length} were given`;
        throw new SaccadeError('usage', message, { field: '--plot' });
      }
      if (plot !== undefined) await checkOutput(plot, files[0]);
      const { benchDenoise } = await import('../../workers/benchDenoise.js');
      const job = commandJob(io, json);
      const results = await benchDenoise({ ...options, files }, job.context).finally(job.done);
      if (plot !== undefined) {
        const { rocPicture } = await import('../../workers/rocPicture.js');
        const [{ source, curves }] = results;
        const title = `${source}, ${options.shotHz} Hz per pixel, ${options.hotPixels} hot pixels`;
        await writeFile(plot, await rocPicture(title, curves));
      }
      if (json) printJson(io, results);
      else for (const result of results) print(io, ...lines(result));
    });
  bench
    .command('models')
    .summary('compare token mixers, neurons and stems under one protocol')
    .description(
      'Trains every mixer × neuron × stem that a configuration lists, and baselines, on the same data with the ' +
        'same epochs and seeds; selects the epoch on validation and looks at the test part once per run. Says ' +
        'accuracy with 95 % intervals, counted operations, firing rates, modelled energy and where it meets that of the ' +
        'same network without spikes, state, latency, and what each mixer alone remembers (see `bench recall`). Leaves bench.json, table.md, energy.svg ' +
        'and state.svg in the folder. Interrupted, it goes on where it was. With --json: what bench.json holds.',
    )
    .argument('<config>', 'an experiment with a section `bench`, a YAML file')
    .option('--out <folder>', 'folder of all runs (default: runs/bench- and the name)')
    .addOption(dataOption())
    .addOption(epochsOption())
    .addOption(cacheOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade bench models configs/bench-models.yaml', 'all that it lists'],
        ['saccade bench models mine.yaml --epochs 1 --json', 'a short look, as JSON'],
      ),
    )
    .action(async (path: string, { json, ...options }: ModelsOptions) => {
      const [{ benchModelsJob, readBenchModels }, { benchReport }] = await Promise.all([
        import('../../workers/benchModels.js'),
        import('../../workers/benchModelsReport.js'),
      ]);
      const config = changeExperiment(await readBenchModels(path), options);
      const folder = options.out ?? `runs/bench-${config.name}`;
      const job = commandJob(io, json);
      const result = await benchModelsJob(
        {
          config,
          folder,
          cacheFolder: options.cache ?? cacheFolder(io.env),
          backend: options.backend,
        },
        job.context,
      ).finally(job.done);
      if (json) printJson(io, result);
      else print(io, benchReport(result), `All of it is in ${folder}.`);
    });
  bench
    .command('recall')
    .summary('compare what token mixers alone remember')
    .description(
      'Trains layers of each mixer that a configuration lists on associative recall, of symbols (MQAR) and of moving ' +
        'edges as events, with several seeds, and asks them about sequences that they have not seen. Says the share of ' +
        'right answers with 95 % intervals over the seeds, and the response to a blocked stimulus (1 of ' +
        "Hebb's rule, 0 of the delta rule). Leaves recall.json and recall.md in the folder. Interrupted, it goes on where it was. " +
        'With --json: what recall.json holds.',
    )
    .argument('<config>', 'mixers and tasks, a YAML file')
    .option('--out <folder>', 'folder of the results (default: runs/bench- and the name)')
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(['saccade bench recall configs/bench-recall.yaml', 'all that it lists']),
    )
    .action(async (path: string, { json, ...options }: RecallOptions) => {
      const [{ benchRecallJob, readBenchRecall }, { benchRecallTable }] = await Promise.all([
        import('../../workers/benchRecall.js'),
        import('../../workers/benchRecallReport.js'),
      ]);
      const config = await readBenchRecall(path);
      const folder = options.out ?? `runs/bench-${config.name}`;
      const job = commandJob(io, json);
      const result = await benchRecallJob(
        { config, folder, backend: options.backend },
        job.context,
      ).finally(job.done);
      if (json) printJson(io, result);
      else print(io, benchRecallTable(result), `All of it is in ${folder}.`);
    });
};

function lines({ source, assumed, sensor, events, mesr, curves }: DenoiseResult): string[] {
  const table = new Table({
    head: ['filter', 'AUC', 'best setting', 'signal', 'shot', 'hot', 'MESR'],
    colAligns: ['left', 'right', 'left', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const { filter, swept, auc, best } of curves) {
    const { signal, shot, hot } = best.kept;
    const shares = [signal, shot, hot].map(percent);
    const setting = best.call.slice(filter.length + 1);
    const name = `${filter} (${swept})`;
    table.push([name, auc.toFixed(3), setting, ...shares, ratio(best.mesr)]);
  }
  return [
    `${source}: ${sensor.width}x${sensor.height}, ${grouped(events.signal)} events of signal, ` +
      `${grouped(events.shot)} of shot noise, ${grouped(events.hot)} of hot pixels; ${assumed}`,
    `MESR of the signal ${ratio(mesr.signal)}, with noise ${ratio(mesr.noisy)}; shares kept:`,
    table.toString(),
  ];
}

function percent(share: number | null): string {
  return share === null ? '-' : `${(100 * share).toFixed(1)} %`;
}

function ratio(mesr: number | null): string {
  return mesr === null ? '-' : mesr.toFixed(3);
}
