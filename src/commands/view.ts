import { basename } from 'node:path';
import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import { extensionOf } from '../../ingest/formats/index.js';
import type { PreviewWindow } from '../../preprocess/preview/index.js';
import { createWindowReport } from '../../preprocess/windows/index.js';
import { Option } from 'commander';
import { damageFields, openInput, standardStream, warnOfDamage } from '../input.js';
import { type CommandIo, grouped, note, print, printJson, type RegisterCommand } from '../io.js';
import {
  examples,
  formatOption,
  integerBetween,
  jsonOption,
  numberBetween,
  parseTimeUs,
  sensorOption,
} from '../options.js';
import { checkOutput } from '../output.js';

interface Options {
  readonly as: string;
  readonly window?: number;
  readonly count?: number;
  readonly stride?: number;
  readonly bins: number;
  readonly windows?: number;
  readonly from?: number;
  readonly to?: number;
  readonly columns?: number;
  readonly scale?: number;
  readonly full?: number;
  readonly flip: 'x' | 'y' | 'xy' | 'none';
  readonly speed: number;
  readonly format?: string;
  readonly sensor?: SensorSize;
  readonly json?: boolean;
}

/** Windows of a contact strip and of an animation, where not told otherwise. */
const defaultWindows = { png: 24, gif: 200, webp: 200 };
/** Pictures of usual sensors come out at about this width. */
const pictureWidth = 240;
/** Browsers show pictures for 20 ms or longer. */
const minDelayMs = 20;

export const registerView: RegisterCommand = (program, io) => {
  program
    .command('view')
    .summary('show a recording as a picture or an animation')
    .description(
      'Draws windows of a recording: as a contact strip (OUT ends in .png), spread over the whole recording, ' +
        'or as an animation (.webp, .gif), one after the other. Two polarities are red (ON) and blue (OFF), ' +
        'signed values lie on both sides of white. Row 0 is at the top; --flip y turns recordings whose ' +
        'row 0 is the lowest. With --json: {file, as, windows, bins, stride, width, height, full, cut, damageCount, damages, ' +
        'skipped}.',
    )
    .argument('<recording>', 'recording, or - for standard input')
    .argument(
      '[out]',
      'file to write: .png, .webp or .gif (default: RECORDING.png, in this folder)',
    )
    .option('--as <name>', 'representation', 'histogram')
    .addOption(
      new Option(
        '--window <µs>',
        'duration of a window (default: 50000, less in a short recording)',
      )
        .argParser(integerBetween(1, Number.MAX_SAFE_INTEGER))
        .conflicts('count'),
    )
    .option(
      '--count <events>',
      'events of a window, in place of a duration',
      integerBetween(1, 1e9),
    )
    .option(
      '--stride <µs|events>',
      'from one window to the next (default: spread over the recording; in an animation, the window)',
      integerBetween(1, Number.MAX_SAFE_INTEGER),
    )
    .option('--bins <N>', 'bins of each window, a picture each', integerBetween(1, 1000), 1)
    .option(
      '--windows <N>',
      `most windows (default: ${defaultWindows.png}, of an animation ${defaultWindows.gif})`,
      integerBetween(1, 100_000),
    )
    .option('--from <µs>', "first time that is shown, in the recording's own time", parseTimeUs)
    .option('--to <µs>', 'first time that is not shown any more', parseTimeUs)
    .option('--columns <N>', 'pictures in a row of the strip', integerBetween(1, 1000))
    .option(
      '--scale <k>',
      'size of a sensor pixel in the picture, for instance 2 or 0.5 (default: by the sensor)',
      numberBetween(0.01, 64),
    )
    .option(
      '--full <value>',
      'value of the full colour (default: that which 1 % of the values exceed)',
      numberBetween(1e-9, 1e9),
    )
    .addOption(
      new Option('--flip <axes>', 'what to mirror; unmirrored, row 0 is at the top')
        .choices(['x', 'y', 'xy', 'none'])
        .default('none'),
    )
    .option('--speed <k>', 'pace of an animation; 1 is real time', numberBetween(1e-6, 1e6), 1)
    .addOption(
      formatOption('--format <name>', 'format of the recording (default: told from its content)'),
    )
    .addOption(sensorOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        [
          'saccade view walk.aedat',
          'walk.aedat.png: 24 windows of 50 ms, over the whole recording',
        ],
        [
          'saccade view wave.es wave.png --as voxel --bins 5 --window 200000 --windows 6',
          'five bins of signed values for each of six windows',
        ],
        [
          'saccade view walk.aedat walk.webp --window 20000 --speed 0.5',
          'an animation, half as fast',
        ],
      ),
    )
    .action((file: string, out: string | undefined, options: Options) =>
      view(io, file, out ?? `${file === standardStream ? 'events' : basename(file)}.png`, options),
    );
};

async function view(
  io: CommandIo,
  file: string,
  out: string,
  { as: name, window: windowUs, count, bins, speed, json, ...options }: Options,
): Promise<void> {
  const { signal } = io;
  const kind = extensionOf(out);
  if (kind !== 'png' && kind !== 'gif' && kind !== 'webp') {
    const message = 'expected a name that ends in .png, .webp or .gif';
    throw new SaccadeError('usage', message, { file: out });
  }
  await checkOutput(out, file);
  const { parseRepresentation } = await import('../../preprocess/representations/index.js');
  const representation = parseRepresentation(name);
  const recording = await openInput(io, file, options);
  const { animation, colourScale, contactSheet, defaultWindowUs, drawBin, previewRecording } =
    await import('../../preprocess/preview/index.js');

  const { sensor } = recording;
  const { width, height, enlarge } = pictureSize(sensor, options.scale);
  const given: PreviewWindow | undefined =
    count !== undefined
      ? { kind: 'count', length: count }
      : windowUs !== undefined
        ? { kind: 'time', length: windowUs }
        : undefined;
  // A stream can be read only once.
  const spread = kind === 'png' && file !== standardStream;
  const report = createWindowReport();
  const { frames, shape, window, stride, cut } = await previewRecording(recording, {
    representation,
    window: given,
    stride: options.stride ?? (spread ? 'spread' : (given?.length ?? defaultWindowUs)),
    windows: options.windows ?? defaultWindows[kind],
    bins,
    width,
    height,
    read: { fromUs: options.from, toUs: options.to, signal },
    report,
  });

  const scale = colourScale(
    frames.map(({ values }) => values),
    shape,
    options.full,
  );
  const { flip } = options;
  const drawing = { enlarge, flipX: flip.includes('x'), flipY: flip.includes('y') };
  const firstUs = frames[0].startUs;
  const tiles = frames.map(({ startUs, events, values }) => ({
    picture: drawBin(values, shape, scale, drawing),
    caption: `${secondsText(startUs - firstUs)} · ${grouped(events)} events`,
  }));
  const unit = window.kind === 'time' ? 'µs' : 'events';
  const title =
    `${basename(recording.path)} · ${sensor.width}×${sensor.height} · ${name} of ` +
    `${grouped(window.length)} ${unit}${bins > 1 ? ` in ${bins} bins` : ''} · from ${firstUs} µs`;
  const delaysMs = frames.map(({ startUs, endUs }, i) => {
    const nextUs = frames[i + 1]?.startUs ?? endUs;
    return Math.max(minDelayMs, Math.round((nextUs - startUs) / 1e3 / speed));
  });
  const picture =
    kind === 'png'
      ? await contactSheet(tiles, { title, columns: options.columns ?? binColumns(bins), scale })
      : await animation(tiles, { format: kind, delaysMs });
  await writeFileAtomically(out, picture);

  const windows = frames.length / bins;
  if (json) {
    const { full } = scale;
    const made = { file: out, as: name, windows, bins, stride, width, height, full, cut };
    printJson(io, { ...made, ...damageFields(recording.report) });
  } else {
    const each = `${windows} windows of ${grouped(window.length)} ${unit}, one every ${grouped(stride)}`;
    print(io, `${out}: ${name}, ${each}`);
  }
  if (cut) note(io, `${file} goes on behind them; --windows, --stride, --from and --to show more`);
  if (report.lateEvents > 0) {
    note(io, `warning: ${grouped(report.lateEvents)} events came too late for their window`);
  }
  warnOfDamage(io, recording);
}

/** The bins of a window stand in one row. */
function binColumns(bins: number): number | undefined {
  return bins > 1 && bins <= 12 ? bins : undefined;
}

/** Large sensors are counted in larger pixels, small ones drawn with larger pixels. */
function pictureSize(
  { width, height }: SensorSize,
  given: number | undefined,
): SensorSize & { enlarge: number } {
  const fitting = pictureWidth / width;
  const scale =
    given ?? (fitting > 0.6 ? Math.max(1, Math.round(fitting)) : 1 / Math.floor(1 / fitting));
  if (scale >= 1) return { width, height, enlarge: Math.round(scale) };
  const scaled = (length: number): number => Math.max(1, Math.round(length * scale));
  return { width: scaled(width), height: scaled(height), enlarge: 1 };
}

function secondsText(us: number): string {
  return `${(us / 1e6).toFixed(us < 1e7 ? 3 : 2)} s`;
}
