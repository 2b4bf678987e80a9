import { concatBatches, type EventBatch, sliceBatch } from '../../ingest/eventBatch.js';
import { type EventWindow, type IncompletePolicy, spanOf } from './window.js';

/** Windows of a fixed number of events. */
export interface CountWindowConfig {
  readonly kind: 'count';
  /** Events in a window. */
  readonly count: number;
  /** Events from one start to the next; `count` where not given. */
  readonly stride?: number;
  /** These windows have no duration that could be padded to. */
  readonly incomplete: Exclude<IncompletePolicy, 'pad'>;
}

/**
 * Window k has the events k · stride to k · stride + count - 1, in stored order. It lasts from its
 * earliest event to 1 µs after its latest. Memory holds about one window and one batch.
 */
export async function* countWindows(
  batches: AsyncIterable<EventBatch>,
  { count, stride = count, incomplete }: CountWindowConfig,
): AsyncGenerator<EventWindow> {
  let pending: EventBatch[] = [];
  let held = 0;
  let index = 0;
  /** Events to pass over before the next window: a stride longer than the window. */
  let skip = 0;

  for await (const batch of batches) {
    pending.push(batch);
    held += batch.length;
    if (held < skip + count) continue;
    const all = concatBatches(pending);
    let at = skip;
    for (; at + count <= all.length; at += stride) {
      yield windowOf(index++, sliceBatch(all, at, at + count));
    }
    skip = Math.max(0, at - all.length);
    pending = at < all.length ? [sliceBatch(all, at, all.length)] : [];
    held = pending.length > 0 ? pending[0].length : 0;
  }
  if (incomplete === 'drop' || held <= skip) return;
  const rest = concatBatches(pending);
  yield windowOf(index, sliceBatch(rest, skip, rest.length));
}

function windowOf(index: number, events: EventBatch): EventWindow {
  return { index, ...spanOf(events), events };
}
