import { stat } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import type { Command } from 'commander';

import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../../ingest/bytes.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { extensionOf, formats } from '../../ingest/formats/index.js';
import { writeRecording } from '../../ingest/recording.js';
import { gestures, simulateDataset, simulateGesture } from '../../ingest/simulator/index.js';
import { type CommandIo, grouped, print, printJson, type RegisterCommand } from '../io.js';
import {
  examples,
  formatOption,
  integerBetween,
  jsonOption,
  parseNames,
  parseSensor,
} from '../options.js';
import { checkOutput } from '../output.js';
import { createProgress } from '../progress.js';

/** Options of both uses. */
interface SceneOptions {
  readonly seed: number;
  readonly duration?: number;
  readonly sensor?: SensorSize;
  readonly distractor?: boolean;
  readonly format?: string;
  readonly json?: boolean;
}

interface SetOptions extends SceneOptions {
  readonly gestures?: readonly string[];
  readonly subjects?: number;
  readonly repetitions?: number;
}

interface RecordingOptions extends SceneOptions {
  readonly gesture?: string;
  readonly subject?: number;
  readonly repetition?: number;
}

const setOnly = ['gestures', 'subjects', 'repetitions'] as const;
const recordingOnly = ['gesture', 'subject', 'repetition'] as const;

export const registerSimulate: RegisterCommand = (program, io) => {
  const count = integerBetween(1, 10_000);
  program
    .command('simulate')
    .summary('make synthetic recordings of gestures')
    .description(
      'Makes SYNTHETIC recordings of an articulated figure. OUT with the extension of a format is one ' +
        'recording; any other OUT is a folder for a labelled set, with one sub-folder per gesture and ' +
        'dataset.json. A set that was interrupted is continued by the same command. The same options give ' +
        'the same events.\n\n' +
        `Gestures: ${Object.keys(gestures).join(', ')}.`,
    )
    .argument('<out>', 'folder of a set, or file of one recording')
    .option('--gestures <a,b,c>', 'gestures of a set (default: all)', parseNames)
    .option('--subjects <N>', 'persons in a set, each doing every gesture (default: 10)', count)
    .option('--repetitions <N>', 'recordings of each gesture by each person (default: 2)', count)
    .option('--gesture <name>', 'gesture of one recording')
    .option('--subject <N>', 'person of one recording (default: 1)', count)
    .option('--repetition <N>', 'performance of one recording (default: 1)', count)
    .option('--seed <N>', 'seed of everything random', integerBetween(0, 2 ** 31 - 1), 0)
    .option(
      '--duration <µs>',
      'length of a recording (default: 1500000)',
      integerBetween(1000, 10_000_000_000),
    )
    .option('--sensor <WIDTHxHEIGHT>', 'sensor size (default: 128x128)', parseSensor)
    .option('--distractor', 'add a moving blob that has nothing to do with the gesture')
    .addOption(formatOption('--format <name>', 'format (default: es, or by the extension of OUT)'))
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade simulate data/synthetic --subjects 12 --repetitions 3', 'a labelled set'],
        [
          'saccade simulate wave.es --gesture right_hand_wave --subject 7 --seed 1',
          'one recording, the same as in a set of that seed',
        ],
      ),
    )
    .action(async (out: string, options: SetOptions & RecordingOptions, command: Command) => {
      const isRecording = await namesRecording(out);
      refuse(command, isRecording ? setOnly : recordingOnly, isRecording);
      if (isRecording) await simulateOne(io, out, options);
      else await simulateSet(io, out, options);
    });
};

async function namesRecording(out: string): Promise<boolean> {
  const extension = extensionOf(out);
  if (!formats.some(({ extensions }) => extensions.includes(extension))) return false;
  return !(await stat(out).catch(() => undefined))?.isDirectory();
}

/** An option of the other use would be ignored, so it is an error. */
function refuse(command: Command, names: readonly string[], isRecording: boolean): void {
  const wrong = names.find((name) => command.getOptionValueSource(name) === 'cli');
  if (wrong === undefined) return;
  const message = isRecording
    ? 'is for sets, and OUT names one recording by its extension'
    : 'is for one recording, and OUT names the folder of a set (a recording has the extension of a format)';
  throw new SaccadeError('usage', message, { field: `--${wrong}` });
}

async function simulateSet(io: CommandIo, folder: string, options: SetOptions): Promise<void> {
  const { seed, format, subjects = 10, repetitions = 2, distractor } = options;
  const names = options.gestures ?? ['all'];
  const chosen = names.length === 1 && names[0] === 'all' ? Object.keys(gestures) : names;
  const progress = createProgress({
    label: 'simulate',
    total: chosen.length * subjects * repetitions,
    silent: options.json,
    stream: io.stderr,
  });
  const { recordings, written } = await simulateDataset(
    {
      folder,
      gestures: chosen,
      subjects,
      repetitions,
      seed,
      format,
      distractor,
      sensor: options.sensor,
      durationUs: options.duration,
    },
    { signal: io.signal, onProgress: (done) => progress.update(done) },
  ).finally(() => progress.done());
  if (options.json) {
    printJson(io, { synthetic: true, folder, classes: chosen, subjects, recordings, written });
    return;
  }
  const kept = recordings - written;
  print(
    io,
    `${folder}: ${grouped(recordings)} synthetic recordings of ${chosen.length} gestures by ` +
      `${subjects} simulated persons (${written} written now, ${kept} were there)`,
  );
}

async function simulateOne(io: CommandIo, path: string, options: RecordingOptions): Promise<void> {
  const { gesture, subject = 1, repetition = 1, seed, distractor, format } = options;
  const { sensor = { width: 128, height: 128 }, duration: durationUs = 1_500_000 } = options;
  if (gesture === undefined) {
    const known = Object.keys(gestures).join(', ');
    const message = `expected the gesture of the recording, one of ${known}`;
    throw new SaccadeError('usage', message, { field: '--gesture' });
  }
  await checkOutput(path);
  const progress = createProgress({
    label: 'simulate',
    total: durationUs,
    silent: options.json,
    stream: io.stderr,
  });
  const batches = simulateGesture({
    gesture,
    subjectSeed: subject,
    repetition,
    seed,
    sensor,
    durationUs,
    distractor,
  });
  const watched = watch(batches, path, durationUs, io.signal, progress.update);
  const { events, bytes } = await writeRecording(path, watched, {
    sensor,
    format,
    signal: io.signal,
  }).finally(() => progress.done());
  const { width, height } = sensor;
  if (options.json) {
    const made = { synthetic: true, file: path, gesture, subject, repetition, seed };
    printJson(io, { ...made, width, height, durationUs, events, bytes });
    return;
  }
  print(io, `${path}: synthetic ${gesture}, ${grouped(events)} events (${grouped(bytes)} bytes)`);
}

/** The simulator computes without waiting; between batches, Ctrl-C and the progress get their turn. */
async function* watch(
  batches: Iterable<EventBatch>,
  file: string,
  durationUs: number,
  signal: AbortSignal,
  onTime: (tUs: number) => void,
): AsyncGenerator<EventBatch> {
  for (const batch of batches) {
    yield batch;
    onTime(batch.tUs[batch.length - 1]);
    await setImmediate();
    throwIfAborted(signal, file);
  }
  onTime(durationUs);
}
