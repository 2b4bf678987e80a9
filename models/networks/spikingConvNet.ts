import * as tf from '@tensorflow/tfjs-core';

import { depthwise, initialiseDepthwise, type DepthwiseParameters } from '../blocks/depthwise.js';
import { initialiseHead, type HeadParameters } from '../blocks/head.js';
import {
  initialisePatchEmbedding,
  patchEmbedding,
  type PatchEmbeddingConfig,
  type PatchEmbeddingParameters,
  type PatchEmbeddingState,
} from '../blocks/patchEmbedding.js';
import { within, type Context } from '../context.js';
import type { FrameCount } from '../frames.js';
import type { InputShape, Model } from '../model.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { ParameterTree } from '../parameters.js';
import { project } from '../project.js';
import { classifyTokens } from './tokenNetwork.js';

export interface SpikingConvNetConfig {
  /** Side of the stem's patches. */
  readonly patch: number;
  /** Channels after the stem and after each stage; each stage but the last halves rows and columns. */
  readonly channels: readonly number[];
  readonly neuron: NeuronConfig;
}

interface StageParameters {
  readonly depthwise: DepthwiseParameters;
  readonly pointwise: tf.Tensor;
  readonly neurons: SpikingParameters;
}

/** Membrane of a stage's neurons, `[batch, tokens, channels]`. */
interface StageState {
  readonly membrane: tf.Tensor;
}

interface SpikingConvNetParameters {
  readonly stem: PatchEmbeddingParameters;
  readonly stages: Readonly<Record<string, StageParameters>>;
  readonly head: HeadParameters;
}

interface SpikingConvNetState {
  readonly stem: PatchEmbeddingState;
  readonly stages: Readonly<Record<string, StageState>>;
}

/**
 * A plain spiking convolutional network: a stem of patches, then stages of 3 × 3 depthwise convolution,
 * pointwise convolution and neurons, with 2 × 2 mean pooling between stages; mean over the pixels left;
 * one linear layer. Time passes through the neurons' membranes alone.
 */
export function createSpikingConvNet(
  { patch, channels, neuron }: SpikingConvNetConfig,
  input: InputShape,
  classes: number,
): Model {
  const rows = input.height / patch;
  const columns = input.width / patch;
  const [stemChannels, ...stageChannels] = channels;
  const stemConfig: PatchEmbeddingConfig = {
    channels: input.channels,
    height: input.height,
    width: input.width,
    patch,
    kernelFrames: 1,
    embedding: stemChannels,
    neuron,
  };

  /** Pixels of the last stage. */
  const encode = (
    parameters: SpikingConvNetParameters,
    x: tf.Tensor,
    before: SpikingConvNetState | undefined,
    _: FrameCount,
    context: Context,
  ): { output: tf.Tensor; state: SpikingConvNetState } => {
    const stem = patchEmbedding(
      parameters.stem,
      x,
      before?.stem,
      stemConfig,
      within(context, 'stem'),
    );
    let output = stem.output;
    const stages: Record<string, StageState> = {};
    stageChannels.forEach((_, i) => {
      const shrink = 2 ** Math.max(0, i - 1);
      if (i > 0) output = meanPool(output, rows / shrink, columns / shrink);
      const result = convolutionStage(
        parameters.stages[i],
        output,
        before?.stages[i],
        [rows / 2 ** i, columns / 2 ** i],
        neuron,
        within(context, `stages.${i}`),
      );
      output = result.output;
      stages[i] = result.state;
    });
    return { output, state: { stem: stem.state, stages } };
  };

  return {
    kind: 'spikingConvNet',
    classes,
    input,
    streaming: true,
    encoder: {
      patch: patch * 2 ** Math.max(0, stageChannels.length - 1),
      width: channels[channels.length - 1],
      encode: (tree, x, context) =>
        encode(tree as unknown as SpikingConvNetParameters, x, undefined, 0, context).output,
    },
    initialise(initialiser) {
      const parameters: SpikingConvNetParameters = {
        stem: initialisePatchEmbedding(initialiser.within('stem'), stemConfig),
        stages: Object.fromEntries(
          stageChannels.map((outputs, i) => {
            const stage = initialiser.within(`stages.${i}`);
            const inputs = channels[i];
            return [
              i,
              {
                depthwise: initialiseDepthwise(stage.within('depthwise'), inputs, { bias: false }),
                pointwise: stage.weight('pointwise', inputs, outputs),
                neurons: initialiseSpiking(stage, outputs, neuron),
              },
            ];
          }),
        ),
        head: initialiseHead(initialiser.within('head'), channels[channels.length - 1], classes),
      };
      return parameters as unknown as ParameterTree;
    },
    apply: classifyTokens(encode),
  };
}

function convolutionStage(
  parameters: StageParameters,
  x: tf.Tensor,
  state: StageState | undefined,
  [rows, columns]: readonly [number, number],
  neuron: NeuronConfig,
  context: Context,
): { output: tf.Tensor; state: StageState } {
  const { spikes, membrane } = spiking(
    parameters.neurons,
    project(
      depthwise(parameters.depthwise, x, rows, columns),
      parameters.pointwise,
      within(context, 'pointwise'),
    ),
    state?.membrane,
    neuron,
    within(context, 'neurons'),
  );
  return { output: spikes, state: { membrane } };
}

/** `[batch, time, rows · columns, channels]` to `[batch, time, rows/2 · columns/2, channels]`. */
function meanPool(x: tf.Tensor, rows: number, columns: number): tf.Tensor {
  const [batch, time, , channels] = x.shape as [number, number, number, number];
  const frames = tf.reshape(x, [batch * time, rows, columns, channels]) as tf.Tensor4D;
  return tf.reshape(tf.avgPool(frames, 2, 2, 'valid'), [batch, time, -1, channels]);
}
