import * as tf from '@tensorflow/tfjs-core';

import { within, type Context } from '../context.js';
import {
  delaySynapse,
  delayWidth,
  initialiseDelaySynapse,
  type DelaySynapseConfig,
  type DelaySynapseParameters,
  type DelaySynapseState,
} from '../delays/delaySynapse.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';
import { cutFrames, type PatchEmbeddingConfig } from './patchEmbedding.js';

export interface DelayedStemConfig extends PatchEmbeddingConfig {
  readonly delays: {
    /** Delays are 0 … this many frames; at least 1. */
    readonly maxDelay: number;
  };
}

export interface DelayedStemParameters {
  /** From the features of a patch to those of its token. */
  readonly synapses: DelaySynapseParameters;
  readonly neurons: SpikingParameters;
}

export interface DelayedStemState extends DelaySynapseState {
  /** `[batch, tokens, embedding]`. */
  readonly membrane: tf.Tensor;
}

/** The synapses of one patch. */
export function stemSynapses({
  channels,
  patch,
  embedding,
  delays,
}: DelayedStemConfig): DelaySynapseConfig {
  return { inputs: channels * patch * patch, outputs: embedding, maxDelay: delays.maxDelay };
}

export function initialiseDelayedStem(
  initialiser: Initialiser,
  config: DelayedStemConfig,
): DelayedStemParameters {
  return {
    synapses: initialiseDelaySynapse(initialiser.within('synapses'), stemSynapses(config)),
    neurons: initialiseSpiking(initialiser, config.embedding, config.neuron),
  };
}

/**
 * A patch embedding whose synapses have learned delays (DCLS; Hammouamri et al., ICLR 2024): each pixel of a patch reaches each
 * feature of its token once, some frames later. In training taps are wide at first and narrow by the context's progress;
 * otherwise, delays are rounded to whole frames.
 *
 * @param x frames, `[batch, time, channels, height, width]`.
 * @returns spikes, `[batch, time, (height/patch)(width/patch), embedding]`.
 */
export function delayedStem(
  { synapses, neurons }: DelayedStemParameters,
  x: tf.Tensor,
  state: DelayedStemState | undefined,
  config: DelayedStemConfig,
  context: Context,
): { output: tf.Tensor; state: DelayedStemState } {
  const inner = stemSynapses(config);
  const cut = cutFrames(x, config.patch);
  const own = within(context, 'synapses');
  const delayed = context.forms?.delays
    ? { output: context.forms.delays(synapses, cut, inner, own), state: {} }
    : delaySynapse(
        synapses,
        cut,
        state,
        inner,
        context.training ? delayWidth(context.progress ?? 1, inner.maxDelay) : 'whole',
        (taps, kernel) => project(taps, kernel, own),
      );
  const { spikes, membrane } = spiking(
    neurons,
    delayed.output,
    state?.membrane,
    config.neuron,
    within(context, 'neurons'),
  );
  return { output: spikes, state: { membrane, ...delayed.state } };
}
