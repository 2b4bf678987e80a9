import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import { extensionOf } from '../../ingest/formats/index.js';
import { openRecording } from '../../ingest/recording.js';
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
import { Option } from 'commander';

const kinds = ['histogram', 'voxel', 'spikes'] as const;

/** Values of the largest tensor that is made: 1 GiB as float32. */
const maxValues = 2 ** 28;

interface Options {
  readonly as: (typeof kinds)[number];
  readonly bins: number;
  readonly size?: { readonly height: number; readonly width: number };
  readonly format?: string;
  readonly sensor?: SensorSize;
  readonly json?: boolean;
}

export const registerRepresent: RegisterCommand = (program, io) => {
  program
    .command('represent')
    .summary('turn a recording into a tensor (.npy)')
    .description(
      'Counts the events of a whole recording in N bins of equal width over [first time, last time]; the ' +
        'last event lies in the last bin.\n\n' +
        '  histogram  float32 [N, 2, H, W], counts; channel 0 is OFF, 1 is ON\n' +
        '  spikes     uint8 [N, 2, H, W], 1 where the count is positive\n' +
        '  voxel      float32 [N, H, W], polarity ±1 spread bilinearly over time,\n' +
        '             t* = (N - 1) (t - first) / (last - first) (Zhu et al., CVPR 2019)\n\n' +
        'With --json: {file, as, shape, dtype, damageCount, damages, skipped}.',
    )
    .argument('<file>', 'recording')
    .argument('<out.npy>', 'file to write')
    .addOption(new Option('--as <kind>', 'representation').choices(kinds).makeOptionMandatory())
    .requiredOption('--bins <N>', 'number of time bins', integerBetween(1, 65_536))
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
          'saccade represent wave.es wave.npy --as spikes --bins 12 --size 32x32',
          'what a model reads',
        ],
        [
          'saccade represent walk.aedat walk.npy --as voxel --bins 5',
          'a voxel grid of the sensor’s size',
        ],
      ),
    )
    .action((file: string, out: string, options: Options) => represent(io, file, out, options));
};

async function represent(
  io: CommandIo,
  file: string,
  out: string,
  { as: kind, bins, size, json, ...options }: Options,
): Promise<void> {
  const { signal } = io;
  if (extensionOf(out) !== 'npy') {
    throw new SaccadeError('usage', 'expected a name that ends in .npy', { file: out });
  }
  await checkOutput(out, file);
  const recording = await openRecording(file, { ...options, signal });
  const { height, width } = size ?? recording.sensor;
  const values = bins * (kind === 'voxel' ? 1 : 2) * height * width;
  if (values > maxValues) {
    const message = `${bins} bins of ${height}x${width} are ${values} values, expected at most ${maxValues}`;
    throw new SaccadeError('usage', message, { field: '--bins' });
  }
  const [{ representRecording }, { writeNpy }] = await Promise.all([
    import('../../preprocess/representations/index.js'),
    import('../../preprocess/npyFile.js'),
  ]);
  const tensor = await representRecording(recording, { kind, bins, height, width, signal });
  await writeNpy(out, tensor);

  const shape = [...tensor.shape];
  const dtype = kind === 'spikes' ? 'uint8' : 'float32';
  if (json) {
    printJson(io, { file: out, as: kind, shape, dtype, ...damageFields(recording.report) });
  } else {
    print(io, `${out}: ${kind} ${dtype} [${shape.join(', ')}]`);
  }
  warnOfDamage(io, recording);
}
