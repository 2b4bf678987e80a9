import type { Energy } from '../models/analysis/energy.js';
import type { OperationCount } from '../models/analysis/operationCount.js';
import type { Interval } from '../models/evaluation/metrics.js';
import type { ComparedModel } from './compare.js';

/** What a model does for one clip of the test part, a mean over `clips` of them. */
export interface MeasuredModel {
  readonly clips: number;
  readonly operations: OperationCount;
  readonly energy: Energy;
  /** Of the state between two bins; null of a model that sees whole clips. */
  readonly stateBytes: number | null;
  /** Median time of a bin; of a model that sees whole clips, of the clip over its bins. */
  readonly latencyMs: number;
}

/** How a mixer alone remembers; null where it cannot be run so, or was not asked for. */
export interface MeasuredMixer {
  readonly mixer: string;
  /** Share of MQAR's queries that are answered rightly. */
  readonly symbols: number | null;
  /** The same of motions. */
  readonly motions: number | null;
  /** Response to a stimulus that learned nothing new: 1 of Hebb's rule, 0 of the delta rule. */
  readonly blocking: number | null;
  /** Why something is null. */
  readonly reason?: string;
}

export interface BenchedModel extends ComparedModel {
  /** What was put into its slots; null of a baseline. */
  readonly mixer: string | null;
  readonly neuron: string | null;
  readonly stem: string | null;
  /**
   * Wilson's 95 % interval of the mean accuracy, each test clip counted once, however many seeds saw it. With
   * the interval over seeds: the first is what other clips, the second what other seeds may change.
   */
  readonly overClips: Interval;
  /** Mean spikes per neuron and step over all layers, seeds and test clips; null of a model without neurons. */
  readonly firingRate: number | null;
  /** The same by layer, of the first seed. */
  readonly firingRates: Readonly<Record<string, number>>;
  readonly measured: MeasuredModel;
  readonly recall: MeasuredMixer | null;
}

export interface BenchModelsResult {
  readonly synthetic: boolean;
  readonly classes: readonly string[];
  readonly seeds: readonly number[];
  readonly epochs: number;
  /** Constants of the energy model. */
  readonly energy: {
    readonly constants: unknown;
    readonly places: unknown;
    readonly memory: unknown;
  };
  readonly models: readonly BenchedModel[];
}
