import * as tf from '@tensorflow/tfjs-core';

import { within, type Context } from '../context.js';
import {
  motionDelay,
  type MotionDelayConfig,
  type MotionDelayState,
} from '../delays/motionDelay.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import {
  initialisePatchEmbedding,
  patchEmbedding,
  type PatchEmbeddingConfig,
  type PatchEmbeddingParameters,
  type PatchEmbeddingState,
} from './patchEmbedding.js';

export interface MotionStemConfig extends PatchEmbeddingConfig {
  readonly delays: Omit<MotionDelayConfig, 'polarities'>;
}

export interface MotionStemParameters {
  /** K of `motionDelay`, `[maxDelay + 1, size, size, channels, motions]`. */
  readonly kernel: tf.Tensor;
  readonly motionNeurons: SpikingParameters;
  readonly patches: PatchEmbeddingParameters;
}

export interface MotionStemState extends MotionDelayState {
  /** `[batch, pixels, motions]`. */
  readonly motionMembrane: tf.Tensor;
  readonly patches: PatchEmbeddingState;
}

/** The layer of motions, and the patches that its spikes are cut into. */
function partsOf(config: MotionStemConfig): {
  motion: MotionDelayConfig;
  patches: PatchEmbeddingConfig;
} {
  return {
    motion: { ...config.delays, polarities: config.channels },
    patches: { ...config, channels: config.delays.motions },
  };
}

export function initialiseMotionStem(
  initialiser: Initialiser,
  config: MotionStemConfig,
): MotionStemParameters {
  const { motion, patches } = partsOf(config);
  const { motions, polarities, size, maxDelay } = motion;
  const taps = [maxDelay + 1, size, size, polarities];
  const deviation = 1 / Math.sqrt(taps.reduce((a, b) => a * b));
  return {
    kernel: initialiser.normal('kernel', [...taps, motions], deviation),
    motionNeurons: initialiseSpiking(initialiser, motions, config.neuron),
    patches: initialisePatchEmbedding(initialiser.within('patches'), patches),
  };
}

/**
 * The motion layer of HD-SNN (Grimaldi & Perrinet 2023) in front of a patch embedding: at each pixel, neurons that gather the
 * evidence for one motion each, from events around it that lie up to `maxDelay` frames back. Unlike there, the motions are
 * learned with the rest, for whatever classes there are, and their neurons normalise and leak as all SNN(·) here in place of
 * one winner over a threshold.
 *
 * @param x frames, `[batch, time, channels, height, width]`.
 * @returns spikes, `[batch, time, (height/patch)(width/patch), embedding]`.
 */
export function motionStem(
  parameters: MotionStemParameters,
  x: tf.Tensor,
  state: MotionStemState | undefined,
  config: MotionStemConfig,
  context: Context,
): { output: tf.Tensor; state: MotionStemState } {
  const [batch, time, , height, width] = x.shape as [number, number, number, number, number];
  const { motion, patches } = partsOf(config);
  // No bias: the neurons' normalisation has one.
  const layer = { kernel: parameters.kernel, bias: tf.zeros([motion.motions]) };
  const pixels = tf.transpose(x, [0, 1, 3, 4, 2]);
  const evidence = context.forms?.motions
    ? { output: context.forms.motions(layer, pixels, motion, within(context, 'kernel')), state: {} }
    : motionDelay(layer, pixels, state, motion);
  const { spikes, membrane } = spiking(
    parameters.motionNeurons,
    tf.reshape(evidence.output, [batch, time, height * width, motion.motions]),
    state?.motionMembrane,
    config.neuron,
    within(context, 'motionNeurons'),
  );
  const maps = tf.reshape(tf.transpose(spikes, [0, 1, 3, 2]), [batch, time, -1, height, width]);
  const embedded = patchEmbedding(
    parameters.patches,
    maps,
    state?.patches,
    patches,
    within(context, 'patches'),
  );
  return {
    output: embedded.output,
    state: { ...evidence.state, motionMembrane: membrane, patches: embedded.state },
  };
}
