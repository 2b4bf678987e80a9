import { cacheFolder } from '../cacheFolder.js';
import {
  cacheOption,
  changeExperiment,
  dataOption,
  type ExperimentChanges,
  seedOption,
} from '../experimentOptions.js';
import { grouped, note, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { examples, jsonOption } from '../options.js';

interface Options extends ExperimentChanges {
  readonly cache?: string;
  readonly json?: boolean;
}

export const registerDataset: RegisterCommand = (program, io) => {
  const dataset = program.command('dataset').summary('prepare data sets for training');
  dataset
    .command('prepare')
    .summary('split, filter and window the recordings of an experiment into the cache')
    .description(
      'Opens the data set that a configuration names, splits it into train, validation and test, and ' +
        'keeps the windows of every recording in the cache, under a hash of the file and the settings. ' +
        '`train` does the same when needed. Interrupted, it goes on where it was. With --json: ' +
        '{classes, groupedBy, recordings, made, clips: {train, validation, test}, notes}.',
    )
    .argument('<config>', 'experiment, a YAML file')
    .addOption(dataOption())
    .addOption(seedOption())
    .addOption(cacheOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade dataset prepare configs/gestures.yaml', 'the data set of the configuration'],
        ['saccade dataset prepare configs/actions.yaml --data recordings', 'one of your own'],
      ),
    )
    .action(async (config: string, { cache, json, ...changes }: Options) => {
      const [{ readExperiment }, { prepareData }] = await Promise.all([
        import('../../workers/experiment.js'),
        import('../../workers/prepare.js'),
      ]);
      const experiment = changeExperiment(await readExperiment(config), changes);
      const job = commandJob(io, json);
      const prepared = await prepareData(
        experiment,
        cache ?? cacheFolder(io.env),
        job.context,
      ).finally(job.done);
      const { classes, groupedBy, recordings, made, notes } = prepared;
      const { train, validation, test } = prepared.clips;
      const clips = { train: train.length, validation: validation.length, test: test.length };
      if (json) {
        printJson(io, { classes, groupedBy, recordings, made, clips, notes });
        return;
      }
      note(io, ...notes);
      print(
        io,
        `${experiment.dataset.path}: ${grouped(recordings)} recordings of ${classes.length} classes ` +
          `(${made} prepared now), split by ${groupedBy}; clips: ${grouped(clips.train)} train, ` +
          `${grouped(clips.validation)} validation, ${grouped(clips.test)} test`,
      );
    });
};
