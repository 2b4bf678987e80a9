import type { MeanInterval } from '../models/evaluation/metrics.js';

/** How a mixer did on one task. */
export interface RecallScore {
  /** Share of the queries that are answered rightly, mean over seeds. */
  readonly accuracy: MeanInterval;
  readonly seeds: readonly { readonly seed: number; readonly accuracy: number }[];
  readonly parameters: number;
  /** Of all layers after a sequence. */
  readonly stateBytes: number;
}

/** How a mixer alone remembers; null where it cannot be run so, or was not asked. */
export interface MeasuredMixer {
  readonly mixer: string;
  /** MQAR. */
  readonly symbols: RecallScore | null;
  /** MQAR of motions, as events. */
  readonly motions: RecallScore | null;
  /** Response to a stimulus that learned nothing new: 1 of Hebb's rule, 0 of the delta rule. */
  readonly blocking: number | null;
  /** Why a task is null that was asked for. */
  readonly reason?: string;
}
