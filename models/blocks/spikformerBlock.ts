import * as tf from '@tensorflow/tfjs-core';

import { within, type Context } from '../context.js';
import {
  initialiseSpikingSelfAttention,
  spikingSelfAttention,
  type SpikingSelfAttentionConfig,
  type SpikingSelfAttentionParameters,
  type SpikingSelfAttentionState,
} from '../mixers/spikingSelfAttention.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import {
  feedForward,
  initialiseFeedForward,
  type FeedForwardParameters,
  type FeedForwardState,
} from './feedForward.js';

export interface SpikformerBlockConfig {
  readonly attention: SpikingSelfAttentionConfig;
  /** Hidden width of the feed-forward part. */
  readonly hidden: number;
}

export interface SpikformerBlockParameters {
  readonly attention: SpikingSelfAttentionParameters;
  readonly feedForward: FeedForwardParameters;
  readonly outputNeurons: SpikingParameters;
}

export interface SpikformerBlockState {
  readonly attention: SpikingSelfAttentionState;
  readonly feedForward: FeedForwardState;
  /** `[batch, tokens, width]`. */
  readonly outputMembrane: tf.Tensor;
}

export function initialiseSpikformerBlock(
  initialiser: Initialiser,
  { attention, hidden }: SpikformerBlockConfig,
): SpikformerBlockParameters {
  const { width, neuron } = attention;
  return {
    attention: initialiseSpikingSelfAttention(initialiser.within('attention'), attention),
    feedForward: initialiseFeedForward(initialiser.within('feedForward'), {
      width,
      hidden,
      neuron,
    }),
    outputNeurons: initialiseSpiking(initialiser, width, neuron),
  };
}

/**
 * One Spikformer encoder block (Zhou et al., ICLR 2023, eqs. 3-4): `y = x + SSA(x)`, `z = y + MLP(y)`, the
 * MLP being `SNN(Linear(SNN(Linear y)))`. Residuals add spikes, so that tokens hold small integers.
 *
 * @param x `[batch, time, tokens, width]`.
 */
export function spikformerBlock(
  parameters: SpikformerBlockParameters,
  x: tf.Tensor,
  state: SpikformerBlockState | undefined,
  { attention, hidden }: SpikformerBlockConfig,
  context: Context,
): { output: tf.Tensor; state: SpikformerBlockState } {
  const { width, neuron } = attention;
  const attended = spikingSelfAttention(
    parameters.attention,
    x,
    state?.attention,
    attention,
    within(context, 'attention'),
  );
  const y = tf.add(x, attended.output);
  const fed = feedForward(
    parameters.feedForward,
    y,
    state?.feedForward,
    { width, hidden, neuron },
    within(context, 'feedForward'),
  );
  const fired = spiking(
    parameters.outputNeurons,
    fed.output,
    state?.outputMembrane,
    neuron,
    within(context, 'outputNeurons'),
  );
  return {
    output: tf.add(y, fired.spikes),
    state: { attention: attended.state, feedForward: fed.state, outputMembrane: fired.membrane },
  };
}
