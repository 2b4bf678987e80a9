import * as tf from '@tensorflow/tfjs-core';

import { within, type Context } from '../context.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';
import { convolution3 } from './convolution.js';
import type { PatchEmbeddingConfig } from './patchEmbedding.js';

/** How a stage halves rows and columns; see `convolutionalStem`. */
export type StemKind = 'convolutional' | 'max';

interface StageParameters {
  /** `[9 · inputs, outputs]`. */
  readonly weight: tf.Tensor;
  /** Of the `max` kind, `[inputs, outputs]`. */
  readonly shortcut?: tf.Tensor;
  readonly neurons: SpikingParameters;
}

export interface ConvolutionalStemParameters {
  readonly stages: Readonly<Record<string, StageParameters>>;
}

/** Membranes of each stage's neurons, `[batch, pixels, channels]`. */
export interface ConvolutionalStemState {
  readonly stages: Readonly<Record<string, { readonly membrane: tf.Tensor }>>;
}

/** Channels after each stage: the width of the tokens at last, half as many a stage earlier, never under 8. */
function channelsOf({ patch, embedding }: PatchEmbeddingConfig): number[] {
  const stages = Math.log2(patch);
  return Array.from({ length: stages }, (_, i) =>
    i === stages - 1 ? embedding : Math.max(8, Math.floor(embedding / 2 ** (stages - 1 - i))),
  );
}

export function initialiseConvolutionalStem(
  initialiser: Initialiser,
  config: PatchEmbeddingConfig,
  kind: StemKind,
): ConvolutionalStemParameters {
  const channels = channelsOf(config);
  return {
    stages: Object.fromEntries(
      channels.map((outputs, i) => {
        const inputs = i === 0 ? config.channels : channels[i - 1];
        const stage = initialiser.within(`stages.${i}`);
        return [
          i,
          {
            weight: stage.weight('weight', 9 * inputs, outputs),
            ...(kind === 'max' && { shortcut: stage.weight('shortcut', inputs, outputs) }),
            neurons: initialiseSpiking(stage, outputs, config.neuron),
          },
        ];
      }),
    ),
  };
}

/**
 * Frames to spiking tokens by stages that each halve rows and columns, down to one token for each `patch` × `patch` pixels:
 * - `convolutional`, `MaxPool2(SNN(Conv3 x))`: spiking patch splitting of Spikformer (Zhou et al., ICLR 2023, sec. 3.1);
 * - `max`, `SNN(MaxPool3/2(Conv3 x) + Conv1(MaxPool3/2(x)))`: the embedding of Max-Former (Fang et al. 2025), whose pooling
 *   gives back the high frequencies that leaky neurons lose, with its shortcut added before the neurons. Unlike there, one
 *   batch normalisation follows the sum.
 *
 * @param x `[batch, time, channels, height, width]`; `patch` is a power of two.
 * @returns spikes, `[batch, time, (height/patch)(width/patch), embedding]`.
 */
export function convolutionalStem(
  parameters: ConvolutionalStemParameters,
  x: tf.Tensor,
  state: ConvolutionalStemState | undefined,
  config: PatchEmbeddingConfig,
  kind: StemKind,
  context: Context,
): { output: tf.Tensor; state: ConvolutionalStemState } {
  const [batch, time] = x.shape as [number, number];
  const { channels, height, width, neuron } = config;
  let rows = height;
  let columns = width;
  let y = tf.transpose(tf.reshape(x, [batch * time, channels, height, width]), [0, 2, 3, 1]);
  const stages: Record<string, { membrane: tf.Tensor }> = {};
  channelsOf(config).forEach((outputs, i) => {
    const { weight, shortcut, neurons } = parameters.stages[i];
    const pool = (z: tf.Tensor, size: number): tf.Tensor =>
      tf.maxPool(z as tf.Tensor4D, size, 2, 'same');
    const fire = (z: tf.Tensor): tf.Tensor => {
      const pixels = z.shape[1]! * z.shape[2]!;
      const { spikes, membrane } = spiking(
        neurons,
        tf.reshape(z, [batch, time, pixels, outputs]),
        state?.stages[i].membrane,
        neuron,
        within(context, `stages.${i}.neurons`),
      );
      stages[i] = { membrane };
      return tf.reshape(spikes, z.shape);
    };
    const multiply =
      (name: string) =>
      (z: tf.Tensor, w: tf.Tensor): tf.Tensor => {
        const [, ...rest] = z.shape;
        const perClip = tf.reshape(z, [batch, time, ...rest]);
        const made = project(perClip, w, within(context, `stages.${i}.${name}`));
        return tf.reshape(made, [batch * time, ...rest.slice(0, -1), outputs]);
      };
    const convolved = convolution3(y, weight, multiply('weight'));
    y =
      kind === 'convolutional'
        ? pool(fire(convolved), 2)
        : fire(tf.add(pool(convolved, 3), multiply('shortcut')(pool(y, 3), shortcut!)));
    rows /= 2;
    columns /= 2;
  });
  return { output: tf.reshape(y, [batch, time, rows * columns, -1]), state: { stages } };
}
