import type { EpochMetrics } from '../../models/training/train.js';
import type { Experiment } from '../../workers/experiment.js';
import type { ProcessPlace } from '../../workers/processPlace.js';
import type { TrainOutcome } from '../../workers/train.js';
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
import { type CommandIo, grouped, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { type LaunchOptions, launchOf, launchOptions } from '../launcher.js';
import { examples, jsonOption } from '../options.js';

interface Options extends ExperimentChanges, LaunchOptions {
  readonly out?: string;
  readonly cache?: string;
  readonly backend?: string;
  readonly fresh?: boolean;
  readonly json?: boolean;
}

export const registerTrain: RegisterCommand = (program, io) => {
  const command = program.command('train');
  for (const option of launchOptions()) command.addOption(option);
  command
    .summary('train a model')
    .description(
      'Trains the model that a configuration describes. The run folder gets checkpoints (safetensors), ' +
        'metrics.jsonl and TensorBoard events. A run that was interrupted is resumed by the same command, ' +
        'and ends with the same weights. The epoch is selected on the validation part; the test part is ' +
        'left alone (see `eval`). With --init it starts from weights of another run (see `pretrain`), and says which ' +
        'were taken. With --json: {folder, parameters, clips, steps, bestEpoch, ' +
        'bestValidationAccuracy, bestPath, lastPath, notes, initialised: {from, taken, fresh, unused}}.',
    )
    .argument('<config>', 'experiment, a YAML file')
    .option('--out <folder>', 'run folder (default: runs/ and the name of the experiment)')
    .addOption(dataOption())
    .addOption(seedOption())
    .addOption(epochsOption())
    .addOption(initOption())
    .option('--fresh', 'start over, whatever the run folder holds')
    .addOption(cacheOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade train configs/gestures.yaml', 'train, or go on with training'],
        [
          'saccade train configs/actions.yaml --data recordings --seed 2 --out runs/mine-2',
          'other recordings, another seed',
        ],
        [
          'saccade train configs/gestures.yaml --init runs/gestures-pretrained --out runs/tuned',
          'start from what `pretrain` has learned',
        ],
        [
          'saccade train configs/gestures.yaml --processes 4 --backend cuda',
          'on the four GPUs of this machine; each batch is shared by them',
        ],
        [
          'SACCADE_TOKEN=… saccade train configs/gestures.yaml --processes 8 --nodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500',
          'the second of two machines with eight GPUs each; the first has --node-rank 0',
        ],
      ),
    )
    .action(async (config: string, { out, json, ...options }: Options) => {
      const launch = launchOf(io, options);
      if (launch.kind === 'launcher') {
        await launch.run();
        return;
      }
      const { readExperiment } = await import('../../workers/experiment.js');
      const experiment = changeExperiment(await readExperiment(config), options);
      const folder = out ?? `runs/${experiment.name}`;
      const process = launch.kind === 'member' ? launch.place : undefined;
      const outcome = await runTraining(io, experiment, folder, { ...options, json, process });
      // The first one speaks for all.
      if (process !== undefined && process.rank > 0) return;
      if (json) printJson(io, { folder, ...outcome });
      else print(io, ...describeTraining(folder, outcome));
    });
};

/** Trains with progress, messages and a line per epoch on standard error. */
export async function runTraining(
  io: CommandIo,
  experiment: Experiment,
  folder: string,
  {
    cache,
    backend,
    fresh,
    json,
    process,
  }: Pick<Options, 'cache' | 'backend' | 'fresh' | 'json'> & { readonly process?: ProcessPlace },
): Promise<TrainOutcome> {
  const { trainJob } = await import('../../workers/train.js');
  const job = commandJob(io, json === true || (process !== undefined && process.rank > 0));
  return trainJob(
    { experiment, folder, backend, fresh, process, cacheFolder: cache ?? cacheFolder(io.env) },
    { ...job.context, onEpoch: (metrics) => job.context.onMessage?.(epochLine(metrics)) },
  ).finally(job.done);
}

function epochLine(metrics: EpochMetrics): string {
  const { epoch, trainingLoss, validationLoss, validationAccuracy } = metrics;
  return (
    `epoch ${epoch}: training loss ${trainingLoss.toFixed(3)}, validation loss ` +
    `${validationLoss.toFixed(3)}, validation accuracy ${(100 * validationAccuracy).toFixed(1)} %`
  );
}

export function describeTraining(folder: string, outcome: TrainOutcome): string[] {
  const { parameters, clips, steps, bestEpoch, bestValidationAccuracy } = outcome;
  return [
    `${folder}: ${grouped(parameters)} parameters, ${grouped(steps)} steps on ${grouped(clips.train)} clips`,
    clips.validation === 0
      ? 'no validation clips: the last epoch is the selected one'
      : `selected epoch ${bestEpoch} with ${(100 * bestValidationAccuracy).toFixed(1)} % on ` +
        `${grouped(clips.validation)} validation clips`,
  ];
}
