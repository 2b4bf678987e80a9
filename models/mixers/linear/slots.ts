import type * as tf from '@tensorflow/tfjs-core';

import type { Context } from '../../context.js';
import type { StateTree } from '../../model.js';
import type { Initialiser, ParameterTree } from '../../parameters.js';
import type { LinearSystem, MixerForm, MixerShape } from '../tokenMixer.js';

/** Products that a part computes: of real numbers, and with spikes. */
export interface Products {
  readonly macs: number;
  readonly synapses: number;
}

export const noProducts: Products = { macs: 0, synapses: 0 };

/** Products of queries or keys, which may be spikes, and others. */
export const split = (spikes: boolean, withSpikes: number, others: number): Products =>
  spikes ? { macs: others, synapses: withSpikes } : { macs: withSpikes + others, synapses: 0 };

/** What a slot is built for. */
export interface Sizes extends MixerShape {
  /** Features of a head's queries and keys, before the feature map. */
  readonly keyWidth: number;
  /** Features of a head's values. */
  readonly valueWidth: number;
  readonly causal: boolean;
}

/** What a part of a sequence is, beside its tensors. */
export interface Segment {
  /** Tokens, padding blanked, `[batch, tokens, width]`. */
  readonly x: tf.Tensor;
  /** `[batch, 1, tokens, 1]`; undefined where there is no padding. */
  readonly mask: tf.Tensor | undefined;
  /** Frames before it. */
  readonly frame: number;
  readonly form: MixerForm;
  readonly context: Context;
}

/** Every slot may have parameters, and a state that goes from one part of a sequence to the next. */
export interface Slot {
  initialise?(initialiser: Initialiser): ParameterTree;
  /** Number of trained values. */
  readonly parameters?: number;
  /** Values of its state after so many tokens, in one sequence. */
  stateValues?(tokens: number): number;
}

/** Tensors and the slot's next state. */
export type Stateful<T> = T & { readonly state?: StateTree };

/** Queries and keys, `[batch, heads, tokens, features]`. */
export interface QueryKey {
  readonly q: tf.Tensor;
  readonly k: tf.Tensor;
}

/** What turns queries and keys into features, whose products are the weights of attention. */
export interface FeatureMap extends Slot {
  /** Features of a head. */
  readonly features: number;
  /** Whether they are spikes. */
  readonly spikes?: boolean;
  /** Whether they are all above 0. */
  readonly positive?: boolean;
  apply(
    parameters: ParameterTree,
    qk: QueryKey,
    state: StateTree | undefined,
    segment: Segment,
  ): Stateful<QueryKey>;
  products(tokens: number): Products;
}

/** How the memory forgets. */
export interface DecayGate extends Slot {
  /** Whether each feature of the keys decays on its own. */
  readonly perChannel: boolean;
  /**
   * @returns logarithms of the factors (≤ 0), `[batch, heads, tokens, 1 or features]`, and the keys, which
   *   some gates change.
   */
  apply(
    parameters: ParameterTree,
    k: tf.Tensor,
    state: StateTree | undefined,
    segment: Segment,
  ): Stateful<{ readonly k: tf.Tensor; readonly logDecay?: tf.Tensor }>;
  products(tokens: number): Products;
}

/** What a memory reads and writes; all `[batch, heads, tokens, …]`. */
export interface MemoryInput extends QueryKey {
  readonly v: tf.Tensor;
  readonly logDecay?: tf.Tensor;
  /** Strength of each write, `[…, 1]`. */
  readonly beta?: tf.Tensor;
  /** What each write takes for an outlier, > 0, `[…, 1]`. */
  readonly threshold?: tf.Tensor;
  readonly mask?: tf.Tensor;
  /** Tokens before these. */
  readonly position: number;
}

/** What a memory's products are counted for. */
export interface MemorySizes {
  readonly features: number;
  readonly values: number;
  readonly decays: 'none' | 'perHead' | 'perChannel';
  /** Whether its queries and keys are spikes. */
  readonly spikes: boolean;
}

/** How a memory is written and read. */
export interface MemoryUpdate extends Slot {
  /** Whether writes have a strength of their own. */
  readonly needsBeta?: boolean;
  /** Whether they have a threshold of their own. */
  readonly needsThreshold?: boolean;
  /** Whether what is read is no sum of values by weights. */
  readonly nonlinear?: boolean;
  /** Whether queries take no part. */
  readonly withoutQueries?: boolean;
  /** What stands in these slots of the cell, where it doesn't go with all. */
  readonly requires?: {
    readonly decay?: 'none' | 'perHead' | 'perChannel';
    /** Weights that are sums to 1 already. */
    readonly noNormaliser?: boolean;
    /** As many features of keys as of values. */
    readonly square?: boolean;
  };
  apply(
    parameters: ParameterTree,
    input: MemoryInput,
    state: StateTree | undefined,
    form: MixerForm,
  ): { out: tf.Tensor; state: StateTree };
  /** Of `tokens` after `before` others, for one head of `features` × `values`. */
  products(tokens: number, before: number, sizes: MemorySizes, form: MixerForm): Products;
  /** Values of its state for one head. */
  memoryValues(tokens: number, features: number, values: number): number;
  /** The same memory as a linear system, and what is read from that system's outputs. */
  system?(
    parameters: ParameterTree,
    input: MemoryInput,
  ): { system: LinearSystem; read(y: tf.Tensor): tf.Tensor };
}

/** Mixes by the cell's memory; each call of one pass has its own name. */
export type Mix = (name: string, input: Pick<MemoryInput, 'q' | 'k' | 'v'>) => tf.Tensor;

/** What makes weights of attention comparable among queries. */
export interface Normaliser extends Slot {
  /**
   * @param plain queries and keys without positions.
   * @returns `[batch, heads, tokens, values]`.
   */
  apply(
    input: QueryKey & { readonly v: tf.Tensor },
    plain: QueryKey,
    mix: Mix,
    state: StateTree | undefined,
    segment: Segment,
  ): Stateful<{ readonly out: tf.Tensor }>;
  /** The memories that it has per head: their features and values, and whose queries and keys they take. */
  readonly memories: readonly {
    readonly features: number;
    readonly values: number;
    readonly of: 'placed' | 'plain' | 'ones';
  }[];
}

/** What looks at a token's neighbours: before the memory, or beside it. */
export interface LocalBranch extends Slot {
  /** Of queries, keys and values before the feature map, `[batch, tokens, features]`. */
  before?(
    parameters: ParameterTree,
    qkv: readonly tf.Tensor[],
    state: StateTree | undefined,
    segment: Segment,
  ): Stateful<{ readonly qkv: readonly tf.Tensor[] }>;
  /** Added to what the memory gave, from queries, keys and values before the feature map. */
  beside?(
    parameters: ParameterTree,
    qkv: QueryKey & { readonly v: tf.Tensor },
    state: StateTree | undefined,
    segment: Segment,
  ): Stateful<{ readonly out: tf.Tensor }>;
  products(tokens: number, before: number): Products;
}

/** Where tokens stand. */
export interface PositionCode extends Slot {
  /** Features of a head after it. */
  readonly features: number;
  apply(parameters: ParameterTree, qk: QueryKey, segment: Segment): QueryKey;
}
