import { closeSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { createBatch, type SensorSize } from '../../ingest/eventBatch.js';
import type { EventWindow } from '../windows/index.js';

/**
 * A shard is one file with the windows of one recording:
 *
 *     "SACSHARD"  8 bytes
 *     windows     one after the other: t float64, x uint16, y uint16, polarity uint8, padded to 8 bytes
 *     index       JSON, `ShardIndex`
 *     length      uint32, of the index in bytes
 *     "SACSHEND"  8 bytes: a file without it was not finished
 *
 * in the byte order of the machine that wrote it, which is a part of the cache's key.
 */
const startMark = 'SACSHARD';
const endMark = 'SACSHEND';
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
  await writeFileAtomically(path, encode(windows, report));
}

async function* encode(
  windows: AsyncIterable<EventWindow>,
  report: () => ShardReport,
): AsyncGenerator<Uint8Array> {
  const listed: ShardWindow[] = [];
  let offset = startMark.length;
  yield Buffer.from(startMark, 'latin1');
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
  const index: ShardIndex = { windows: listed, report: report() };
  const text = Buffer.from(JSON.stringify(index));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  yield Buffer.concat([text, length, Buffer.from(endMark, 'latin1')]);
}

function paddedLength(events: number): number {
  return Math.ceil((events * bytesPerEvent) / 8) * 8;
}

/** Opens a shard; undefined where there is none, or an unfinished or damaged one. */
export async function openShard(path: string): Promise<Shard | undefined> {
  const index = await readIndex(path);
  if (index === undefined) return undefined;
  const { windows, report } = index;
  return {
    ...report,
    path,
    length: windows.length,
    read: (position) => readWindow(path, windows[position]),
  };
}

async function readIndex(path: string): Promise<ShardIndex | undefined> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    const tailLength = 4 + endMark.length;
    if (size < startMark.length + tailLength) return undefined;
    const tail = Buffer.alloc(tailLength);
    await file.read(tail, 0, tailLength, size - tailLength);
    if (tail.toString('latin1', 4) !== endMark) return undefined;
    const length = tail.readUInt32LE(0);
    const start = size - tailLength - length;
    if (start < startMark.length) return undefined;
    const text = Buffer.alloc(length);
    await file.read(text, 0, length, start);
    const index = JSON.parse(text.toString()) as ShardIndex;
    const last = index.windows.at(-1);
    const end = last === undefined ? startMark.length : last.offset + paddedLength(last.length);
    return end === start ? index : undefined;
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

function readWindow(path: string, window: ShardWindow): EventWindow {
  const { index, startUs, endUs, sensor, length, offset } = window;
  const byteLength = length * bytesPerEvent;
  const bytes = new Uint8Array(byteLength);
  const file = openSync(path, 'r');
  try {
    if (readSync(file, bytes, 0, byteLength, offset) < byteLength) {
      throw new SaccadeError('input', 'the cached window was cut off; remove the file', {
        file: path,
        offset,
      });
    }
  } finally {
    closeSync(file);
  }
  const { buffer } = bytes;
  const events = createBatch(
    sensor,
    new Float64Array(buffer, 0, length),
    new Uint16Array(buffer, 8 * length, length),
    new Uint16Array(buffer, 10 * length, length),
    new Uint8Array(buffer, 12 * length, length),
  );
  return { index, startUs, endUs, events };
}
