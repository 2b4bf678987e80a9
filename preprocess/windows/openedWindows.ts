import { BatchBuilder, type EventBatch } from '../../ingest/eventBatch.js';
import { type EventWindow, type IncompletePolicy, spanOf } from './window.js';

/** How far a window reaches that an event opens, and where the next one opens. */
export interface WindowReach {
  /** From the opening event's time on, µs; also the duration of a padded window. */
  readonly durationUs: number;
  /** Most events; Infinity where only time counts. */
  readonly count: number;
  /** The next window is opened by the first event that is so many µs … */
  readonly strideUs: number;
  /** … or so many events away from the opening one. */
  readonly stride: number;
}

interface OpenWindow extends WindowReach {
  readonly index: number;
  readonly openedUs: number;
  /** Number of the opening event in the stream. */
  readonly openedBy: number;
  readonly builder: BatchBuilder;
  /** Set as soon as it takes no more events. */
  closed?: EventWindow;
}

/**
 * Windows that an event opens: silence makes none. A window takes events in stored order until it has
 * `count` of them, and then ends 1 µs after the latest, or until one is `durationUs` away from the opening
 * one, and then lasts `durationUs`. The distance counts in either direction, so that a clock that restarts
 * leaves no window open. Memory holds the open windows only.
 *
 * @param reachOf asked for every event in order; its answer counts where the event opens a window.
 */
export async function* openedWindows(
  batches: AsyncIterable<EventBatch>,
  reachOf: (tUs: number) => WindowReach,
  incomplete: IncompletePolicy,
): AsyncGenerator<EventWindow> {
  const open: OpenWindow[] = [];
  let latest: OpenWindow | undefined;
  let event = 0;

  for await (const batch of batches) {
    for (let i = 0; i < batch.length; i++, event++) {
      const t = batch.tUs[i];
      const reach = reachOf(t);
      for (const window of open) {
        if (Math.abs(t - window.openedUs) >= window.durationUs) close(window, 'whole');
      }
      const opens =
        latest === undefined ||
        event - latest.openedBy >= latest.stride ||
        Math.abs(t - latest.openedUs) >= latest.strideUs;
      if (opens) {
        const index: number = latest === undefined ? 0 : latest.index + 1;
        const builder = new BatchBuilder(batch.sensor, 4096);
        latest = { ...reach, index, openedUs: t, openedBy: event, builder };
        open.push(latest);
      }
      for (const window of open) {
        if (window.closed !== undefined) continue;
        window.builder.push(t, batch.x[i], batch.y[i], batch.polarity[i]);
        if (window.builder.length === window.count) close(window, 'cut');
      }
      while (open.length > 0 && open[0].closed !== undefined) yield open.shift()!.closed!;
    }
  }
  for (const window of open) {
    if (window.closed === undefined && incomplete === 'drop') continue;
    close(window, incomplete === 'pad' ? 'whole' : 'cut');
    yield window.closed!;
  }
}

/** Ends a window that is still open, after its duration or with its latest event. */
function close(window: OpenWindow, end: 'whole' | 'cut'): void {
  if (window.closed !== undefined) return;
  const { index, openedUs, durationUs, builder } = window;
  const events = builder.take();
  const span = spanOf(events);
  const endUs = end === 'whole' ? openedUs + durationUs : span.endUs;
  window.closed = { index, startUs: span.startUs, endUs, events };
}
