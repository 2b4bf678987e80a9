import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { endianness } from 'node:os';
import { extname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import { SaccadeError } from '../../engine/support/errors.js';
import { openLabelled, type RecordingRange } from '../../ingest/datasets/index.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { type ReadOptions, type Recording, summarise } from '../../ingest/recording.js';
import { type EventFilter, filterStream } from '../filters/index.js';
import { createWindowReport, type WindowConfig, windowsOf } from '../windows/index.js';
import type { CacheHold } from './hold.js';
import { keptOrMade } from './kept.js';
import { openShard, type Shard, writeShard } from './shard.js';

export { type CacheHold, holdCache } from './hold.js';
export {
  type CacheEntry,
  cacheLimit,
  clearCache,
  enforceLimit,
  type Eviction,
  listCache,
  setCacheLimit,
} from './manage.js';
export { lazyShard, type Shard, type ShardReport } from './shard.js';
export { cachedTensors, lazyTensors, representationCall, type TensorShard } from './tensors.js';

/** Raised whenever the same source and settings give other windows. */
const cacheVersion = 2;

/** A recording, or a part of its time. */
export interface ClipSource {
  readonly path: string;
  /** Sensor size of a file that does not state it. */
  readonly sensor?: SensorSize;
  /** The part that is labelled, where the file holds several actions. */
  readonly range?: RecordingRange;
  /** Share of the duration (of the range's, where there is one), `[from, to)` in 0 … 1; all of it where not given. */
  readonly part?: readonly [from: number, to: number];
}

/** What is done to a recording before it is kept. */
export interface ClipPipeline {
  readonly filters: readonly EventFilter[];
  readonly window: WindowConfig;
}

/**
 * The windows of a recording, from the cache where they are there, otherwise made and kept. A shard's
 * name is a hash of the recording's bytes and of everything that decides over the windows, so a changed
 * file or setting can never give old ones. Several processes may share a cache: shards appear whole.
 *
 * @param folder of the cache; made where missing.
 * @param hold keeps the shard while it is in use, should the cache have a limit.
 * @returns the shard, and whether it was made now.
 * @throws SaccadeError of kind `input` where the recording cannot be read; damage inside it is only
 *   counted in the shard.
 */
export async function cachedWindows(
  folder: string,
  source: ClipSource,
  clipPipeline: ClipPipeline,
  { signal, hold }: { readonly signal?: AbortSignal; readonly hold?: CacheHold } = {},
): Promise<{ shard: Shard; made: boolean }> {
  const key = await shardKey(source, clipPipeline, signal);
  const path = join(folder, key.slice(0, 2), `${key}.shard`);
  const { kept, made } = await keptOrMade(path, openShard, hold, () =>
    makeShard(path, source, clipPipeline, signal),
  );
  return { shard: kept, made };
}

async function shardKey(
  { path, sensor, range, part }: ClipSource,
  { filters, window }: ClipPipeline,
  signal?: AbortSignal,
): Promise<string> {
  const description = {
    cacheVersion,
    endianness: endianness(),
    source: await hashFile(path, signal),
    // A few formats are told by it.
    extension: extname(path).toLowerCase(),
    sensor,
    range,
    part,
    filters: filters.map((filter) => filter.description),
    window: Object.entries(window).sort(([a], [b]) => (a < b ? -1 : 1)),
  };
  return createHash('sha256').update(JSON.stringify(description)).digest('hex');
}

async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path), hash, { signal });
  } catch (error) {
    if (signal?.aborted) throw new SaccadeError('interrupted', 'stopped on request', {}, error);
    const { code } = error as NodeJS.ErrnoException;
    throw new SaccadeError('input', `cannot read the recording (${code})`, { file: path }, error);
  }
  return hash.digest('hex');
}

async function makeShard(
  path: string,
  { path: file, sensor, range, part }: ClipSource,
  { filters, window }: ClipPipeline,
  signal?: AbortSignal,
): Promise<void> {
  const recording = await openLabelled({ path: file, range }, { sensor, signal });
  const interval = part === undefined ? {} : await intervalOf(recording, part, signal);
  const windowReport = createWindowReport();
  let events = 0;
  async function* counted(): AsyncGenerator<EventBatch> {
    for await (const batch of recording.batches({ ...interval, signal })) {
      events += batch.length;
      yield batch;
    }
  }
  const windows = windowsOf(filterStream(counted(), filters), window, windowReport);
  await writeShard(path, windows, () => {
    const { damageCount, skipped } = recording.report;
    return { events, lateEvents: windowReport.lateEvents, damageCount, skipped };
  });
}

/** The times that a share of a recording's duration begins and ends at. */
async function intervalOf(
  recording: Recording,
  [from, to]: readonly [number, number],
  signal?: AbortSignal,
): Promise<ReadOptions> {
  const { tFirstUs, tLastUs } = await summarise(recording, { signal });
  if (tFirstUs === null || tLastUs === null) return {};
  const at = (share: number): number => Math.round(tFirstUs + share * (tLastUs - tFirstUs));
  return { fromUs: from > 0 ? at(from) : undefined, toUs: to < 1 ? at(to) : undefined };
}
