import { argMax } from '../../models/evaluation/evaluate.js';
import { type ExitPolicy, gatheredLogits, shouldStop } from '../../models/runtime/exitPolicy.js';
import type { DecisionOptions } from './messages.js';

/** How far a clip's decision is. Plain data. */
export interface DecisionState {
  /** Exponentially weighted probabilities by class. */
  readonly smoothed: readonly number[];
  /** Those of the last bin. */
  readonly probabilities: readonly number[];
  /** Bins in a row, up to the last, in which one class was confident; and that class. */
  readonly streak: number;
  readonly candidate: number;
  readonly decided:
    | {
        readonly class: number;
        readonly bin: number;
        /** Bins of the clip up to then. */
        readonly frames?: number;
        readonly confidence: number;
      }
    | undefined;
}

/** Where a clip stands, for early exit. */
export interface ExitPlace {
  readonly policy: ExitPolicy;
  /** Whether it is the clip's last bin, which decides in any case. */
  readonly isLast: boolean;
}

/**
 * Takes the probabilities of one more bin: `s ← a p + (1 - a) s`, beginning with the first bin's. As soon as a
 * class has kept a smoothed probability of `confidence` for `patience` bins in a row, the clip is decided; what
 * comes later does not change it.
 *
 * With early exit, its policy decides instead (`../exit.ts`), by the unsmoothed probabilities that it was calibrated on.
 *
 * @param before undefined at the start of a clip.
 * @param frames bins of the clip, this one included.
 */
export function decide(
  before: DecisionState | undefined,
  probabilities: ArrayLike<number>,
  bin: number,
  { smoothing, confidence, patience }: DecisionOptions,
  frames: number,
  exit?: ExitPlace,
): DecisionState {
  const smoothed = Array.from(probabilities, (p, c) =>
    before === undefined ? p : smoothing * p + (1 - smoothing) * before.smoothed[c],
  );
  const candidate = argMax(smoothed);
  const goesOn = before?.candidate === candidate ? before.streak : 0;
  const streak = smoothed[candidate] >= confidence ? goesOn + 1 : 0;
  const isDecided =
    exit === undefined
      ? streak >= patience
      : exit.isLast || shouldStop(exit.policy, gatheredLogits(probabilities, frames));
  const [own, shares] = exit === undefined ? [candidate, smoothed] : [argMax(probabilities), probabilities]; // prettier-ignore
  const decided =
    before?.decided ??
    (isDecided ? { class: own, bin, frames, confidence: shares[own] } : undefined);
  return { smoothed, probabilities: Array.from(probabilities), streak, candidate, decided };
}
