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

/** What to do with the last window where the recording ends inside it. */
export type IncompletePolicy = 'keep' | 'drop';

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
