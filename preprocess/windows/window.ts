import type { EventBatch } from '../../ingest/eventBatch.js';

/** A stretch of a recording: the unit that models see. */
export interface EventWindow {
  /** Number of the window in its recording, from 0; windows without events are not made but counted. */
  readonly index: number;
  /** First time that belongs to it, µs. */
  readonly startUs: number;
  /** First time that does not belong to it any more, µs. */
  readonly endUs: number;
  /** Its events in stored order, all with `startUs <= t < endUs`. */
  readonly events: EventBatch;
}

/**
 * What to do with a window that the recording ends inside: `drop` it, `keep` it as it is, so that it ends
 * 1 µs after its latest event, or `pad` it with silence to the duration of a complete one.
 */
export type IncompletePolicy = 'keep' | 'drop' | 'pad';

/** The time from the earliest to 1 µs after the latest of a window's events; there is at least one. */
export function spanOf({ length, tUs }: EventBatch): { startUs: number; endUs: number } {
  let startUs = Infinity;
  let endUs = -Infinity;
  for (let i = 0; i < length; i++) {
    startUs = Math.min(startUs, tUs[i]);
    endUs = Math.max(endUs, tUs[i] + 1);
  }
  return { startUs, endUs };
}

/** What windowing could not use; filled in while it runs. */
export interface WindowReport {
  /**
   * Events that came after their window was closed, since their time steps back by more than the window
   * has room for. They are in no window.
   */
  lateEvents: number;
}

export function createWindowReport(): WindowReport {
  return { lateEvents: 0 };
}
