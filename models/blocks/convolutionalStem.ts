import * as tf from '@tensorflow/tfjs-core';

import { within, type Context } from '../context.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';
import { convolution3 } from './convolution.js';
import type { PatchEmbeddingConfig } from './patchEmbedding.js';

/** How a stage halves rows and columns; see `convolutionalStem`. */
export const stagedStemKinds = ['convolutional', 'max', 'residual'] as const;
export type StagedStemKind = (typeof stagedStemKinds)[number];

interface StageParameters {
  /** `[9 · inputs, outputs]`. */
  readonly weight: tf.Tensor;
  /** Of the `max` kind, `[inputs, outputs]`. */
  readonly shortcut?: tf.Tensor;
  readonly neurons: SpikingParameters;
  /** Of the `residual` kind; weight `[9 · outputs, outputs]`. */
  readonly residual?: { readonly weight: tf.Tensor; readonly neurons: SpikingParameters };
}

export interface ConvolutionalStemParameters {
  readonly stages: Readonly<Record<string, StageParameters>>;
}

/** Membranes of a stage's neurons, `[batch, pixels, channels]`. */
interface StageState {
  membrane: tf.Tensor;
  residualMembrane?: tf.Tensor;
}

export interface ConvolutionalStemState {
  readonly stages: Readonly<Record<string, Readonly<StageState>>>;
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
  kind: StagedStemKind,
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
            ...(kind === 'residual' && {
              residual: {
                weight: stage.weight('residual', 9 * outputs, outputs),
                neurons: initialiseSpiking(stage.within('residual'), outputs, config.neuron),
              },
            }),
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
 *   batch normalisation follows the sum;
 * - `residual`, `y + SNN(Conv3 y)` of `y = SNN(Conv3/2 x)`: the convolutional stem with supplementary layers of Spikformer V2
 *   (Zhou et al. 2024), whose widths and depths are those of ImageNet and are not followed: one layer more in each stage.
 *
 * @param x `[batch, time, channels, height, width]`; `patch` is a power of two.
 * @returns spikes, `[batch, time, (height/patch)(width/patch), embedding]`; of the `residual` kind 0, 1 or 2 of them.
 */
export function convolutionalStem(
  parameters: ConvolutionalStemParameters,
  x: tf.Tensor,
  state: ConvolutionalStemState | undefined,
  config: PatchEmbeddingConfig,
  kind: StagedStemKind,
  context: Context,
): { output: tf.Tensor; state: ConvolutionalStemState } {
  const [batch, time] = x.shape as [number, number];
  const { channels, height, width, neuron } = config;
  let rows = height;
  let columns = width;
  let y = tf.transpose(tf.reshape(x, [batch * time, channels, height, width]), [0, 2, 3, 1]);
  const stages: Record<string, StageState> = {};
  channelsOf(config).forEach((outputs, i) => {
    const { weight, shortcut, neurons, residual } = parameters.stages[i];
    const before = state?.stages[i];
    const pool = (z: tf.Tensor, size: number): tf.Tensor =>
      tf.maxPool(z as tf.Tensor4D, size, 2, 'same');
    const fire = (
      z: tf.Tensor,
      own: SpikingParameters,
      known: tf.Tensor | undefined,
      path: string,
    ): { y: tf.Tensor; membrane: tf.Tensor } => {
      const pixels = z.shape[1]! * z.shape[2]!;
      const { spikes, membrane } = spiking(
        own,
        tf.reshape(z, [batch, time, pixels, outputs]),
        known,
        neuron,
        within(context, `stages.${i}.${path}`),
      );
      return { y: tf.reshape(spikes, z.shape), membrane };
    };
    const multiply =
      (name: string) =>
      (z: tf.Tensor, w: tf.Tensor): tf.Tensor => {
        const [, ...rest] = z.shape;
        const perClip = tf.reshape(z, [batch, time, ...rest]);
        const made = project(perClip, w, within(context, `stages.${i}.${name}`));
        return tf.reshape(made, [batch * time, ...rest.slice(0, -1), outputs]);
      };
    const stride = kind === 'residual' ? 2 : 1;
    const convolved = convolution3(y, weight, { stride, multiply: multiply('weight') });
    const entering =
      kind === 'max'
        ? tf.add(pool(convolved, 3), multiply('shortcut')(pool(y, 3), shortcut!))
        : convolved;
    const first = fire(entering, neurons, before?.membrane, 'neurons');
    y = kind === 'convolutional' ? pool(first.y, 2) : first.y;
    stages[i] = { membrane: first.membrane };
    if (residual !== undefined) {
      const more = convolution3(y, residual.weight, { multiply: multiply('residual.weight') });
      const second = fire(more, residual.neurons, before?.residualMembrane, 'residual.neurons');
      y = tf.add(y, second.y);
      stages[i].residualMembrane = second.membrane;
    }
    rows /= 2;
    columns /= 2;
  });
  return { output: tf.reshape(y, [batch, time, rows * columns, -1]), state: { stages } };
}
