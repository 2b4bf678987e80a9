import { deriveRecording } from '../derivedRecording.js';
import { type EventBatch, sliceBatch } from '../eventBatch.js';
import { openRecording, type OpenOptions, type ReadOptions, type Recording } from '../recording.js';
import type { LabelledRecording } from './dataset.js';

/** Opens a recording of a data set. Where the file holds several actions, its batches are those of the one that is labelled. */
export async function openLabelled(
  { path, range }: Pick<LabelledRecording, 'path' | 'range'>,
  options: OpenOptions = {},
): Promise<Recording> {
  const recording = await openRecording(path, options);
  if (range === undefined) return recording;
  return deriveRecording(recording, (read) => {
    if ('fromEvent' in range) return cutTime(pick(recording, range, read), read);
    const fromUs = Math.max(range.fromUs, read.fromUs ?? -Infinity);
    const toUs = Math.min(range.toUs, read.toUs ?? Infinity);
    return recording.batches({ ...read, fromUs, toUs });
  });
}

/** Events by their number in the file; nothing behind the last one is read. */
async function* pick(
  recording: Recording,
  { fromEvent, toEvent }: { readonly fromEvent: number; readonly toEvent: number },
  { batchLength, signal }: ReadOptions,
): AsyncGenerator<EventBatch> {
  let first = 0;
  for await (const batch of recording.batches({ batchLength, signal })) {
    const start = Math.max(0, fromEvent - first);
    const end = Math.min(batch.length, toEvent - first);
    if (start < end) yield sliceBatch(batch, start, end);
    first += batch.length;
    if (first >= toEvent) return;
  }
}

async function* cutTime(
  batches: AsyncIterable<EventBatch>,
  { fromUs = -Infinity, toUs = Infinity }: ReadOptions,
): AsyncGenerator<EventBatch> {
  for await (const batch of batches) {
    let start = 0;
    for (let i = 0; i <= batch.length; i++) {
      if (i < batch.length && batch.tUs[i] >= fromUs && batch.tUs[i] < toUs) continue;
      if (i > start) yield sliceBatch(batch, start, i);
      start = i + 1;
    }
  }
}
