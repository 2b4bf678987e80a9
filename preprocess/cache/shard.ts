import { SaccadeError } from '../../engine/support/errors.js';
import { createBatch, type SensorSize } from '../../ingest/eventBatch.js';
import type { EventWindow } from '../windows/index.js';
import { type FileMarks, firstOffset, readIndexed, readPart, writeIndexed } from './indexedFile.js';

/**
 * A shard is one file (`indexedFile.ts`) with the windows of one recording. Each part is a window: t float64,
 * x uint16, y uint16, polarity uint8, padded to 8 bytes.
 */
const marks: FileMarks = { start: 'SACSHARD', end: 'SACSHEND' };
const bytesPerEvent = 8 + 2 + 2 + 1;

interface ShardWindow {
  readonly index: number;
  readonly startUs: number;
  readonly endUs: number;
  readonly sensor: SensorSize;
  /** Number of events. */
  readonly length: number;
  /** Of its first byte in the file. */
  readonly offset: number;
}

/** What making a shard could not use. */
export interface ShardReport {
  /** Events that were read, before filters. */
  readonly events: number;
  readonly lateEvents: number;
  readonly damageCount: number;
  readonly skipped: Readonly<Record<string, number>>;
}

interface ShardIndex {
  readonly windows: readonly ShardWindow[];
  readonly report: ShardReport;
}

/** The windows of one recording, on disk. */
export interface Shard extends ShardReport {
  readonly path: string;
  /** Number of windows. */
  readonly length: number;
  /** Of the recording; undefined where there is no window. */
  readonly sensor?: SensorSize;
  /** Reads a window, `0 <= position < length`. */
  read(position: number): EventWindow;
}

/**
 * Writes a shard; the file appears whole or not at all.
 *
 * @param report asked for when all windows have been taken.
 */
export async function writeShard(
  path: string,
  windows: AsyncIterable<EventWindow>,
  report: () => ShardReport,
): Promise<void> {
  const listed: ShardWindow[] = [];
  const index = (): ShardIndex => ({ windows: listed, report: report() });
  await writeIndexed(path, marks, encode(windows, listed), index);
}

async function* encode(
  windows: AsyncIterable<EventWindow>,
  listed: ShardWindow[],
): AsyncGenerator<Uint8Array> {
  let offset = firstOffset;
  for await (const { index, startUs, endUs, events } of windows) {
    const { sensor, length, tUs, x, y, polarity } = events;
    const bytes = new Uint8Array(paddedLength(length));
    let at = 0;
    for (const { buffer, byteOffset, byteLength } of [tUs, x, y, polarity]) {
      bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
      at += byteLength;
    }
    yield bytes;
    listed.push({ index, startUs, endUs, sensor, length, offset });
    offset += bytes.length;
  }
}

function paddedLength(events: number): number {
  return Math.ceil((events * bytesPerEvent) / 8) * 8;
}

/** Opens a shard; undefined where there is none, or an unfinished or damaged one. */
export function openShard(path: string): Shard | undefined {
  const index = readIndexed<ShardIndex>(path, marks, ({ windows }) => {
    const last = windows.at(-1);
    return last === undefined ? firstOffset : last.offset + paddedLength(last.length);
  });
  if (index === undefined) return undefined;
  const { windows, report } = index;
  return {
    ...report,
    path,
    length: windows.length,
    sensor: windows.at(0)?.sensor,
    read: (position) => readWindow(path, windows[position]),
  };
}

/** A shard that is opened when it is first read from. */
export function lazyShard(path: string): Pick<Shard, 'path' | 'read'> {
  let shard: Shard | undefined;
  return {
    path,
    read(position) {
      shard ??= openShard(path);
      if (shard === undefined) {
        throw new SaccadeError('input', 'the cached windows are gone or damaged', { file: path });
      }
      return shard.read(position);
    },
  };
}

function readWindow(path: string, window: ShardWindow): EventWindow {
  const { index, startUs, endUs, sensor, length, offset } = window;
  const { buffer } = readPart(path, offset, length * bytesPerEvent);
  const events = createBatch(
    sensor,
    new Float64Array(buffer, 0, length),
    new Uint16Array(buffer, 8 * length, length),
    new Uint16Array(buffer, 10 * length, length),
    new Uint8Array(buffer, 12 * length, length),
  );
  return { index, startUs, endUs, events };
}
