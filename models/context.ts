import * as tf from '@tensorflow/tfjs-core';

import type { Transport } from '../engine/transport/transport.js';
import type { DelaySynapseConfig, DelaySynapseParameters } from './delays/delaySynapse.js';
import type { MotionDelayConfig, MotionDelayParameters } from './delays/motionDelay.js';

/** Batch statistics that a normalisation layer saw; the training loop folds them into its averages. */
export interface BatchStatistics {
  readonly mean: tf.Tensor;
  readonly variance: tf.Tensor;
}

/** Multiply-accumulates of a layer's products: those that were made, and those of the same products as a whole. */
export interface Work {
  readonly macs: number;
  readonly denseMacs: number;
}

export function totalWork(layers: Iterable<Work>): Work {
  let [macs, denseMacs] = [0, 0];
  for (const work of layers) {
    macs += work.macs;
    denseMacs += work.denseMacs;
  }
  return { macs, denseMacs };
}

/** What a forward pass gives beside its output. Tensors in it are kept: the caller disposes them. */
export class Recorder {
  readonly statistics = new Map<string, BatchStatistics>();
  /** Mean spikes per neuron and step, by layer. */
  readonly firingRates = new Map<string, tf.Tensor>();
  /** Values of the neurons' state, by layer, of one clip. */
  readonly neuronStates = new Map<string, number>();
  /** The spikes themselves, `[batch, time, neurons]`, by layer; where asked for. */
  readonly spikes: Map<string, tf.Tensor> | undefined;
  /** What each token mixer read, `[sequences, tokens, width]`, by its path; where asked for. */
  readonly mixerInputs: Map<string, tf.Tensor> | undefined;
  /** What products in another form (`Forms`) cost, by weight. */
  readonly work = new Map<string, Work>();

  /** Whether layers are to note their firing rates: each costs a pass over all spikes. */
  readonly wantsRates: boolean;

  constructor({
    spikes = false,
    mixerInputs = false,
    rates = true,
  }: {
    readonly spikes?: boolean;
    readonly mixerInputs?: boolean;
    readonly rates?: boolean;
  } = {}) {
    this.spikes = spikes ? new Map() : undefined;
    this.mixerInputs = mixerInputs ? new Map() : undefined;
    this.wantsRates = rates;
  }

  dispose(): void {
    for (const { mean, variance } of this.statistics.values()) tf.dispose([mean, variance]);
    for (const rate of this.firingRates.values()) rate.dispose();
    for (const spikes of this.spikes?.values() ?? []) spikes.dispose();
    for (const input of this.mixerInputs?.values() ?? []) input.dispose();
    this.statistics.clear();
    this.firingRates.clear();
    this.neuronStates.clear();
    this.spikes?.clear();
    this.mixerInputs?.clear();
    this.work.clear();
  }
}

/** Other ways to compute parts of layers at inference (`runtime/`); what is left out is computed as it stands. */
export interface Forms {
  /** x W, of `project`; the context's path is the weight's. */
  readonly product?: (x: tf.Tensor, weight: tf.Tensor, context: Context) => tf.Tensor;
  /**
   * softmax(q kᵀ / √d) v among the tokens of each frame, in each head: `[batch, time, heads, tokens, d]` in and out.
   */
  readonly attention?: (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, context: Context) => tf.Tensor;
  /** `delaySynapse` with delays of whole frames. */
  readonly delays?: (
    parameters: DelaySynapseParameters,
    x: tf.Tensor,
    config: DelaySynapseConfig,
    context: Context,
  ) => tf.Tensor;
  /** `motionDelay`. */
  readonly motions?: (
    parameters: MotionDelayParameters,
    x: tf.Tensor,
    config: MotionDelayConfig,
    context: Context,
  ) => tf.Tensor;
}

/** How a layer is run. */
export interface Context {
  /** Normalise by the batch's own statistics (and record them) rather than by the running ones. */
  readonly training: boolean;
  /** Share of the training that is done, 0 … 1, by which delays narrow, a scalar; all of it where nothing is said. */
  readonly progress?: number | tf.Tensor;
  /** Where statistics and firing rates go, if anyone wants them. */
  readonly recorder?: Recorder;
  readonly forms?: Forms | undefined;
  /** Where layers leave losses of their own, scalars, for whoever trains to add them. */
  readonly losses?: tf.Tensor[];
  /** In training: processes whose clips belong to the same batch, where its statistics are to be those of all. */
  readonly transport?: Transport | undefined;
  /** Path of the layer, the same as its parameters'. */
  readonly path: string;
}

export const inference: Context = { training: false, path: '' };

/** The context of a part of this layer. */
export function within(context: Context, name: string | number): Context {
  return { ...context, path: context.path === '' ? `${name}` : `${context.path}.${name}` };
}
