import type { Crossover, Energy } from '../models/analysis/energy.js';
import type { OperationCount } from '../models/analysis/operationCount.js';
import type { Interval } from '../models/evaluation/metrics.js';
import type { MeasuredMixer } from './benchRecallResult.js';
import type { ComparedModel } from './compare.js';

/** What a model does for one clip of the test part, a mean over `clips` of them. */
export interface MeasuredModel {
  readonly clips: number;
  readonly operations: OperationCount;
  readonly energy: Energy;
  /** At which firing rates a network without spikes would take as much; none of a model that has no spikes. */
  readonly crossovers: readonly Crossover[];
  /** Of the state between two bins; null of a model that sees whole clips. */
  readonly stateBytes: number | null;
  /** Median time of a bin; of a model that sees whole clips, of the clip over its bins. */
  readonly latencyMs: number;
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
