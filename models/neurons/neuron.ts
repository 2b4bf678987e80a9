import type * as tf from '@tensorflow/tfjs-core';

import { defaultLif, type LifConfig } from '../../engine/ops/lif.js';
import type { Initialiser, ParameterTree } from '../parameters.js';

/** Which neurons; `registry.ts` has one of each. */
export type NeuronKind = 'if' | 'lif' | 'plif' | 'alif' | 'metaLif' | 'dendritic';

/** Settings of neurons beside those of the membrane. Those that a kind has no use for do nothing. */
interface KindSettings {
  /** `lif` where nothing is said. */
  readonly kind: NeuronKind;
  /** Of `alif`: how far adaptation 1 raises the threshold, ≥ 0. */
  readonly adaptationStrength: number;
  /** Of `alif`: share of the adaptation that is left after a step, 0 … 1. */
  readonly adaptationDecay: number;
  /** Of `dendritic`: segments of a neuron, and synapses of a segment. */
  readonly segments: number;
  readonly synapses: number;
  /** Of `dendritic`: sum of a segment's synapses at which it expects its neuron to fire. */
  readonly segmentThreshold: number;
  /** Of `dendritic`: share of the threshold that an expected neuron is spared, 0 … 1. */
  readonly expectation: number;
}

export type NeuronConfig = LifConfig & Partial<KindSettings>;
/** With every setting. */
export type FullNeuronConfig = LifConfig & KindSettings;

/** What settings are where nothing is said. */
export const defaultNeuron: FullNeuronConfig = {
  ...defaultLif,
  kind: 'lif',
  adaptationStrength: 0.5,
  adaptationDecay: 0.9,
  segments: 4,
  synapses: 8,
  segmentThreshold: 2,
  expectation: 0.5,
};

/** One kind of neuron: how a population of them runs, without the normalisation of its input. */
export interface Neuron {
  readonly kind: NeuronKind;
  /** State values per neuron; the first is the membrane. */
  readonly states: number;
  /** What it learns; nothing where it's left out. */
  initialise?(initialiser: Initialiser, features: number, config: FullNeuronConfig): ParameterTree;
  /**
   * @param x `[batch, time, tokens, features]`; a population is the features of one token.
   * @param state one tensor `[batch, tokens, features]` for each of `states`.
   * @returns spikes (0 or 1), shape of `x`, and the next state.
   */
  run(
    x: tf.Tensor,
    state: readonly tf.Tensor[],
    parameters: ParameterTree,
    config: FullNeuronConfig,
  ): { spikes: tf.Tensor; state: tf.Tensor[] };
}
