import type { EventBatch } from '../../ingest/eventBatch.js';
import { openedWindows } from './openedWindows.js';
import type { EventWindow, IncompletePolicy } from './window.js';

/** Windows that end after a time or a number of events, whichever comes first. */
export interface TimeOrCountWindowConfig {
  readonly kind: 'timeOrCount';
  /** Longest duration, µs. */
  readonly windowUs: number;
  /** Most events in a window. */
  readonly count: number;
  /** The next window opens so many µs after the start of the last one, `windowUs` where not given … */
  readonly strideUs?: number;
  /** … or so many events after its first one, `count` where not given, whichever comes first. */
  readonly stride?: number;
  readonly incomplete: IncompletePolicy;
}

/**
 * Short windows where much happens, and never longer ones than `windowUs` where little does. See
 * `openedWindows`; without strides, no event is in two windows, and all are in one.
 */
export function timeOrCountWindows(
  batches: AsyncIterable<EventBatch>,
  {
    windowUs,
    count,
    strideUs = windowUs,
    stride = count,
    incomplete,
  }: Omit<TimeOrCountWindowConfig, 'kind'>,
): AsyncGenerator<EventWindow> {
  const reach = { durationUs: windowUs, count, strideUs, stride };
  return openedWindows(batches, () => reach, incomplete);
}
