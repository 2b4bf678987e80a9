import * as tf from '@tensorflow/tfjs-core';

import { linearAttention } from '../../engine/ops/linearAttention.js';
import { depthwise, initialiseDepthwise, type DepthwiseParameters } from '../blocks/depthwise.js';
import { within, type Context } from '../context.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';
import { rotate, type RotaryTable } from './rotary.js';

export interface RotaryLinearAttentionConfig {
  readonly width: number;
  readonly heads: number;
  /** Patches of a frame: rows × columns. */
  readonly rows: number;
  readonly columns: number;
  /** Of this frame and width. */
  readonly rotary: RotaryTable;
  readonly neuron: NeuronConfig;
}

export interface RotaryLinearAttentionParameters {
  /** Queries and keys in one matrix, `[width, 2 · width]`. */
  readonly queryKey: tf.Tensor;
  readonly neurons: SpikingParameters;
  readonly local: DepthwiseParameters;
}

/** Membranes of the query and key neurons, `[batch, tokens, 2 · width]`. */
export interface RotaryLinearAttentionState {
  readonly membrane: tf.Tensor;
}

export function initialiseRotaryLinearAttention(
  initialiser: Initialiser,
  { width, neuron }: RotaryLinearAttentionConfig,
): RotaryLinearAttentionParameters {
  return {
    queryKey: initialiser.weight('queryKey', width, 2 * width),
    neurons: initialiseSpiking(initialiser, 2 * width, neuron),
    local: initialiseDepthwise(initialiser.within('local'), width, { bias: true }),
  };
}

/**
 * Linear attention of the code published with SpikMamba (MLLA's, with spiking queries and keys):
 * `q, k = ELU(SNN(Linear x)) + 1`, `v = x`, rotary positions r(·) in the numerator only,
 *
 *     out = (r(q) · Σ r(k) vᵀ / n) / (q · Σ k / n + 1e-6) + LePE(v),
 *
 * over the n tokens of one frame; LePE is a 3 × 3 depthwise convolution.
 *
 * @param x patch tokens in raster order, `[batch, time, rows · columns, width]`.
 * @returns the same shape, and the state for the next chunk.
 */
export function rotaryLinearAttention(
  parameters: RotaryLinearAttentionParameters,
  x: tf.Tensor,
  state: RotaryLinearAttentionState | undefined,
  { width, heads, rows, columns, rotary, neuron }: RotaryLinearAttentionConfig,
  context: Context,
): { output: tf.Tensor; state: RotaryLinearAttentionState } {
  const { spikes, membrane } = spiking(
    parameters.neurons,
    project(x, parameters.queryKey, within(context, 'queryKey')),
    state?.membrane,
    neuron,
    within(context, 'neurons'),
  );
  // ELU leaves spikes as they are.
  const [q, k] = tf.split(tf.add(spikes, 1), 2, 3);
  const frames = x.shape[0] * x.shape[1]!;
  const tokens = rows * columns;
  const empty = {
    memory: tf.zeros([frames, heads, width / heads, width / heads]),
    keySum: tf.zeros([frames, heads, width / heads]),
  };
  // Rotated products can be negative: a sum over tokens without a normaliser of its own.
  const mean = (query: tf.Tensor, key: tf.Tensor, value: tf.Tensor): tf.Tensor => {
    const parts = [query, key, value].map((y) => tf.reshape(y, [frames, 1, tokens, width]));
    return linearAttention(parts[0], parts[1], parts[2], empty, {
      heads,
      causal: false,
      normalise: false,
      epsilon: tokens,
    }).out;
  };
  const numerator = mean(rotate(q, rotary), rotate(k, rotary), x);
  // With values of one, the same sum is q · Σ k / n, in every feature of a head.
  const normaliser = tf.add(mean(q, k, tf.onesLike(x)), 1e-6);
  return {
    output: tf.add(
      tf.reshape(tf.div(numerator, normaliser), x.shape),
      depthwise(parameters.local, x, rows, columns),
    ),
    state: { membrane },
  };
}
