import { readdir, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';

import { type EventBatch, sliceBatch } from '../../ingest/eventBatch.js';
import { extensionOf, formats } from '../../ingest/formats/index.js';
import { openRecording, type Recording } from '../../ingest/recording.js';
import { replay } from '../../ingest/sources/index.js';
import { ServiceError } from './errors.js';
import type { ReplaySource } from './messages.js';
import type { EventSource } from './session.js';

/** Entries of a folder that are looked at, at most. */
const mostEntries = 10_000;

const extensions = new Set(formats.flatMap((format) => format.extensions));

/**
 * The real path of what a client names inside a folder. Names that lead out of it, by dots, links or as absolute ones,
 * are refused as if there were nothing.
 */
export async function pathInside(folder: string, name: string): Promise<string> {
  const missing = new ServiceError('missing', `no such file: ${name}`);
  if (name === '' || name.includes('\0') || isAbsolute(name)) throw missing;
  const root = await realpath(folder);
  const path = await realpath(resolve(root, name)).catch(() => {
    throw missing;
  });
  if (!path.startsWith(root.endsWith(sep) ? root : root + sep)) throw missing;
  return path;
}

/** The recordings below a folder. Links are not followed. */
export async function listRecordings(
  folder: string,
): Promise<{ recordings: { file: string; bytes: number }[]; truncated: boolean }> {
  const recordings: { file: string; bytes: number }[] = [];
  let left = mostEntries;
  const visit = async (path: string): Promise<void> => {
    const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (left-- <= 0) return;
      const child = join(path, entry.name);
      if (entry.isDirectory()) await visit(child);
      else if (entry.isFile() && extensions.has(extensionOf(child))) {
        const info = await stat(child).catch(() => undefined);
        const file = relative(folder, child).split(sep).join('/');
        if (info !== undefined) recordings.push({ file, bytes: info.size });
      }
    }
  };
  await visit(folder);
  return { recordings, truncated: left <= 0 };
}

/**
 * A recording at its own pace as the source of a stream.
 *
 * @param skip events that the stream has had.
 */
export async function openReplay(
  folder: string,
  { file, speed, loop }: ReplaySource,
  skip: number,
): Promise<EventSource> {
  const recording = await openRecording(await pathInside(folder, file));
  return {
    kind: 'replay',
    from: file,
    sensor: recording.sensor,
    get report() {
      return recording.report;
    },
    waits: true,
    isEnd: () => true,
    batches: (signal) =>
      replay(without(skip, loop ? repeated(recording, signal) : recording.batches({ signal })), {
        speed,
        signal,
        file,
      }),
  };
}

/** The recording again and again; the time goes on. */
async function* repeated(recording: Recording, signal: AbortSignal): AsyncGenerator<EventBatch> {
  let shiftUs = 0;
  for (;;) {
    let [firstUs, lastUs] = [Infinity, -Infinity];
    for await (const batch of recording.batches({ signal })) {
      const tUs = batch.tUs.map((t) => t + shiftUs);
      if (batch.length > 0) {
        firstUs = Math.min(firstUs, batch.tUs[0]);
        lastUs = Math.max(lastUs, batch.tUs[batch.length - 1]);
      }
      yield { ...batch, tUs };
    }
    if (lastUs < firstUs) return;
    shiftUs += lastUs - firstUs + 1;
  }
}

/** The batches behind the first `count` events. */
async function* without(
  count: number,
  batches: AsyncIterable<EventBatch>,
): AsyncGenerator<EventBatch> {
  let left = count;
  for await (const batch of batches) {
    const skipped = Math.min(left, batch.length);
    left -= skipped;
    if (skipped < batch.length) yield sliceBatch(batch, skipped, batch.length);
  }
}
