import type { EventBatch } from '../../ingest/eventBatch.js';
import { openedWindows } from './openedWindows.js';
import type { EventWindow, IncompletePolicy } from './window.js';

/** Windows whose duration follows the rate of events. */
export interface RateWindowConfig {
  readonly kind: 'rate';
  /** Events that a window should have. */
  readonly events: number;
  /** Least and greatest duration, µs. */
  readonly minimumUs: number;
  readonly maximumUs: number;
  /** Time over which the rate is averaged, τ, µs; `maximumUs` where not given. */
  readonly timeConstantUs?: number;
  /** Share of a window that the next one repeats, 0 … 0.9; 0 where not given. */
  readonly overlap?: number;
  readonly incomplete: IncompletePolicy;
}

/**
 * Windows with about the same number of events, though each has a duration that is known when it opens. The
 * rate is an exponential average over the past: each event makes of the level L
 *
 *     L ← L · exp(-Δt / τ) + 1,   rate = L / τ
 *
 * with Δt the time since the event before (0 where time steps back), and L = 0 at first. A window that opens
 * at an event lasts `events / rate`, rounded, and at least `minimumUs`, at most `maximumUs`: so the first
 * window of a recording and the first after a silence are long. See `openedWindows`.
 */
export function rateWindows(
  batches: AsyncIterable<EventBatch>,
  {
    events,
    minimumUs,
    maximumUs,
    timeConstantUs = maximumUs,
    overlap = 0,
    incomplete,
  }: Omit<RateWindowConfig, 'kind'>,
): AsyncGenerator<EventWindow> {
  let level = 0;
  let lastUs = 0;
  return openedWindows(
    batches,
    (tUs) => {
      const sinceUs = level === 0 ? 0 : Math.max(0, tUs - lastUs);
      level = level * Math.exp(-sinceUs / timeConstantUs) + 1;
      lastUs = tUs;
      const wantedUs = Math.round((events * timeConstantUs) / level);
      const durationUs = Math.min(Math.max(wantedUs, minimumUs), maximumUs);
      const strideUs = Math.max(1, Math.round(durationUs * (1 - overlap)));
      return { durationUs, count: Infinity, strideUs, stride: Infinity };
    },
    incomplete,
  );
}
