import { Option } from 'commander';

import { SaccadeError } from '../../engine/support/errors.js';
import { accuracyLine, reportTable } from '../../models/evaluation/report.js';
import { type SpikeCode, spikeCodes } from '../../models/neurons/spikeCoding.js';
import type { DeltaUnit } from '../../models/runtime/deltaModel.js';
import type { DeltaEvaluation } from '../../workers/delta.js';
import type { EvaluationOutcome } from '../../workers/evaluate.js';
import type { ExitEvaluation } from '../../workers/exit.js';
import type { SpikeCodeEvaluation } from '../../workers/spikeCode.js';
import { cacheFolder } from '../cacheFolder.js';
import {
  backendOption,
  cacheOption,
  dataOption,
  deltaUnitOption,
  exitOption,
} from '../experimentOptions.js';
import { type CommandIo, note, print, printJson, type RegisterCommand } from '../io.js';
import { commandJob } from '../jobContext.js';
import { examples, integerBetween, jsonOption, numberBetween, numbersFrom } from '../options.js';

interface Options {
  readonly part: 'test' | 'validation';
  readonly exit?: boolean;
  readonly spikeCode?: SpikeCode;
  readonly bits?: number;
  readonly resolution?: number;
  readonly delta?: readonly number[];
  readonly deltaUnit?: DeltaUnit;
  readonly data?: string;
  readonly cache?: string;
  readonly backend?: string;
  readonly json?: boolean;
}

export const registerEval: RegisterCommand = (program, io) => {
  program
    .command('eval')
    .summary('evaluate a trained model on recordings it has not seen')
    .description(
      'Accuracy with its 95 % interval (Wilson), precision and recall by class, and the confusion matrix ' +
        'as a picture. Of a run folder, the epoch that was selected on validation and the last one are ' +
        'both evaluated. Writes evaluation-PART.json and confusion-PART.png beside the checkpoint. With --exit ' +
        'also accuracy and mean bins of early exit; with --spike-code also accuracy, steps and share of zeros of the model ' +
        'converted to spikes after training (SpikingBrain); with --delta also accuracy and work of delta inference. With ' +
        '--json: {part, synthetic, groupedBy, notes, selected: {accuracy, classes, confusion, …}, last, ' +
        'looks, picture, file}.',
    )
    .argument('<checkpoint>', 'checkpoint (.safetensors) or run folder')
    .addOption(
      new Option('--part <name>', 'part of the data set')
        .choices(['test', 'validation'])
        .default('test'),
    )
    .addOption(exitOption())
    .addOption(
      new Option(
        '--spike-code <code>',
        'also evaluate it with spikes in place of the numbers that its linear layers take',
      ).choices(spikeCodes),
    )
    .option(
      '--bits <N>',
      'with --spike-code: cut counts to what so many bits hold (default: as many as they need)',
      integerBetween(1, 16),
    )
    .option(
      '--resolution <k>',
      "with --spike-code: counts that a token's mean size becomes (default: 3)",
      numberBetween(0.01, 10_000),
    )
    .option(
      '--delta <thetas>',
      'also evaluate it with products made only where their input has changed by more than this; several, separated by commas',
      numbersFrom(0),
    )
    .addOption(deltaUnitOption())
    .addOption(dataOption())
    .addOption(cacheOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade eval runs/gestures', 'the test part, once, at the end'],
        ['saccade eval runs/gestures --part validation', 'while you are still choosing'],
        [
          'saccade eval runs/gestures --spike-code bitwise',
          'what is lost where spikes replace numbers',
        ],
        [
          'saccade eval runs/gestures --exit',
          'how early it can be sure, after `saccade calibrate`',
        ],
        [
          'saccade eval runs/gestures --delta 0,0.1,0.3 --delta-unit value --part validation',
          'how much need not be computed, and what that costs',
        ],
      ),
    )
    .action(async (checkpoint: string, { json, ...options }: Options) => {
      const outcome = await runEvaluation(io, checkpoint, { ...options, json });
      if (json) printJson(io, outcome);
      else print(io, ...describeEvaluation(outcome));
    });
};

export async function runEvaluation(
  io: CommandIo,
  path: string,
  { json, cache, spikeCode: code, bits, resolution, delta, deltaUnit, ...options }: Options,
): Promise<EvaluationOutcome> {
  if (code === undefined && (bits ?? resolution) !== undefined) {
    const field = bits === undefined ? '--resolution' : '--bits';
    throw new SaccadeError('usage', 'needs --spike-code', { field });
  }
  if (deltaUnit !== undefined && delta === undefined) {
    throw new SaccadeError('usage', 'needs --delta', { field: '--delta-unit' });
  }
  const { evaluateJob } = await import('../../workers/evaluate.js');
  const job = commandJob(io, json);
  const outcome = await evaluateJob(
    {
      path,
      cacheFolder: cache ?? cacheFolder(io.env),
      ...options,
      spikeCode: code && { code, bits, resolution: resolution ?? 3 },
      delta: delta && { thresholds: delta, unit: deltaUnit },
    },
    job.context,
  ).finally(job.done);
  if (!json) note(io, ...outcome.notes);
  return outcome;
}

export function describeEvaluation(outcome: EvaluationOutcome): string[] {
  const { part, synthetic, selected, last, groupedBy, picture, file } = outcome;
  return [
    `${part} part${synthetic ? ' of a SYNTHETIC data set' : ''}, split by ${groupedBy}:`,
    reportTable(selected),
    `whole recordings: ${accuracyLine(selected.recordingAccuracy)}`,
    ...(selected.exit === undefined ? [] : describeExit(selected.exit)),
    ...(selected.spikeCode === undefined ? [] : describeSpikes(selected.spikeCode)),
    ...(selected.delta ?? []).map(describeDelta),
    ...(last === undefined ? [] : [`last epoch: ${accuracyLine(last.accuracy)}`]),
    `${file}, ${picture}`,
  ];
}

function describeExit({ accuracy, meanBins, bins, threshold, oracle }: ExitEvaluation): string[] {
  const percent = (100 * oracle.accuracy).toFixed(1);
  return [
    `early exit above ${threshold.toFixed(2)}: ${accuracyLine(accuracy)} after ${meanBins.toFixed(2)} of ${bins} bins`,
    `no policy can beat ${percent} % after ${oracle.meanBins.toFixed(2)} bins (stopped at the first that is right)`,
  ];
}

function describeDelta({ threshold, unit, accuracy, drop, work }: DeltaEvaluation): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return (
    `by ${unit}s that changed by more than ${threshold}: ${accuracyLine(accuracy)}, ${percent(drop)} lost, ` +
    `${percent(1 - work.macs / work.denseMacs)} of multiply-accumulates saved`
  );
}

function describeSpikes(found: SpikeCodeEvaluation): string[] {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const { code, resolution, bits, accuracy, drop, agreement, layers, steps } = found;
  const { zeroShare, silentShare, clippedShare } = found;
  const cut = bits === undefined ? '' : `, ${bits} bits (${percent(clippedShare)} cut)`;
  return [
    `by ${code} spikes, k = ${resolution}${cut}: ${accuracyLine(accuracy)}, ${percent(drop)} lost, ` +
      `${percent(agreement)} of clips as before`,
    `${Object.keys(layers).length} layers converted, ${steps} steps at most; ${percent(zeroShare)} of counts are 0, ` +
      `${percent(silentShare)} of spikes`,
  ];
}
