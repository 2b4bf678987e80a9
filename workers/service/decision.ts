import { argMax } from '../../models/evaluation/evaluate.js';
import type { DecisionOptions } from './messages.js';

/** How far a clip's decision is. Plain data. */
export interface DecisionState {
  /** Exponentially weighted probabilities by class. */
  readonly smoothed: readonly number[];
  /** Bins in a row, up to the last, in which one class was confident; and that class. */
  readonly streak: number;
  readonly candidate: number;
  readonly decided:
    { readonly class: number; readonly bin: number; readonly confidence: number } | undefined;
}

/**
 * Takes the probabilities of one more bin: `s ← a p + (1 - a) s`, beginning with the first bin's. As soon as a
 * class has kept a smoothed probability of `confidence` for `patience` bins in a row, the clip is decided; what
 * comes later does not change it.
 *
 * @param before undefined at the start of a clip.
 */
export function decide(
  before: DecisionState | undefined,
  probabilities: ArrayLike<number>,
  bin: number,
  { smoothing, confidence, patience }: DecisionOptions,
): DecisionState {
  const smoothed = Array.from(probabilities, (p, c) =>
    before === undefined ? p : smoothing * p + (1 - smoothing) * before.smoothed[c],
  );
  const candidate = argMax(smoothed);
  const goesOn = before?.candidate === candidate ? before.streak : 0;
  const streak = smoothed[candidate] >= confidence ? goesOn + 1 : 0;
  const decided =
    before?.decided ??
    (streak >= patience ? { class: candidate, bin, confidence: smoothed[candidate] } : undefined);
  return { smoothed, streak, candidate, decided };
}
