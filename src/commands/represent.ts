import { Option } from 'commander';

import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import { extensionOf } from '../../ingest/formats/index.js';
import { openRecording, type Recording } from '../../ingest/recording.js';
import { parseCall, signature } from '../../preprocess/arguments.js';
import {
  addToTokens,
  clipLength,
  type DenseArray,
  parseRepresentation,
  representations,
  representRecording,
  type SpikingPatches,
  startTokens,
  type StorageType,
  storageTypes,
  tokenFeatures,
  tokens,
} from '../../preprocess/representations/index.js';
import { damageFields, warnOfDamage } from '../input.js';
import { type CommandIo, print, printJson, type RegisterCommand } from '../io.js';
import {
  examples,
  formatOption,
  integerBetween,
  jsonOption,
  parseSize,
  sensorOption,
} from '../options.js';
import { checkOutput } from '../output.js';

/** Values of the largest tensor that is made: 1 GiB as float32. */
const maxValues = 2 ** 28;

interface Options {
  readonly as: string;
  readonly bins?: number;
  readonly store?: StorageType;
  readonly size?: { readonly height: number; readonly width: number };
  readonly format?: string;
  readonly sensor?: SensorSize;
  readonly json?: boolean;
}

const known = [...representations, tokens]
  .map((each) => `  ${signature(each)}\n      ${each.summary}`)
  .join('\n');

export const registerRepresent: RegisterCommand = (program, io) => {
  program
    .command('represent')
    .summary('turn a recording into a tensor (.npy)')
    .description(
      'Represents a whole recording in N bins of equal width over [first time, last time]; the last event ' +
        'lies in the last bin. The tensor is [N, channels, H, W], or [N, H, W] where there is one channel. ' +
        'Representations, called as NAME:ARGUMENTS:\n\n' +
        `${known}\n\n` +
        'tokens have no bins: they are [n, 3 + 2 · patch²], each the time since the first event in µs, ' +
        'column and row of its patch, and its counts by polarity, row and column.\n\n' +
        'Stored as f32 (float32), u8 (counts up to 255, shares of one times 255) or bits (eight to a byte ' +
        'along the rows, as NumPy’s packbits does), as far as the values allow.\n\n' +
        'With --json: {file, as, shape, dtype, store, damageCount, damages, skipped}.',
    )
    .argument('<file>', 'recording')
    .argument('<out.npy>', 'file to write')
    .requiredOption('--as <call>', 'representation')
    .option('--bins <N>', 'number of time bins; tokens need none', integerBetween(1, 65_536))
    .addOption(
      new Option(
        '--store <type>',
        'how values are stored (default: u8 where 0 or 1, else f32)',
      ).choices(['f32', 'u8', 'bits']),
    )
    .option(
      '--size <HEIGHTxWIDTH>',
      'rows and columns of the tensor, to which events are scaled (default: those of the sensor)',
      parseSize,
    )
    .addOption(formatOption('--format <name>', 'format of FILE (default: told from its content)'))
    .addOption(sensorOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        [
          'saccade represent wave.es wave.npy --as spikes --bins 12 --size 32x32 --store bits',
          'what a model reads, eight spikes to a byte',
        ],
        [
          'saccade represent walk.aedat walk.npy --as timeSurface:tauUs=30000 --bins 5',
          'time surfaces of the sensor’s size',
        ],
      ),
    )
    .action((file: string, out: string, options: Options) => represent(io, file, out, options));
};

async function represent(
  io: CommandIo,
  file: string,
  out: string,
  { as, store, bins, size, json, ...options }: Options,
): Promise<void> {
  const { signal } = io;
  if (extensionOf(out) !== 'npy') {
    throw new SaccadeError('usage', 'expected a name that ends in .npy', { file: out });
  }
  const make = maker(as, bins, store, size);
  await checkOutput(out, file);
  const recording = await openRecording(file, { ...options, signal });
  const tensor = await make(recording, signal);
  const { writeNpy } = await import('../../preprocess/npyFile.js');
  await writeNpy(out, tensor);

  const shape = [...tensor.shape];
  const dtype = tensor.data instanceof Uint8Array ? 'uint8' : 'float32';
  const stored = store ?? (dtype === 'uint8' ? 'u8' : 'f32');
  if (json) {
    const fields = { file: out, as, shape, dtype, store: stored };
    printJson(io, { ...fields, ...damageFields(recording.report) });
  } else {
    print(io, `${out}: ${as} ${stored === 'bits' ? 'bits in ' : ''}${dtype} [${shape.join(', ')}]`);
  }
  warnOfDamage(io, recording);
}

type Maker = (recording: Recording, signal?: AbortSignal) => Promise<DenseArray>;

/** What makes the tensor that is asked for. Complains of what is wrong before a file is opened. */
function maker(
  as: string,
  bins: number | undefined,
  store: StorageType | undefined,
  size: Options['size'],
): Maker {
  if (as.split(':', 1)[0].trim() === tokens.name) {
    const { value } = parseCall('representation', [tokens], as);
    for (const [field, given] of Object.entries({ '--bins': bins, '--size': size })) {
      if (given === undefined) continue;
      throw new SaccadeError('usage', 'tokens have none', { field });
    }
    if (store !== undefined && store !== 'f32') {
      throw new SaccadeError('usage', 'tokens are stored as f32', { field: '--store' });
    }
    return (recording, signal) => collectTokens(recording, value, signal);
  }
  const representation = named('--as', () => parseRepresentation(as));
  const ways = storageTypes(representation.values);
  if (store !== undefined && !ways.includes(store)) {
    const message = `${as} cannot be stored as ${store}, expected ${ways.join(' or ')}`;
    throw new SaccadeError('usage', message, { field: '--store' });
  }
  if (bins === undefined) {
    throw new SaccadeError('usage', 'is missing, expected a number of bins', { field: '--bins' });
  }
  return async (recording, signal) => {
    const { height, width } = size ?? recording.sensor;
    const values = clipLength(representation, { bins, height, width });
    if (values > maxValues) {
      const message = `${bins} bins of ${height}x${width} are ${values} values, expected at most ${maxValues}`;
      throw new SaccadeError('usage', message, { field: '--bins' });
    }
    return representRecording(recording, { representation, store, bins, height, width, signal });
  };
}

/** What `read` gives, with the option named in its complaint. */
function named<T>(field: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SaccadeError)) throw error;
    throw new SaccadeError(error.kind, error.message, { field }, error);
  }
}

async function collectTokens(
  recording: Recording,
  settings: SpikingPatches,
  signal?: AbortSignal,
): Promise<DenseArray> {
  const state = startTokens(settings, recording.sensor);
  const parts: Float32Array[] = [];
  let length = 0;
  for await (const batch of recording.batches({ signal, reuse: true })) {
    const part = addToTokens(state, batch);
    length += part.length;
    if (length > maxValues) {
      const message = `more than ${maxValues} values, expected fewer: raise the threshold`;
      throw new SaccadeError('usage', message, { field: '--as' });
    }
    parts.push(part);
  }
  const data = new Float32Array(length);
  let next = 0;
  for (const part of parts) {
    data.set(part, next);
    next += part.length;
  }
  const features = tokenFeatures(settings);
  return { shape: [length / features, features], data };
}
