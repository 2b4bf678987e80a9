import { BatchBuilder, type EventBatch } from '../../ingest/eventBatch.js';
import {
  createWindowReport,
  type EventWindow,
  type IncompletePolicy,
  spanOf,
  type WindowReport,
} from './window.js';

/** Windows of a fixed duration. */
export interface TimeWindowConfig {
  readonly kind: 'time';
  /** Duration, µs. */
  readonly windowUs: number;
  /** From one start to the next, µs; `windowUs` where not given. Smaller ones overlap, larger ones skip. */
  readonly strideUs?: number;
  readonly incomplete: IncompletePolicy;
}

/**
 * Window k has the events with `start + k · stride <= t < start + k · stride + window`, where `start` is
 * the first event's time. A window is closed by the first event at or after its end, so events whose
 * times step back inside an open window find their place; those that come too late are counted in the
 * report. The last window is incomplete where no event closed it. Memory holds the open windows only.
 */
export async function* timeWindows(
  batches: AsyncIterable<EventBatch>,
  { windowUs, strideUs = windowUs, incomplete }: TimeWindowConfig,
  report: WindowReport = createWindowReport(),
): AsyncGenerator<EventWindow> {
  let originUs: number | undefined;
  /** Open windows by index. All windows before `firstOpen` are closed. */
  const open = new Map<number, BatchBuilder>();
  let firstOpen = 0;
  const startOf = (index: number): number => originUs! + index * strideUs;
  const close = (index: number, builder: BatchBuilder): EventWindow => ({
    index,
    startUs: startOf(index),
    endUs: startOf(index) + windowUs,
    events: builder.take(),
  });

  for await (const batch of batches) {
    for (let i = 0; i < batch.length; i++) {
      const t = batch.tUs[i];
      originUs ??= t;
      const sinceUs = t - originUs;
      // The windows that hold t: from the first whose end lies after it to the last that has started.
      const first = Math.max(0, Math.floor((sinceUs - windowUs) / strideUs) + 1);
      const last = Math.floor(sinceUs / strideUs);
      if (first > firstOpen) {
        for (const index of [...open.keys()].sort((a, b) => a - b)) {
          if (index >= first) break;
          yield close(index, open.get(index)!);
          open.delete(index);
        }
        firstOpen = first;
      }
      // Between two windows (a stride longer than the window) an event belongs to none; that is no loss.
      if (last < firstOpen && (last >= first || last < 0)) report.lateEvents++;
      for (let index = Math.max(first, firstOpen); index <= last; index++) {
        let builder = open.get(index);
        if (builder === undefined) {
          builder = new BatchBuilder(batch.sensor, 4096);
          open.set(index, builder);
        }
        builder.push(t, batch.x[i], batch.y[i], batch.polarity[i]);
      }
    }
  }
  if (incomplete === 'drop') return;
  for (const index of [...open.keys()].sort((a, b) => a - b)) {
    const window = close(index, open.get(index)!);
    yield incomplete === 'pad' ? window : { ...window, endUs: spanOf(window.events).endUs };
  }
}
