import { InvalidArgumentError } from 'commander';

import type { CacheEntry, Eviction } from '../../preprocess/cache/index.js';
import { cacheFolder } from '../cacheFolder.js';
import { cacheOption } from '../experimentOptions.js';
import { type CommandIo, grouped, listing, print, printJson, type RegisterCommand } from '../io.js';
import { examples, jsonOption } from '../options.js';

interface Options {
  readonly cache?: string;
  readonly json?: boolean;
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
  const cache = program.command('cache').summary('list, clear and limit the prepared clips');
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
};

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
