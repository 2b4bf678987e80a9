import { Option } from 'commander';
import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../../ingest/bytes.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import {
  checkVariant,
  type EncodeOptions,
  type EventFormat,
  type RosMessageType,
  rosMessageTypes,
  type WrittenCompression,
  writtenCompressions,
} from '../../ingest/format.js';
import { formatByExtension, formats } from '../../ingest/formats/index.js';
import { writeRecording } from '../../ingest/recording.js';
import { type Address, sendEvents } from '../../ingest/sources/index.js';
import { createEventProgress } from '../eventProgress.js';
import {
  addressOf,
  damageFields,
  type InputOptions,
  listeningNote,
  openInput,
  warnOfDamage,
  workSignal,
} from '../input.js';
import { type CommandIo, grouped, note, print, printJson, type RegisterCommand } from '../io.js';
import {
  addressHelp,
  collected,
  examples,
  formatOption,
  jsonOption,
  type LayoutChoice,
  layoutInput,
  layoutOptions,
  parseTimeUs,
  sensorOption,
  sourceOptions,
} from '../options.js';
import { checkOutput, writeChunk } from '../output.js';

interface Options extends Omit<InputOptions, 'index'>, LayoutChoice {
  readonly from?: number;
  readonly to?: number;
  readonly filter?: readonly string[];
  readonly inFormat?: string;
  readonly compression?: WrittenCompression;
  readonly rosMessage?: RosMessageType;
  readonly variant?: string;
  readonly sort?: boolean;
  readonly strict?: boolean;
  readonly index?: boolean;
  readonly json?: boolean;
}

export const registerConvert: RegisterCommand = (program, io) => {
  const command = program
    .command('convert')
    .summary('write a recording in another format, cut or filtered')
    .description(
      'Copies the events of a recording, or of a live source, into another file or to a live sink, with bounded ' +
        'memory. A file appears whole or not at all; a file that is there is replaced, but never IN itself. An event ' +
        'that the format of OUT cannot hold is an error. Times that go back are kept and counted. With ' +
        '--json: {from, to, events: {read, filtered, written}, backwardSteps, bytes, damageCount, ' +
        'damages, skipped}, on standard error where OUT is -.',
    )
    .argument('<in>', 'recording, - for standard input, or an address')
    .argument('<out>', 'file to write, - for standard output, or an address')
    .option('--from <µs>', "first time to keep, in the recording's own time", parseTimeUs)
    .option('--to <µs>', 'first time not to keep any more', parseTimeUs)
    .option(
      '--filter <NAME:ARGS>',
      'drop or move events, after --from and --to; can be given several times, applied in order',
      collected,
    )
    .addOption(
      formatOption(
        '--format <name>',
        'format of OUT (default: by its extension; for -, that of IN)',
        { wire: true },
      ),
    )
    .addOption(
      formatOption('--in-format <name>', 'format of IN (default: told from its content)', {
        wire: true,
      }),
    )
    .addOption(
      new Option('--compression <method>', 'of OUT, for AEDAT 4.0 (default: none)').choices(
        writtenCompressions,
      ),
    )
    .addOption(
      new Option(
        '--ros-message <type>',
        'of OUT, for ROS bags: of dvs_msgs or of event_camera_msgs (default: EventArray)',
      ).choices(rosMessageTypes),
    )
    .option(
      '--variant <name>',
      `another layout of the format of OUT: ${variantsHelp()} (default: its usual one)`,
    )
    .addOption(sensorOption())
    .addOption(new Option('--sort', 'put the events in order of time').conflicts('strict'))
    .option('--strict', 'take a time that goes back for an error')
    .option(
      '--index',
      'with --from or --to: make IN.idx where there is none, which later calls use',
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade convert walk.aedat walk.es', 'formats by content and by extension'],
        [
          'saccade convert walk.aedat part.raw --from 41500000 --to 42000000 --filter refractory:1000',
          'half a second, and no pixel fires twice within 1 ms',
        ],
        [
          'zcat events.txt.gz | saccade convert - - --sensor 346x260 --format evt2 > out.raw',
          'a pipe',
        ],
        [
          "saccade convert walk.aedat 'tcp://127.0.0.1:7777?format=es' --speed 1",
          'plays a recording in real time to whoever listens there',
        ],
        [
          "saccade convert 'udp://0.0.0.0:3333?format=spif&sensor=346x260' walk.raw",
          'records a live camera until Ctrl-C; what was dropped is counted',
        ],
      ),
    )
    .addHelpText('after', addressHelp);
  for (const option of [...layoutOptions(), ...sourceOptions()]) command.addOption(option);
  command.action((input: string, output: string, options: Options) =>
    convert(io, input, output, options),
  );
};

const variantsHelp = (): string =>
  formats
    .filter(({ variants = [] }) => variants.length > 0)
    .map(({ name, variants }) => `${name}: ${variants!.join(', ')}`)
    .join('; ');

async function convert(
  io: CommandIo,
  input: string,
  output: string,
  options: Options,
): Promise<void> {
  // Mistakes are told before anything is read.
  const [{ convertEvents }, { parseFilter }] = await Promise.all([
    import('../../workers/convert.js'),
    import('../../preprocess/filters/index.js'),
  ]);
  const filters = (options.filter ?? []).map((text) => parseFilter(text));
  const target = await addressOf(output, { format: options.format });
  const toStream = target.scheme === 'stdio';
  if (target.scheme === 'file') await checkOutput(target.path, input);
  const byName =
    target.scheme === 'file' ? (): EventFormat => formatByExtension(target.path) : undefined;
  const format = target.format ?? byName?.();

  const { variant } = options;
  if (variant !== undefined) {
    if (target.scheme !== 'file' && !toStream) {
      throw new SaccadeError('usage', 'of files and standard output only', { field: '--variant' });
    }
    if (format !== undefined) checkVariant(format, variant);
  }

  const { speed, drop, queue } = options;
  const recording = await openInput(io, input, {
    ...layoutInput(options, options.inFormat),
    sensor: options.sensor,
    speed,
    drop,
    queue,
    index: options.index === true ? 'make' : 'use',
  });
  const order = options.sort ? 'sort' : options.strict ? 'strict' : 'keep';
  const progress = createEventProgress({
    label: 'convert',
    silent: options.json,
    stream: io.stderr,
  });
  const signal = workSignal(io, input);
  const { compression, rosMessage } = options;
  const sink = { ...target, format: format ?? recording.format, compression, rosMessage, variant };
  const { read, written, bytes } = await convertEvents(recording, {
    fromUs: options.from,
    toUs: options.to,
    order,
    filters,
    signal: io.signal,
    onRead: progress.add,
    write: (events, sensor) => write(io, sink, events, sensor, signal),
  }).finally(progress.done);

  const counts = { read, filtered: read - written, written };
  const document = {
    from: input,
    to: output,
    events: counts,
    backwardSteps: recording.backwardSteps,
    bytes,
    ...damageFields(recording.report),
  };
  const text =
    `${input} → ${output}: ${grouped(counts.read)} events read, ${grouped(counts.filtered)} ` +
    `filtered out, ${grouped(counts.written)} written (${grouped(bytes)} bytes)`;
  if (recording.backwardSteps > 0) {
    const done = options.sort
      ? 'events were sorted'
      : 'they were kept (--sort and --strict do not)';
    note(
      io,
      `warning: ${input}: time goes back ${grouped(recording.backwardSteps)} times; ${done}`,
    );
  }
  if (toStream) note(io, options.json ? JSON.stringify(document) : text);
  else if (options.json) printJson(io, document);
  else print(io, text);
  warnOfDamage(io, recording);
}

async function write(
  io: CommandIo,
  target: Address &
    Pick<EncodeOptions, 'compression' | 'rosMessage' | 'variant'> & {
      readonly format: EventFormat;
    },
  batches: AsyncIterable<EventBatch>,
  sensor: SensorSize,
  signal: AbortSignal,
): Promise<{ events: number; bytes: number }> {
  const { scheme, path, format, compression, rosMessage, variant } = target;
  if (scheme === 'file') {
    return writeRecording(path, batches, {
      sensor,
      format: format.name,
      compression,
      rosMessage,
      variant,
      signal,
    });
  }
  if (scheme !== 'stdio') {
    return sendEvents(target, batches, { sensor, signal, onListening: listeningNote(io, target) });
  }
  checkVariant(format, variant);
  const file = 'standard output';
  let events = 0;
  let bytes = 0;
  const counted = tap(batches, (batch) => (events += batch.length));
  for await (const chunk of format.encode(counted, {
    file,
    sensor,
    signal,
    compression,
    rosMessage,
    variant,
  })) {
    throwIfAborted(signal, file);
    await writeChunk(io.stdout, chunk, signal);
    bytes += chunk.length;
  }
  return { events, bytes };
}

async function* tap(
  batches: AsyncIterable<EventBatch>,
  look: (batch: EventBatch) => void,
): AsyncGenerator<EventBatch> {
  for await (const batch of batches) {
    look(batch);
    yield batch;
  }
}
