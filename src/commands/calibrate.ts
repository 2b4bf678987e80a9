import type { CalibrateOutcome } from '../../workers/exit.js';
import { cacheFolder } from '../cacheFolder.js';
import { backendOption, cacheOption, dataOption } from '../experimentOptions.js';
import { grouped, note, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { examples, jsonOption, numberBetween } from '../options.js';

interface Options {
  readonly loss?: number;
  readonly temperature?: number;
  readonly data?: string;
  readonly cache?: string;
  readonly backend?: string;
  readonly json?: boolean;
}

export const registerCalibrate: RegisterCommand = (program, io) => {
  program
    .command('calibrate')
    .summary('find out how early a model can be sure')
    .description(
      'Chooses the confidence at which a clip is decided before its end (Dynamic Confidence), by clips of the validation ' +
        'part alone: the one of fewest bins whose accuracy is that of whole clips. Writes exit.json beside the ' +
        'checkpoint, with the curve of accuracy and mean bins over all thresholds; `eval`, `infer`, `stream` and `serve` ' +
        'use it with --exit. With --json: {file, threshold, temperature, bins, loss, whole, chosen, oracle, curve: ' +
        '[{threshold, accuracy, meanBins}], clips, checkpoint, weights, notes}.',
    )
    .argument('<checkpoint>', 'checkpoint (.safetensors) or run folder of a causal model')
    .option(
      '--loss <share>',
      'accuracy that may be lost for fewer bins, 0 to 1 (default: none)',
      numberBetween(0, 1),
    )
    .option(
      '--temperature <a>',
      'what summed logits are divided by (default: the number of bins)',
      numberBetween(1e-6, 1e6),
    )
    .addOption(dataOption())
    .addOption(cacheOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade calibrate runs/gestures', 'no accuracy lost on the validation part'],
        ['saccade calibrate runs/gestures --loss 0.01', 'one point may be, for earlier answers'],
        ['saccade eval runs/gestures --exit', 'what it does on the test part'],
      ),
    )
    .action(async (path: string, { json, cache, ...options }: Options) => {
      const { calibrateJob } = await import('../../workers/exit.js');
      const job = commandJob(io, json);
      const outcome = await calibrateJob(
        { path, cacheFolder: cache ?? cacheFolder(io.env), ...options },
        job.context,
      ).finally(job.done);
      if (json) printJson(io, outcome);
      else {
        note(io, ...outcome.notes);
        print(io, ...describeCalibration(outcome));
      }
    });
};

function describeCalibration(outcome: CalibrateOutcome): string[] {
  const { whole, chosen, oracle, bins, clips, file, threshold } = outcome;
  const line = ({ accuracy, meanBins }: typeof whole): string =>
    `${(100 * accuracy).toFixed(1)} % after ${meanBins.toFixed(2)} of ${bins} bins`;
  return [
    `on ${grouped(clips.length)} validation clips:`,
    `whole clips: ${line(whole)}`,
    `early exit above ${threshold.toFixed(2)}: ${line(chosen)}`,
    `no policy can beat: ${line(oracle)}`,
    file,
  ];
}
