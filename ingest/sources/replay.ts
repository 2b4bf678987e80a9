import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../bytes.js';
import { type EventBatch, sliceBatch } from '../eventBatch.js';

/** Longest time that is handed out at once, µs of the recording. */
const sliceUs = 10_000;

export interface ReplayOptions {
  /** Times the real speed. Default 1. */
  readonly speed?: number;
  readonly signal?: AbortSignal;
  /** Name of the recording, for error messages. */
  readonly file?: string;
}

/**
 * The same events at the pace at which they were recorded: in slices of 10 ms, each when its last event is due since
 * the first slice was asked for. Where the consumer is slow, slices come late and none is left out; events
 * that step back in time come with those in front of them.
 */
export async function* replay(
  batches: AsyncIterable<EventBatch>,
  { speed = 1, signal, file = 'replay' }: ReplayOptions = {},
): AsyncGenerator<EventBatch> {
  const startMs = performance.now();
  let firstUs: number | undefined;
  for await (const batch of batches) {
    let start = 0;
    while (start < batch.length) {
      firstUs ??= batch.tUs[start];
      const untilUs = batch.tUs[start] + sliceUs;
      let end = start + 1;
      while (end < batch.length && batch.tUs[end] < untilUs) end++;
      const dueMs = startMs + (batch.tUs[end - 1] - firstUs) / 1e3 / speed;
      await waitUntil(dueMs, signal, file);
      yield sliceBatch(batch, start, end);
      start = end;
    }
  }
}

async function waitUntil(
  dueMs: number,
  signal: AbortSignal | undefined,
  file: string,
): Promise<void> {
  throwIfAborted(signal, file);
  const leftMs = dueMs - performance.now();
  if (leftMs < 1) return;
  // Timers hold 2^31 ms at most.
  const partMs = Math.min(leftMs, 2 ** 30);
  await sleep(partMs, undefined, { signal }).catch(() => throwIfAborted(signal, file));
  if (partMs < leftMs) await waitUntil(dueMs, signal, file);
}
