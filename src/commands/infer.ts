import type { SensorSize } from '../../ingest/eventBatch.js';
import { backendOption, exitOption } from '../experimentOptions.js';
import { damageFields, openInput, warnOfDamage } from '../input.js';
import { print, printJson, type RegisterCommand } from '../io.js';
import { examples, formatOption, jsonOption, sensorOption } from '../options.js';

interface Options {
  readonly exit?: boolean;
  readonly backend?: string;
  readonly format?: string;
  readonly sensor?: SensorSize;
  readonly json?: boolean;
}

export const registerInfer: RegisterCommand = (program, io) => {
  program
    .command('infer')
    .summary('recognise what a recording shows')
    .description(
      'Cuts a recording into windows as for training, and prints what the model recognises in each and, ' +
        'by their mean probability, in all. With --json: {file, classes, prediction, probabilities, ' +
        'windows: [{index, startUs, endUs, events, prediction, probabilities}], damageCount, damages, ' +
        'skipped}; prediction is the name of a class, null where there is no window. With --exit, each window stops as ' +
        'soon as the model is sure, and has decidedBins.',
    )
    .argument('<checkpoint>', 'checkpoint (.safetensors) or run folder')
    .argument('<file>', 'recording, or - for standard input')
    .addOption(
      formatOption('--format <name>', 'format of the file (default: told from its content)'),
    )
    .addOption(sensorOption())
    .addOption(exitOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade infer runs/gestures wave.es', 'what is it?'],
        ['saccade infer runs/gestures wave.es --exit', 'no longer than it takes (see `calibrate`)'],
      ),
    )
    .action(
      async (checkpoint: string, file: string, { json, backend, exit, ...options }: Options) => {
        const [{ selectBackend }, { loadModel }, { inferRecording }, { readExit }] =
          await Promise.all([
            import('../../engine/backend.js'),
            import('../../workers/runs.js'),
            import('../../workers/infer.js'),
            import('../../workers/exit.js'),
          ]);
        await selectBackend(backend);
        const loaded = await loadModel(checkpoint);
        const recording = await openInput(io, file, options);
        const inference = await inferRecording(loaded, recording, {
          signal: io.signal,
          exit: exit === true ? await readExit(loaded) : undefined,
          onWindow: (window) => json || print(io, windowLine(window, loaded.classes)),
        });
        if (json) printJson(io, { file, ...inference, ...damageFields(recording.report) });
        else {
          const { prediction } = inference;
          print(io, `${file}: ${prediction ?? 'no window, so nothing to recognise'}`);
        }
        warnOfDamage(io, recording);
      },
    );
};

interface Line {
  readonly startUs: number;
  readonly endUs: number;
  readonly events: number;
  readonly prediction: number;
  readonly probabilities: readonly number[];
  readonly decidedBins?: number;
}

/** "0.800 … 1.600 s  hand_clapping  93.1 %  (12,345 events)". */
export function windowLine(
  { startUs, endUs, events, prediction, probabilities, decidedBins }: Line,
  classes: readonly string[],
): string {
  const width = Math.max(...classes.map(({ length }) => length));
  const seconds = (us: number): string => (us / 1e6).toFixed(3);
  const percent = (100 * probabilities[prediction]).toFixed(1).padStart(5);
  const name = classes[prediction].padEnd(width);
  const after = decidedBins === undefined ? '' : `, decided after ${decidedBins} bins`;
  return `${seconds(startUs)} … ${seconds(endUs)} s  ${name}  ${percent} %  (${events} events${after})`;
}
