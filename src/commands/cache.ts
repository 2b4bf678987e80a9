import { InvalidArgumentError, Option } from 'commander';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { extensionOf } from '../../ingest/formats/index.js';
import type { CacheEntry, Eviction } from '../../preprocess/cache/index.js';
import { cacheFolder } from '../cacheFolder.js';
import { cacheOption, dataOption, seedOption } from '../experimentOptions.js';
import { type CommandIo, grouped, listing, print, printJson, type RegisterCommand } from '../io.js';
import { examples, integerBetween, jsonOption } from '../options.js';
import { checkOutput } from '../output.js';
import { prepareExperiment, type PrepareOptions } from '../preparedExperiment.js';

interface Options {
  readonly cache?: string;
  readonly json?: boolean;
}

interface SheetOptions extends PrepareOptions {
  readonly part: 'train' | 'validation' | 'test';
  readonly clips: number;
  readonly augmented?: boolean;
}

const units: readonly string[] = ['B', 'kB', 'MB', 'GB', 'TB'];

/** A number of bytes with a unit, powers of 1000: 500MB, 20GB; undefined for `none`. */
function parseBytes(text: string): number | undefined {
  if (text === 'none') return undefined;
  const match = /^(\d+(?:\.\d+)?)(B|kB|MB|GB|TB)?$/i.exec(text.trim());
  if (match === null)
    throw new InvalidArgumentError('Expected a size such as 500MB or 20GB, or none.');
  const unit = (match[2] ?? 'B').toLowerCase();
  const power = units.findIndex((known) => known.toLowerCase() === unit);
  return Math.round(Number(match[1]) * 1000 ** power);
}

function bytesText(bytes: number): string {
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3));
  return power === 0 ? `${bytes} B` : `${(bytes / 1000 ** power).toFixed(1)} ${units[power]}`;
}

export const registerCache: RegisterCommand = (program, io) => {
  const cache = program.command('cache').summary('list, draw, clear and limit the prepared clips');
  const folderOf = ({ cache: named }: Options): string => named ?? cacheFolder(io.env);

  cache
    .command('list')
    .summary('say what the cache holds')
    .description(
      'Counts what is kept: windows of recordings, and their tensors. With --json: {folder, limit (bytes or ' +
        'null), bytes, windows, tensors, inUse, files: [{path, kind, bytes, usedMs, inUse}]}, the file that was ' +
        'used longest ago first.',
    )
    .addOption(cacheOption())
    .addOption(jsonOption())
    .addHelpText('after', examples(['saccade cache list', 'how much there is']))
    .action(async (options: Options) => {
      const { cacheLimit, listCache } = await import('../../preprocess/cache/index.js');
      const folder = folderOf(options);
      const files = await listCache(folder);
      const limit = (await cacheLimit(folder)) ?? null;
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      const count = (wanted: (file: CacheEntry) => boolean): number => files.filter(wanted).length;
      const windows = count(({ kind }) => kind === 'windows');
      const tensors = count(({ kind }) => kind === 'tensors');
      const inUse = count((file) => file.inUse);
      if (options.json) {
        printJson(io, { folder, limit, bytes, windows, tensors, inUse, files });
        return;
      }
      const rows: [string, string][] = [
        ['folder', folder],
        ['recordings', grouped(windows)],
        ['with tensors', grouped(tensors)],
        ['in use', grouped(inUse)],
        ['size', bytesText(bytes)],
        ['limit', limit === null ? 'none' : bytesText(limit)],
      ];
      print(io, ...listing(rows));
    });

  cache
    .command('clear')
    .summary('remove all that no process uses')
    .description(
      'Removes everything that no process uses; it is made anew when it is needed. With --json: {removed, ' +
        'removedBytes, bytes}.',
    )
    .addOption(cacheOption())
    .addOption(jsonOption())
    .addHelpText('after', examples(['saccade cache clear', 'start over']))
    .action(async (options: Options) => {
      const { clearCache } = await import('../../preprocess/cache/index.js');
      reportEviction(io, await clearCache(folderOf(options)), options);
    });

  cache
    .command('limit')
    .summary('set the most that the cache may hold')
    .description(
      'Sets the size that the cache is kept to by every command, and removes at once what is too much: the ' +
        'clips that were used longest ago, never those that a process uses. With --json: {removed, ' +
        'removedBytes, bytes}.',
    )
    .argument('<size>', 'such as 500MB or 20GB; none for no limit', parseBytes)
    .addOption(cacheOption())
    .addOption(jsonOption())
    .addHelpText('after', examples(['saccade cache limit 20GB', 'from now on']))
    .action(async (size: number | undefined, options: Options) => {
      const { setCacheLimit } = await import('../../preprocess/cache/index.js');
      reportEviction(io, await setCacheLimit(folderOf(options), size), options);
    });

  cache
    .command('sheet')
    .summary('draw clips of an experiment as its model reads them')
    .description(
      'Draws a contact sheet of clips, a row for each, bin by bin; clips that are not in the cache are prepared ' +
        'first. With --json: {file, part, clips, augmented}.',
    )
    .argument('<config>', 'experiment, a YAML file')
    .argument('<out.png>', 'file to write')
    .addOption(
      new Option('--part <name>', 'part of the data set')
        .choices(['train', 'validation', 'test'])
        .default('train'),
    )
    .option('--clips <N>', 'most clips, spread over the part', integerBetween(1, 1000), 12)
    .option('--augmented', 'as in the first epoch of training')
    .addOption(dataOption())
    .addOption(seedOption())
    .addOption(cacheOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples([
        'saccade cache sheet configs/gestures.yaml clips.png --augmented',
        'what it learns from',
      ]),
    )
    .action((config: string, out: string, options: SheetOptions) =>
      sheet(io, config, out, options),
    );
};

async function sheet(
  io: CommandIo,
  config: string,
  out: string,
  { part, clips: most, augmented = false, ...options }: SheetOptions,
): Promise<void> {
  const { json } = options;
  if (extensionOf(out) !== 'png') {
    throw new SaccadeError('usage', 'expected a name that ends in .png', { file: out });
  }
  await checkOutput(out, config);
  const { clipSheet } = await import('../../workers/clipSheet.js');
  const { experiment, prepared } = await prepareExperiment(io, config, options);
  try {
    const { png, clips } = await clipSheet(experiment, prepared, { part, clips: most, augmented });
    await writeFileAtomically(out, png);
    if (json) printJson(io, { file: out, part, clips, augmented });
    else print(io, `${out}: ${grouped(clips)} clips of ${part}`);
  } finally {
    await prepared.release();
  }
}

function reportEviction(io: CommandIo, eviction: Eviction, { json }: Options): void {
  const { removed, removedBytes, bytes } = eviction;
  if (json) printJson(io, eviction);
  else {
    print(
      io,
      `${grouped(removed)} files removed (${bytesText(removedBytes)}), ${bytesText(bytes)} left`,
    );
  }
}
