import * as tf from '@tensorflow/tfjs-core';

import { depthwise, initialiseDepthwise, type DepthwiseParameters } from '../blocks/depthwise.js';
import { head, initialiseHead, type HeadParameters, type HeadState } from '../blocks/head.js';
import {
  initialisePatchEmbedding,
  patchEmbedding,
  type PatchEmbeddingConfig,
  type PatchEmbeddingParameters,
  type PatchEmbeddingState,
} from '../blocks/patchEmbedding.js';
import {
  initialiseSpikformerBlock,
  spikformerBlock,
  type SpikformerBlockConfig,
  type SpikformerBlockParameters,
  type SpikformerBlockState,
} from '../blocks/spikformerBlock.js';
import { within } from '../context.js';
import { framesAfter } from '../frames.js';
import type { InputShape, Model, StateTree } from '../model.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { ParameterTree } from '../parameters.js';

export interface SpikformerConfig {
  readonly patch: number;
  /** Width of the tokens. */
  readonly embedding: number;
  readonly depth: number;
  readonly heads: number;
  /** Hidden width of the feed-forward parts. */
  readonly feedForward: number;
  /** The factor s of the attention's scores. */
  readonly attentionScale: number;
  readonly neuron: NeuronConfig;
}

interface SpikformerParameters {
  readonly embedding: PatchEmbeddingParameters;
  readonly position: DepthwiseParameters;
  readonly positionNeurons: SpikingParameters;
  readonly blocks: Readonly<Record<string, SpikformerBlockParameters>>;
  readonly head: HeadParameters;
}

interface SpikformerState {
  readonly embedding: PatchEmbeddingState;
  /** `[batch, tokens, embedding]`. */
  readonly positionMembrane: tf.Tensor;
  readonly blocks: Readonly<Record<string, SpikformerBlockState>>;
  readonly head: HeadState;
}

/**
 * A Spikformer-style network (Zhou et al., ICLR 2023): spiking patch embedding, relative position from a
 * 3 × 3 convolution with neurons, L blocks of spiking self-attention and MLP, mean over tokens, one linear
 * layer. Unlike there, the embedding is one layer of patches, and the convolution is depthwise. Attention
 * stays inside a frame: time passes through the neurons' membranes alone.
 */
export function createSpikformer(
  config: SpikformerConfig,
  input: InputShape,
  classes: number,
): Model {
  const rows = input.height / config.patch;
  const columns = input.width / config.patch;
  const { embedding: width, neuron } = config;
  const embeddingConfig: PatchEmbeddingConfig = {
    channels: input.channels,
    height: input.height,
    width: input.width,
    patch: config.patch,
    kernelFrames: 1,
    embedding: width,
    neuron,
  };
  const blockConfig: SpikformerBlockConfig = {
    attention: { width, heads: config.heads, scale: config.attentionScale, neuron },
    hidden: config.feedForward,
  };
  const blockNames = Array.from({ length: config.depth }, (_, i) => String(i));

  return {
    kind: 'spikformer',
    classes,
    input,
    streaming: true,
    initialise(initialiser) {
      const parameters: SpikformerParameters = {
        embedding: initialisePatchEmbedding(initialiser.within('embedding'), embeddingConfig),
        position: initialiseDepthwise(initialiser.within('position'), width, { bias: false }),
        positionNeurons: initialiseSpiking(initialiser, width, neuron),
        blocks: Object.fromEntries(
          blockNames.map((name) => [
            name,
            initialiseSpikformerBlock(initialiser.within(`blocks.${name}`), blockConfig),
          ]),
        ),
        head: initialiseHead(initialiser.within('head'), width, classes),
      };
      return parameters as unknown as ParameterTree;
    },
    apply(tree, x, state, context) {
      const parameters = tree as unknown as SpikformerParameters;
      const before = state?.layers as unknown as SpikformerState | undefined;
      const frame = state?.frame ?? 0;
      const time = x.shape[1]!;

      const embedded = patchEmbedding(
        parameters.embedding,
        x,
        before?.embedding,
        embeddingConfig,
        within(context, 'embedding'),
      );
      const placed = spiking(
        parameters.positionNeurons,
        depthwise(parameters.position, embedded.output, rows, columns),
        before?.positionMembrane,
        neuron,
        within(context, 'positionNeurons'),
      );
      let output = tf.add(embedded.output, placed.spikes);
      const blocks: Record<string, SpikformerBlockState> = {};
      for (const name of blockNames) {
        const result = spikformerBlock(
          parameters.blocks[name],
          output,
          before?.blocks[name],
          blockConfig,
          within(context, `blocks.${name}`),
        );
        output = result.output;
        blocks[name] = result.state;
      }
      const predicted = head(parameters.head, tf.mean(output, 2), before?.head, frame);
      const layers: SpikformerState = {
        embedding: embedded.state,
        positionMembrane: placed.membrane,
        blocks,
        head: predicted.state,
      };
      return {
        logits: predicted.logits,
        state: { frame: framesAfter(state?.frame, time), layers: layers as unknown as StateTree },
      };
    },
  };
}
