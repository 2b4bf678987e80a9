import type { PretrainingMetrics } from '../../models/training/pretrain.js';
import type { MotionMetrics } from '../../models/training/pretrainMotions.js';
import type { Experiment } from '../../workers/experiment.js';
import type { PretrainOutcome } from '../../workers/pretrain.js';
import { cacheFolder } from '../cacheFolder.js';
import {
  backendOption,
  cacheOption,
  changeExperiment,
  dataOption,
  epochsOption,
  type ExperimentChanges,
  seedOption,
} from '../experimentOptions.js';
import { grouped, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { type LaunchOptions, launchOf, launchOptions } from '../launcher.js';
import { examples, jsonOption } from '../options.js';

interface Options extends Omit<ExperimentChanges, 'init'>, LaunchOptions {
  readonly out?: string;
  readonly cache?: string;
  readonly backend?: string;
  readonly fresh?: boolean;
  readonly json?: boolean;
}

export const registerPretrain: RegisterCommand = (program, io) => {
  const command = program.command('pretrain');
  for (const option of launchOptions()) command.addOption(option);
  command
    .summary('train a model without labels, to start from')
    .description(
      'Hides the events of some tokens of each training clip (pretraining.hiddenShare) and trains the network, up to ' +
        'its head, to tell how many were there. `train --init` starts from the weights. The run folder is like that ' +
        'of `train`, and a run that was interrupted is resumed by the same command. The epoch is selected on the ' +
        'validation part; the test part is left alone. With pretraining.task: motions, the layer of a model with stem: motion ' +
        'learns alone, without recordings, which way synthetic textures move. With --json: {folder, parameters, clips, ' +
        'steps, bestEpoch, validationLoss, explained (of motions: accuracy), bestPath, lastPath, notes}.',
    )
    .argument('<config>', 'experiment, a YAML file')
    .option(
      '--out <folder>',
      'run folder (default: runs/ and the name of the experiment, -pretrained)',
    )
    .addOption(dataOption())
    .addOption(seedOption())
    .addOption(epochsOption())
    .option('--fresh', 'start over, whatever the run folder holds')
    .addOption(cacheOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade pretrain configs/gestures.yaml', 'into runs/gestures-pretrained'],
        [
          'saccade pretrain configs/gestures.yaml --processes 4 --backend cuda',
          'on the four GPUs of this machine; several machines work together as with `train`',
        ],
        [
          'saccade train configs/gestures.yaml --init runs/gestures-pretrained --out runs/tuned',
          'go on from there, with labels',
        ],
      ),
    )
    .action(async (config: string, { out, json, epochs, ...options }: Options) => {
      const launch = launchOf(io, options);
      if (launch.kind === 'launcher') {
        await launch.run();
        return;
      }
      const [{ readExperiment }, { pretrainJob }] = await Promise.all([
        import('../../workers/experiment.js'),
        import('../../workers/pretrain.js'),
      ]);
      const changed = changeExperiment(await readExperiment(config), options);
      const experiment = pretrainingFor(changed, epochs);
      const folder = out ?? pretrainingFolder(experiment);
      const { backend, fresh, cache } = options;
      const process = launch.kind === 'member' ? launch.place : undefined;
      // The first one speaks for all.
      const isSilent = process !== undefined && process.rank > 0;
      const job = commandJob(io, json === true || isSilent);
      const outcome = await pretrainJob(
        { experiment, folder, backend, fresh, process, cacheFolder: cache ?? cacheFolder(io.env) },
        { ...job.context, onEpoch: (metrics) => job.context.onMessage?.(epochLine(metrics)) },
      ).finally(job.done);
      if (isSilent) return;
      if (json) printJson(io, { folder, ...outcome });
      else print(io, ...describePretraining(folder, outcome));
    });
};

export function pretrainingFolder({ name }: Experiment): string {
  return `runs/${name}-pretrained`;
}

/** The experiment with so many epochs of pretraining, where a number is given. */
export function pretrainingFor(experiment: Experiment, epochs?: number): Experiment {
  const { pretraining } = experiment;
  return { ...experiment, pretraining: { ...pretraining, epochs: epochs ?? pretraining.epochs } };
}

function epochLine(metrics: PretrainingMetrics | MotionMetrics): string {
  const { epoch, trainingLoss, validationLoss } = metrics;
  const found =
    'validationAccuracy' in metrics
      ? `${percent(metrics.validationAccuracy)} of the events told their motion`
      : `${percent(metrics.validationExplained)} of the variance explained`;
  return (
    `epoch ${epoch}: training loss ${trainingLoss.toFixed(3)}, validation loss ` +
    `${validationLoss.toFixed(3)}, ${found}`
  );
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function describePretraining(folder: string, outcome: PretrainOutcome): string[] {
  const { parameters, clips, steps, bestEpoch, explained = 0, accuracy } = outcome;
  if (accuracy !== undefined) {
    return [
      `${folder}: ${grouped(parameters)} parameters, ${grouped(steps)} steps on textures`,
      `selected epoch ${bestEpoch}, which tells the motion of ${percent(accuracy)} of the events of ` +
        `${grouped(clips.validation)} other textures`,
    ];
  }
  return [
    `${folder}: ${grouped(parameters)} parameters, ${grouped(steps)} steps on ${grouped(clips.train)} clips`,
    clips.validation === 0
      ? 'no validation clips: the last epoch is the selected one'
      : `selected epoch ${bestEpoch}, which explains ${percent(explained)} of the variance of ` +
        `hidden events on ${grouped(clips.validation)} validation clips`,
  ];
}
