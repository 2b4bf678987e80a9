import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import type { Command } from 'commander';

import { SaccadeError } from '../../engine/support/errors.js';
import type { JobTree } from '../../workers/queue/client.js';
import { cacheFolder } from '../cacheFolder.js';
import {
  backendOption,
  cacheOption,
  changeExperiment,
  dataOption,
  epochsOption,
  type ExperimentChanges,
  initOption,
  seedOption,
} from '../experimentOptions.js';
import { print, printJson, type CommandIo, type RegisterCommand } from '../io.js';
import { watchJobs } from '../jobWatch.js';
import { collected, examples, formatOption, integerBetween, jsonOption } from '../options.js';
import { withClient, workspaceOption } from '../queueOptions.js';
import { pretrainingFolder, pretrainingFor } from './pretrain.js';

interface Common {
  readonly again?: boolean;
  readonly watch?: boolean;
  readonly attempts?: number;
  readonly workspace?: string;
  readonly json?: boolean;
}

interface TrainOptions extends Common, ExperimentChanges {
  readonly out?: string;
  readonly cache?: string;
  readonly backend?: string;
  readonly part?: 'validation' | 'test';
}

export const registerSubmit: RegisterCommand = (program, io) => {
  const submit = program
    .command('submit')
    .summary('hand over jobs to workers')
    .description(
      'Puts a job into its queue; `saccade worker` does it, `saccade jobs` follows it. A job that was submitted ' +
        'before is not done again, unless --again says so. With --json: {id, added}, and with --watch the job.',
    );

  common(submit.command('convert'))
    .summary('convert a recording, or all of a folder')
    .argument('<in>', 'recording, or a folder of recordings')
    .argument('<out>', 'file to write, or the folder that gets the files and conversion.json')
    .option('--to <.EXT>', 'with a folder: extension of the files to write, such as .es')
    .option('--filter <NAME:ARGS>', 'drop events; can be given several times', collected)
    .addOption(formatOption('--format <name>', 'format to write (default: by the extension)'))
    .addHelpText('after', examples(['saccade submit convert raw es --to .es', 'a whole folder']))
    .action(
      async (
        from: string,
        to: string,
        {
          to: extension,
          filter: filters,
          format,
          ...options
        }: Common & { to?: string; filter?: readonly string[]; format?: string },
      ) => {
        const { conversionFlow } = await import('../../workers/queue/flows.js');
        const folder = (await infoOf(from)).isDirectory();
        if (folder !== (extension !== undefined)) {
          const message = folder
            ? 'is a folder: say with --to which files to write, for instance --to .es'
            : 'is one recording: --to belongs to folders';
          throw new SaccadeError('usage', message, { file: from });
        }
        const settings = { filters, format };
        const tree =
          extension === undefined
            ? { kind: 'convert', data: { from: resolve(from), to: resolve(to), ...settings } }
            : conversionFlow(await filesBelow(from), {
                ...settings,
                root: from,
                folder: to,
                extension: extension.startsWith('.') ? extension : `.${extension}`,
              });
        await hand(io, tree, options);
      },
    );

  common(submit.command('index'))
    .summary('make the time index beside a recording')
    .argument('<file>', 'recording')
    .action(async (file: string, options: Common) => {
      await infoOf(file);
      await hand(io, { kind: 'index', data: { path: resolve(file) } }, options);
    });

  common(submit.command('prepare'))
    .summary('bring the windows of a data set into the cache, one job a recording')
    .argument('<config>', 'experiment, a YAML file')
    .addOption(dataOption())
    .addOption(seedOption())
    .addOption(cacheOption())
    .action(async (config: string, { cache, ...options }: TrainOptions) => {
      const { preparationFlow } = await import('../../workers/queue/flows.js');
      const experiment = await experimentOf(config, options);
      const folder = resolve(cache ?? cacheFolder(io.env));
      const file = join(folder, `prepared-${experiment.name}.json`);
      await hand(io, await preparationFlow(experiment, { file, cacheFolder: folder }), options);
    });

  common(submit.command('pretrain'))
    .summary('prepare a data set, and pretrain a model on it without labels')
    .argument('<config>', 'experiment, a YAML file')
    .option(
      '--out <folder>',
      'run folder (default: runs/ and the name of the experiment, -pretrained)',
    )
    .addOption(epochsOption())
    .addOption(dataOption())
    .addOption(seedOption())
    .addOption(cacheOption())
    .addOption(backendOption())
    .action(async (config: string, { out, cache, backend, epochs, ...options }: TrainOptions) => {
      const { pretrainingFlow } = await import('../../workers/queue/flows.js');
      const experiment = pretrainingFor(await experimentOf(config, options), epochs);
      const tree = await pretrainingFlow(experiment, {
        folder: resolve(out ?? pretrainingFolder(experiment)),
        cacheFolder: resolve(cache ?? cacheFolder(io.env)),
        backend,
      });
      await hand(io, tree, options);
    });

  common(submit.command('train'))
    .summary('prepare a data set, train a model on it, and evaluate it')
    .argument('<config>', 'experiment, a YAML file')
    .option('--out <folder>', 'run folder (default: runs/ and the name of the experiment)')
    .addOption(epochsOption())
    .option('--part <part>', 'evaluate on this part when trained: validation or test', parsePart)
    .addOption(initOption())
    .addOption(dataOption())
    .addOption(seedOption())
    .addOption(cacheOption())
    .addOption(backendOption())
    .addHelpText(
      'after',
      examples([
        'saccade submit train configs/gestures.yaml --part test --watch',
        'everything from recordings to a confusion matrix',
      ]),
    )
    .action(async (config: string, { out, cache, backend, part, ...options }: TrainOptions) => {
      const { trainingFlow } = await import('../../workers/queue/flows.js');
      const experiment = await experimentOf(config, options);
      const tree = await trainingFlow(experiment, {
        folder: resolve(out ?? `runs/${experiment.name}`),
        cacheFolder: resolve(cache ?? cacheFolder(io.env)),
        part,
        backend,
      });
      await hand(io, tree, options);
    });

  common(submit.command('eval'))
    .summary('evaluate a run on its held-out part')
    .argument('<run>', 'run folder or checkpoint')
    .option('--part <part>', 'validation or test', parsePart, 'test')
    .addOption(cacheOption())
    .addOption(backendOption())
    .action(async (path: string, { cache, backend, part, ...options }: TrainOptions) => {
      const folder = resolve(cache ?? cacheFolder(io.env));
      await infoOf(path);
      const data = { path: resolve(path), cacheFolder: folder, part, backend };
      await hand(io, { kind: 'evaluate', data }, options);
    });

  common(submit.command('infer'))
    .summary('recognise what a recording shows')
    .argument('<checkpoint>', 'checkpoint (.safetensors) or run folder')
    .argument('<file>', 'recording')
    .option('--out <file>', 'JSON file of the predictions (default: beside the recording)')
    .addOption(backendOption())
    .action(
      async (checkpoint: string, file: string, { out, backend, ...options }: TrainOptions) => {
        await Promise.all([infoOf(checkpoint), infoOf(file)]);
        const data = {
          checkpoint: resolve(checkpoint),
          file: resolve(file),
          out: resolve(out ?? `${file}.predictions.json`),
          backend,
        };
        await hand(io, { kind: 'infer', data }, options);
      },
    );
};

function common(command: Command): Command {
  return command
    .option('--again', 'do it again where it is done or dead')
    .option('--watch', 'stay until it has ended, with its progress')
    .option(
      '--attempts <N>',
      'attempts after crashes and errors that may pass (default: 5)',
      integerBetween(1, 1000),
    )
    .addOption(workspaceOption())
    .addOption(jsonOption());
}

async function hand(
  io: CommandIo,
  tree: JobTree,
  { again, watch, attempts, workspace, json }: Common,
): Promise<void> {
  await withClient(io, workspace, async (client) => {
    const { id, added } = await client.submit(tree, { again, attempts });
    if (!json) print(io, added ? id : `${id}: submitted before (--again does it again)`);
    const [job] = watch ? await watchJobs(io, client, [id], json) : [];
    if (json) printJson(io, { id, added, job });
    else if (job !== undefined) print(io, JSON.stringify(job.result));
  });
}

async function experimentOf(config: string, changes: ExperimentChanges) {
  const { readExperiment } = await import('../../workers/experiment.js');
  return changeExperiment(await readExperiment(config), changes);
}

function parsePart(text: string): string {
  if (text === 'validation' || text === 'test') return text;
  throw new SaccadeError('usage', `expected validation or test, not '${text}'`, {
    field: '--part',
  });
}

async function infoOf(path: string) {
  return stat(path).catch(() => {
    throw new SaccadeError('input', 'no such file or folder', { file: path });
  });
}

/** Files of a folder and those below it whose name says that they hold events. */
async function filesBelow(root: string): Promise<readonly string[]> {
  const { formats } = await import('../../ingest/formats/index.js');
  const extensions = new Set(formats.flatMap(({ extensions: own }) => own));
  const names = (await readdir(root, { recursive: true })).sort();
  const found = names.filter((name) =>
    [...extensions].some((end) => name.toLowerCase().endsWith(end)),
  );
  if (found.length > 0) return found.map((name) => join(root, name));
  throw new SaccadeError('input', 'holds no file with the extension of a known format', {
    file: root,
  });
}
