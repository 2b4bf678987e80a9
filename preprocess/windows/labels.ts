import type { EventWindow } from './window.js';

/** A stretch of a recording that shows one class. */
export interface LabelledInterval {
  readonly fromUs: number;
  /** First time that does not belong to it any more. */
  readonly toUs: number;
  readonly label: number;
}

export interface LabelPolicy {
  /** Least share of the window's duration that its label covers, 0 … 1; 0.5 where not given. */
  readonly minimumOverlap?: number;
}

/**
 * The label of a window by overlap: the class that covers the greatest part of its time, all intervals of a
 * class taken together; at a tie, the one whose interval begins first. Undefined where that class covers less
 * than `minimumOverlap` of the window, or nothing. Intervals of one class must not overlap one another.
 */
export function windowLabel(
  { startUs, endUs }: Pick<EventWindow, 'startUs' | 'endUs'>,
  intervals: readonly LabelledInterval[],
  { minimumOverlap = 0.5 }: LabelPolicy = {},
): number | undefined {
  const covered = new Map<number, number>();
  for (const { fromUs, toUs, label } of [...intervals].sort((a, b) => a.fromUs - b.fromUs)) {
    const overlapUs = Math.min(endUs, toUs) - Math.max(startUs, fromUs);
    if (overlapUs > 0) covered.set(label, (covered.get(label) ?? 0) + overlapUs);
  }
  let best: number | undefined;
  for (const [label, overlapUs] of covered) {
    if (best === undefined || overlapUs > covered.get(best)!) best = label;
  }
  const enough = best !== undefined && covered.get(best)! >= minimumOverlap * (endUs - startUs);
  return enough ? best : undefined;
}
