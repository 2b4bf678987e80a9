import type { SensorSize } from '../../ingest/eventBatch.js';
import type { Recording } from '../../ingest/recording.js';
import type { LoadedModel } from '../../workers/runs.js';
import type { BinPrediction } from '../../workers/stream.js';
import { backendOption } from '../experimentOptions.js';
import { openInput, warnOfDamage } from '../input.js';
import { type CommandIo, grouped, note, print, type RegisterCommand } from '../io.js';
import { examples, formatOption, integerBetween, jsonOption, sensorOption } from '../options.js';
import { windowLine } from './infer.js';

interface Options {
  readonly every?: boolean;
  readonly restart?: number;
  readonly backend?: string;
  readonly format?: string;
  readonly sensor?: SensorSize;
  readonly json?: boolean;
}

export const registerStream: RegisterCommand = (program, io) => {
  program
    .command('stream')
    .summary('recognise an action while it happens')
    .description(
      'Reads events as they come, runs the model once per time bin with the state of all bins before, and ' +
        'prints the prediction whenever it changes. Memory stays bounded however long the stream. A prediction ' +
        'is drawn from all bins since the start, so give --restart for streams without end. With ' +
        '--json: one JSON document a line and bin, {bin, startUs, endUs, events, prediction, ' +
        'probabilities, frames}.',
    )
    .argument('<checkpoint>', 'checkpoint (.safetensors) or run folder of a causal model')
    .argument('<source>', 'recording, or - for standard input')
    .option('--every', 'print every bin, not only changes')
    .option(
      '--restart <bins>',
      'forget all that was before after so many bins (default: never)',
      integerBetween(1, 1_000_000_000),
    )
    .addOption(
      formatOption('--format <name>', 'format of the source (default: told from its content)'),
    )
    .addOption(sensorOption())
    .addOption(backendOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade stream runs/gestures wave.es', 'a recording, bin by bin'],
        [
          'camera | saccade stream runs/gestures - --format es --restart 24',
          'a live stream, beginning anew after 24 bins',
        ],
      ),
    )
    .action(async (checkpoint: string, source: string, options: Options) => {
      const { backend, format, sensor } = options;
      const [{ selectBackend }, { loadModel }] = await Promise.all([
        import('../../engine/backend.js'),
        import('../../workers/runs.js'),
      ]);
      await selectBackend(backend);
      const loaded = await loadModel(checkpoint);
      const recording = await openInput(io, source, { format, sensor });
      await runStream(io, loaded, recording, options);
    });
};

/** Streams a recording through a model and prints what it recognises. */
export async function runStream(
  io: CommandIo,
  loaded: LoadedModel,
  recording: Recording,
  { every, restart, json }: Pick<Options, 'every' | 'restart' | 'json'>,
): Promise<BinPrediction | undefined> {
  const { streamPredictions } = await import('../../workers/stream.js');
  const { classes } = loaded;
  const report = { lateEvents: 0, jumps: 0 };
  const predictions = streamPredictions(loaded, recording.batches({ signal: io.signal }), {
    restartBins: restart,
    report,
  });
  let last: BinPrediction | undefined;
  for await (const bin of predictions) {
    if (json) {
      print(io, JSON.stringify({ ...bin, prediction: classes[bin.prediction] }));
    } else if (every || bin.prediction !== last?.prediction) {
      print(io, windowLine(bin, classes));
    }
    last = bin;
  }
  if (!json) {
    const end = last === undefined ? 'no events' : classes[last.prediction];
    print(io, `end of ${recording.path} after ${(last?.bin ?? -1) + 1} bins: ${end}`);
  }
  if (report.lateEvents > 0) {
    note(io, `warning: ${grouped(report.lateEvents)} events came after their bin was closed`);
  }
  if (report.jumps > 0) {
    note(io, `warning: the time jumped ${grouped(report.jumps)} times; the state began anew there`);
  }
  warnOfDamage(io, recording);
  return last;
}
