import { SaccadeError } from '../../engine/support/errors.js';
import { cacheOption, dataOption, seedOption } from '../experimentOptions.js';
import { grouped, listing, note, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { examples, jsonOption } from '../options.js';
import { prepareExperiment, type PrepareOptions } from '../preparedExperiment.js';

interface CheckOptions {
  readonly layout?: string;
  readonly write?: boolean;
  readonly json?: boolean;
}

export const registerDataset: RegisterCommand = (program, io) => {
  const dataset = program.command('dataset').summary('list, check and prepare data sets');
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
    .action(async (config: string, options: PrepareOptions) => {
      const { json } = options;
      const { experiment, prepared } = await prepareExperiment(io, config, options);
      await prepared.release();
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

  dataset
    .command('list')
    .summary('list the data sets whose layout is known')
    .description(
      'Names for `dataset.layout` in a configuration, and where the data sets are to be had. Any other folder is ' +
        'read as `folder`, one sub-folder per class. With --json: a list of {name, title, source}.',
    )
    .addOption(jsonOption())
    .addHelpText('after', examples(['saccade dataset list', 'names, titles, sources']))
    .action(async ({ json }: Pick<PrepareOptions, 'json'>) => {
      const { datasetLayouts } = await import('../../ingest/datasets/index.js');
      const known = datasetLayouts.map(({ name, title, source }) => ({ name, title, source }));
      if (json) printJson(io, known);
      else print(io, ...listing(known.map((one) => [one.name, `${one.title}, ${one.source}`])));
    });

  dataset
    .command('check')
    .summary('check that every recording of a data set is there and can be read')
    .description(
      'Names each recording that is missing, changed (where the folder has SHA256SUMS), damaged or empty, and ' +
        'fails with exit code 3 where there are any. With --json: {layout, classes, recordings, problems: ' +
        '[{file, problem}], notes}.',
    )
    .argument('<folder>', 'folder of the data set')
    .option('--layout <name>', 'how it is laid out (default: told from its content)')
    .option('--write', 'write SHA256SUMS first, for later checks')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade dataset check recordings', 'one sub-folder per class'],
        ['saccade dataset check DvsGesture --layout dvs128-gesture --write', 'with checksums'],
      ),
    )
    .action(async (folder: string, { json, layout, write }: CheckOptions) => {
      const { checkDataset, openDataset, writeChecksums } =
        await import('../../ingest/datasets/index.js');
      const opened = await openDataset(folder, layout);
      const job = commandJob(io, json);
      const context = (phase: string) => ({
        signal: io.signal,
        onProgress: (done: number, total: number) =>
          job.context.onProgress?.({ phase, done, total }),
      });
      const check = async () => {
        if (write) await writeChecksums(opened, context('checksums'));
        return checkDataset(opened, context('check'));
      };
      const problems = await check().finally(job.done);
      const { name, classes, recordings, notes } = opened;
      if (json) {
        printJson(io, { layout: name, classes, recordings: recordings.length, problems, notes });
      } else {
        note(io, ...notes, ...problems.map(({ file, problem }) => `${file}: ${problem}`));
        print(
          io,
          `${folder}: ${grouped(recordings.length)} recordings of ${classes.length} classes, ` +
            `${grouped(problems.length)} with problems`,
        );
      }
      if (problems.length > 0) {
        const message = `${problems.length} of its recordings cannot be used as they are`;
        throw new SaccadeError('input', message, { file: folder });
      }
    });
};
