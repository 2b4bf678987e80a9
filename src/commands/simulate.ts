import { stat } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { type Command, Option } from 'commander';

import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../../ingest/bytes.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { extensionOf, formats } from '../../ingest/formats/index.js';
import { writeRecording } from '../../ingest/recording.js';
import {
  defaultSensorModel,
  gestures,
  openFrames,
  openY4m,
  originFile,
  type SensorModel,
  sensorModelRanges,
  simulateDataset,
  simulateFrames,
  simulateGesture,
  writeOrigin,
} from '../../ingest/simulator/index.js';
import { createEventProgress } from '../eventProgress.js';
import { standardStream } from '../input.js';
import { type CommandIo, grouped, print, printJson, type RegisterCommand } from '../io.js';
import {
  examples,
  formatOption,
  integerBetween,
  jsonOption,
  numberBetween,
  parseNames,
  parseSensor,
} from '../options.js';
import { checkOutput } from '../output.js';
import { createProgress } from '../progress.js';

/** Parameters of the simulated sensor, as options. */
const sensorFlags = {
  onThreshold: ['--on-threshold <c>', 'change of log intensity that makes an ON event'],
  offThreshold: ['--off-threshold <c>', 'change of log intensity that makes an OFF event'],
  thresholdMismatch: ['--mismatch <c>', 'standard deviation of the thresholds from pixel to pixel'],
  bandwidthHz: ['--bandwidth <Hz>', "corner of the pixels' low-pass; 0 is none"],
  leakHz: ['--leak <Hz>', 'rate of ON events by leakage, per pixel'],
  shotNoiseHz: ['--shot-noise <Hz>', 'rate of random events, per pixel'],
  refractoryUs: ['--refractory <µs>', 'how long a pixel is silent after an event'],
} as const satisfies Record<keyof SensorModel, readonly [string, string]>;

function sensorModelOptions(): Option[] {
  return Object.entries(sensorFlags).map(([name, [flags, what]]) => {
    const key = name as keyof SensorModel;
    const [low, high] = sensorModelRanges[key];
    return new Option(flags, `${what} (default: ${defaultSensorModel[key]})`).argParser(
      numberBetween(low, high),
    );
  });
}

/** The parameters that were given. */
function sensorModelOf(command: Command): Partial<SensorModel> {
  const given = Object.entries(sensorFlags).map(([name, [flags]]) => [
    name,
    command.getOptionValue(new Option(flags).attributeName()) as unknown,
  ]);
  return Object.fromEntries(
    given.filter(([, value]) => value !== undefined),
  ) as Partial<SensorModel>;
}

/** Options of all uses. */
interface SceneOptions {
  readonly noise: Partial<SensorModel>;
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

interface FramesOptions extends SceneOptions {
  readonly from: string;
  readonly fps?: number;
}

const sceneOnly = ['duration', 'distractor'] as const;
const framesOnly = ['fps'] as const;
const setOnly = ['gestures', 'subjects', 'repetitions'] as const;
const recordingOnly = ['gesture', 'subject', 'repetition'] as const;

export const registerSimulate: RegisterCommand = (program, io) => {
  const count = integerBetween(1, 10_000);
  const simulate = program
    .command('simulate')
    .summary('make synthetic recordings of gestures, or of a video')
    .description(
      'Makes SYNTHETIC recordings of an articulated figure. OUT with the extension of a format is one ' +
        'recording; any other OUT is a folder for a labelled set, with one sub-folder per gesture and ' +
        'dataset.json. A set that was interrupted is continued by the same command. The same options give ' +
        'the same events. With --from, OUT is a recording of a video instead: a folder of pictures, a pattern (in ' +
        'quotes), an animated GIF or WebP, a .y4m (- is one on standard input), or any other video where ffmpeg is ' +
        'installed. Beside a recording, OUT.json says that it is synthetic and how it was made.\n\n' +
        `Gestures: ${Object.keys(gestures).join(', ')}.`,
    )
    .argument('<out>', 'folder of a set, or file of one recording')
    .option('--from <source>', 'video or pictures to make events of')
    .option(
      '--fps <rate>',
      'frames per second (default: as the source says; must be given for pictures)',
      numberBetween(0.001, 1e6),
    )
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
    .option(
      '--sensor <WIDTHxHEIGHT>',
      'sensor size (default: 128x128, with --from the size of the frames)',
      parseSensor,
    )
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
        ["saccade simulate street.raw --from 'frames/*.png' --fps 240", 'of pictures'],
        [
          'saccade simulate jump.es --from jump.mp4 --sensor 346x260 --bandwidth 200 --shot-noise 1',
          'of a video, scaled to the sensor',
        ],
        [
          'ffmpeg -i in.mkv -f yuv4mpegpipe - | saccade simulate out.es --from -',
          'of a video that comes by a pipe',
        ],
      ),
    );
  for (const option of sensorModelOptions()) simulate.addOption(option);
  simulate.action(
    async (
      out: string,
      given: SetOptions & RecordingOptions & Partial<FramesOptions>,
      command: Command,
    ) => {
      const options = { ...given, noise: sensorModelOf(command) };
      const { from } = options;
      if (from !== undefined) {
        const only = [...setOnly, ...recordingOnly, ...sceneOnly];
        refuse(command, only, 'is for built-in scenes, and --from is given');
        await simulateVideo(io, out, { ...options, from });
        return;
      }
      refuse(command, framesOnly, 'is for --from');
      const isRecording = await namesRecording(out);
      if (isRecording) {
        refuse(command, setOnly, 'is for sets, and OUT names one recording by its extension');
        await simulateOne(io, out, options);
      } else {
        const message =
          'is for one recording, and OUT names the folder of a set (a recording has the extension of a format)';
        refuse(command, recordingOnly, message);
        await simulateSet(io, out, options);
      }
    },
  );
};

async function namesRecording(out: string): Promise<boolean> {
  const extension = extensionOf(out);
  if (!formats.some(({ extensions }) => extensions.includes(extension))) return false;
  return !(await stat(out).catch(() => undefined))?.isDirectory();
}

/** An option of the other use would be ignored, so it is an error. */
function refuse(command: Command, names: readonly string[], message: string): void {
  const wrong = names.find((name) => command.getOptionValueSource(name) === 'cli');
  if (wrong !== undefined) throw new SaccadeError('usage', message, { field: `--${wrong}` });
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
      noise: options.noise,
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
  const { gesture, subject = 1, repetition = 1, seed, distractor, format, noise } = options;
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
    noise,
  });
  const watched = watch(batches, path, durationUs, io.signal, progress.update);
  const { events, bytes } = await writeRecording(path, watched, {
    sensor,
    format,
    signal: io.signal,
  }).finally(() => progress.done());
  const { width, height } = sensor;
  const scene = { sensor, durationUs, distractor, noise: { ...defaultSensorModel, ...noise } };
  await writeOrigin(path, { gesture, subject, repetition, seed, ...scene });
  if (options.json) {
    const made = { synthetic: true, file: path, gesture, subject, repetition, seed };
    printJson(io, { ...made, width, height, durationUs, events, bytes });
    return;
  }
  print(io, `${path}: synthetic ${gesture}, ${grouped(events)} events (${grouped(bytes)} bytes)`);
}

async function simulateVideo(io: CommandIo, path: string, options: FramesOptions): Promise<void> {
  const { from, fps: framesPerSecond, seed, format, noise, json } = options;
  const { signal } = io;
  await checkOutput(path, from);
  await checkOutput(originFile(path), from);
  const frames =
    from === standardStream
      ? await openY4m(io.stdin, 'standard input', signal)
      : await openFrames(from, { signal });
  const sensor = options.sensor ?? frames.size;
  const progress = createEventProgress({ label: 'simulate', silent: json, stream: io.stderr });
  let seen = 0;
  let durationUs = 0;
  const batches = simulateFrames({
    frames,
    framesPerSecond,
    sensor,
    noise,
    seed,
    signal,
    onFrame: (count, tUs) => {
      seen = count;
      durationUs = Math.round(tUs);
    },
  });
  const counted = async function* (): AsyncGenerator<EventBatch> {
    for await (const batch of batches) {
      progress.add(batch.length);
      yield batch;
    }
  };
  const { events, bytes } = await writeRecording(path, counted(), { sensor, format, signal })
    .catch((error: unknown) => {
      // The library has its own name for what is an option here.
      if (!(error instanceof SaccadeError) || error.place.field !== 'framesPerSecond') throw error;
      const message = 'does not say how many frames there are a second, so they must be given';
      throw new SaccadeError('usage', message, { file: from, field: '--fps' });
    })
    .finally(progress.done);
  const model = { ...defaultSensorModel, ...noise };
  const made = { from, frames: seen, framesPerSecond, seed, sensor, durationUs, noise: model };
  await writeOrigin(path, made);
  if (json) {
    const { width, height } = sensor;
    printJson(io, { synthetic: true, file: path, ...made, width, height, events, bytes });
    return;
  }
  const counts = `${grouped(events)} events of ${grouped(seen)} frames (${grouped(bytes)} bytes)`;
  print(io, `${path}: synthetic, ${counts}`);
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
