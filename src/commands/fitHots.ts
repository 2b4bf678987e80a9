import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { createEventProgress } from '../eventProgress.js';
import { openInput } from '../input.js';
import { type CommandIo, print, printJson, type RegisterCommand } from '../io.js';
import { examples, integerBetween, jsonOption, numberBetween, sensorOption } from '../options.js';
import { checkOutput } from '../output.js';

interface Options {
  readonly out: string;
  readonly prototypes: number;
  readonly radius: number;
  readonly tau: number;
  readonly sensor?: SensorSize;
  readonly json?: boolean;
}

export const registerFitHots: RegisterCommand = (program, io) => {
  program
    .command('fit-hots')
    .summary('learn a dictionary of time surfaces, for --as hotsFitted')
    .description(
      'Learns the prototypes of HOTS (Lagorce et al., 2017) from recordings, in the order that they are named, ' +
        'and writes them as JSON: {radius, tauUs, prototypes}. The representation ' +
        'hotsFitted:dictionary=@FILE counts them. With --json: {file, recordings, events, prototypes}.',
    )
    .argument('<recordings...>', 'recordings to learn from, of the training part alone')
    .requiredOption('--out <file>', 'file to write')
    .option('--prototypes <N>', 'how many', integerBetween(1, 1024), 8)
    .option('--radius <pixels>', 'pixels on each side of an event', integerBetween(0, 16), 2)
    .option('--tau <µs>', 'time constant', numberBetween(1, 1e12), 20_000)
    .addOption(sensorOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples([
        'saccade fit-hots train/*.aedat4 --out hots.json --prototypes 16',
        'then: saccade represent walk.aedat4 walk.npy --as hotsFitted:dictionary=@hots.json --bins 1',
      ]),
    )
    .action((recordings: string[], options: Options) => fit(io, recordings, options));
};

async function fit(
  io: CommandIo,
  paths: readonly string[],
  { out, prototypes, radius, tau: tauUs, sensor, json }: Options,
): Promise<void> {
  for (const path of paths) await checkOutput(out, path);
  const { fitHots } = await import('../../preprocess/representations/index.js');
  const { signal, stderr: stream } = io;
  const progress = createEventProgress({ label: 'fit-hots', silent: json, stream });
  let events = 0;
  async function* batchesOf(path: string): AsyncGenerator<EventBatch> {
    const recording = await openInput(io, path, { sensor });
    for await (const batch of recording.batches({ signal, reuse: true })) {
      if (signal.aborted) throw new SaccadeError('interrupted', 'stopped on request');
      events += batch.length;
      progress.add(batch.length);
      yield batch;
    }
  }
  const dictionary = await fitHots(paths.map(batchesOf), { prototypes, radius, tauUs }).finally(
    progress.done,
  );
  await writeFileAtomically(out, `${JSON.stringify(dictionary)}\n`);
  if (json) printJson(io, { file: out, recordings: paths.length, events, prototypes });
  else print(io, `${out}: ${prototypes} prototypes of ${events} events`);
}
