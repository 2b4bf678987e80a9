import * as tf from '@tensorflow/tfjs-core';

import { patches } from '../../engine/ops/patches.js';
import { within, type Context } from '../context.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';

export interface PatchEmbeddingConfig {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Side of a patch, p; divides height and width. */
  readonly patch: number;
  /** Frames that one kernel spans, k_t; the last of them is the current one. */
  readonly kernelFrames: number;
  /** Width of the tokens, D. */
  readonly embedding: number;
  readonly neuron: NeuronConfig;
}

export interface PatchEmbeddingParameters {
  readonly projection: tf.Tensor;
  readonly neurons: SpikingParameters;
}

export interface PatchEmbeddingState {
  /** `[batch, tokens, embedding]`. */
  readonly membrane: tf.Tensor;
  /** Patches of the last k_t - 1 frames, `[batch, k_t - 1, tokens, features]`; only for k_t > 1. */
  readonly tail?: tf.Tensor;
}

export function initialisePatchEmbedding(
  initialiser: Initialiser,
  { channels, patch, kernelFrames, embedding, neuron }: PatchEmbeddingConfig,
): PatchEmbeddingParameters {
  return {
    projection: initialiser.weight(
      'projection',
      kernelFrames * channels * patch * patch,
      embedding,
    ),
    neurons: initialiseSpiking(initialiser, embedding, neuron),
  };
}

/**
 * Spiking 3-D patch embedding: a convolution with kernel (k_t, p, p) and stride (1, p, p), as a matrix
 * product over cut patches; batch normalisation; LIF neurons along the time axis of each clip. With
 * k_t > 1 the kernel looks back, never ahead, so that a stream can be embedded as it comes.
 *
 * @param x frames, `[batch, time, channels, height, width]`.
 * @returns spikes, `[batch, time, (height/p)(width/p), embedding]`.
 */
export function patchEmbedding(
  parameters: PatchEmbeddingParameters,
  x: tf.Tensor,
  state: PatchEmbeddingState | undefined,
  { patch, kernelFrames, neuron }: PatchEmbeddingConfig,
  context: Context,
): { output: tf.Tensor; state: PatchEmbeddingState } {
  const { volume, tail } = lookBack(cutFrames(x, patch), state?.tail, kernelFrames);
  const { spikes, membrane } = spiking(
    parameters.neurons,
    project(volume, parameters.projection, within(context, 'projection')),
    state?.membrane,
    neuron,
    within(context, 'neurons'),
  );
  return { output: spikes, state: { membrane, ...(tail && { tail }) } };
}

/** Frames `[batch, time, channels, height, width]` to patches, `[batch, time, tokens, channels · patch²]`. */
export function cutFrames(x: tf.Tensor, patch: number): tf.Tensor {
  const [batch, time, ...frame] = x.shape;
  const cut = patches(tf.reshape(x, [batch * time, ...frame]), patch);
  return tf.reshape(cut, [batch, time, ...cut.shape.slice(1)]);
}

/** Joins each frame's patches with those of the frames before it, oldest first. */
function lookBack(
  x: tf.Tensor,
  tail: tf.Tensor | undefined,
  frames: number,
): { volume: tf.Tensor; tail?: tf.Tensor } {
  if (frames === 1) return { volume: x };
  const [batch, time, tokens, features] = x.shape;
  const before = tail ?? tf.zeros([batch, frames - 1, tokens, features]);
  const padded = tf.concat([before, x], 1);
  const shifted = Array.from({ length: frames }, (_, k) =>
    tf.slice(padded, [0, k, 0, 0], [batch, time, tokens, features]),
  );
  return {
    volume: tf.concat(shifted, 3),
    tail: tf.slice(padded, [0, time, 0, 0], [batch, frames - 1, tokens, features]),
  };
}
