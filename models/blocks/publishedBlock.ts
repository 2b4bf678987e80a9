import * as tf from '@tensorflow/tfjs-core';

import { gelu } from '../../engine/ops/gelu.js';
import { silu, siluGate } from '../../engine/ops/silu.js';
import { within, type Context } from '../context.js';
import {
  initialiseRotaryLinearAttention,
  rotaryLinearAttention,
  type RotaryLinearAttentionConfig,
  type RotaryLinearAttentionParameters,
  type RotaryLinearAttentionState,
} from '../mixers/rotaryLinearAttention.js';
import type { Initialiser } from '../parameters.js';
import { dense, initialiseDense, type DenseParameters } from './dense.js';
import { depthwise, initialiseDepthwise, type DepthwiseParameters } from './depthwise.js';
import { initialiseLayerNorm, layerNorm, type LayerNormParameters } from './layerNorm.js';

export interface PublishedBlockConfig {
  readonly attention: RotaryLinearAttentionConfig;
  /** Hidden width of the feed-forward part. */
  readonly hidden: number;
}

export interface PublishedBlockParameters {
  readonly mixerPosition: DepthwiseParameters;
  readonly mixerNorm: LayerNormParameters;
  readonly gate: DenseParameters;
  readonly input: DenseParameters;
  readonly convolution: DepthwiseParameters;
  readonly attention: RotaryLinearAttentionParameters;
  readonly output: DenseParameters;
  readonly feedForwardPosition: DepthwiseParameters;
  readonly feedForwardNorm: LayerNormParameters;
  readonly hidden: DenseParameters;
  readonly feedForward: DenseParameters;
}

export interface PublishedBlockState {
  readonly attention: RotaryLinearAttentionState;
}

export function initialisePublishedBlock(
  initialiser: Initialiser,
  { attention, hidden }: PublishedBlockConfig,
): PublishedBlockParameters {
  const { width } = attention;
  const square = (name: string): DenseParameters =>
    initialiseDense(initialiser.within(name), width, width);
  const convolution = (name: string): DepthwiseParameters =>
    initialiseDepthwise(initialiser.within(name), width, { bias: true });
  return {
    mixerPosition: convolution('mixerPosition'),
    mixerNorm: initialiseLayerNorm(initialiser, width),
    gate: square('gate'),
    input: square('input'),
    convolution: convolution('convolution'),
    attention: initialiseRotaryLinearAttention(initialiser.within('attention'), attention),
    output: square('output'),
    feedForwardPosition: convolution('feedForwardPosition'),
    feedForwardNorm: initialiseLayerNorm(initialiser, width),
    hidden: initialiseDense(initialiser.within('hidden'), width, hidden),
    feedForward: initialiseDense(initialiser.within('feedForward'), hidden, width),
  };
}

/**
 * One block of the code published with SpikMamba, which holds no state space: the MLLA block (Han et al.
 * 2024) with spiking queries and keys. Its mathematics, not its code; the gate's projection, which is
 * applied twice there, once here; neurons run along the frames of a clip.
 *
 *     x ← x + DWC(x)
 *     x ← x + W_o (attention(SiLU(DWC(W_i LN(x)))) · SiLU(W_a LN(x)))
 *     x ← x + DWC(x)
 *     x ← x + W_2 GELU(W_1 LN(x))
 *
 * @param x patch tokens in raster order, `[batch, time, rows · columns, width]`.
 * @returns the same shape, and the state for the next chunk.
 */
export function publishedBlock(
  parameters: PublishedBlockParameters,
  x: tf.Tensor,
  state: PublishedBlockState | undefined,
  config: PublishedBlockConfig,
  context: Context,
): { output: tf.Tensor; state: PublishedBlockState } {
  const { rows, columns } = config.attention;
  const convolve = (convolution: DepthwiseParameters, y: tf.Tensor): tf.Tensor =>
    depthwise(convolution, y, rows, columns);

  const layer = (
    name: 'input' | 'gate' | 'output' | 'hidden' | 'feedForward',
    y: tf.Tensor,
  ): tf.Tensor => dense(parameters[name], y, within(context, name));

  const placed = tf.add(x, convolve(parameters.mixerPosition, x));
  const normal = layerNorm(parameters.mixerNorm, placed);
  const attended = rotaryLinearAttention(
    parameters.attention,
    silu(convolve(parameters.convolution, layer('input', normal))),
    state?.attention,
    config.attention,
    within(context, 'attention'),
  );
  const gated = siluGate(attended.output, layer('gate', normal));
  const mixed = tf.add(placed, layer('output', gated));
  const y = tf.add(mixed, convolve(parameters.feedForwardPosition, mixed));
  const hidden = gelu(layer('hidden', layerNorm(parameters.feedForwardNorm, y)));
  return {
    output: tf.add(y, layer('feedForward', hidden)),
    state: { attention: attended.state },
  };
}
