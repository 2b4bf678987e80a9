import * as tf from '@tensorflow/tfjs-core';

import { depthwise, initialiseDepthwise, type DepthwiseParameters } from '../blocks/depthwise.js';
import { initialiseHead, type HeadParameters } from '../blocks/head.js';
import {
  initialiseSpikformerBlock,
  spikformerBlock,
  type SpikformerBlockConfig,
  type SpikformerBlockParameters,
  type SpikformerBlockState,
} from '../blocks/spikformerBlock.js';
import {
  defaultDelays,
  initialiseStem,
  stem,
  type StemConfig,
  type StemDelays,
  type StemKind,
  type StemParameters,
  type StemState,
} from '../blocks/stem.js';
import { within, type Context } from '../context.js';
import type { InputShape, Model } from '../model.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser, ParameterTree } from '../parameters.js';
import { type ByBlock, classifyTokens, initialiseBlocks, runBlocks } from './tokenNetwork.js';

export interface SpikformerConfig {
  /** What makes tokens of pixels; those that convolve need a `patch` that is a power of two, at least 2. */
  readonly stem: StemKind;
  /** Of the stems that look back, `delayed` and `motion`; `defaultDelays` where nothing is said. */
  readonly delays?: StemDelays;
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

/** Without the head. */
export interface SpikformerEncoderParameters {
  readonly embedding: StemParameters;
  readonly position: DepthwiseParameters;
  readonly positionNeurons: SpikingParameters;
  readonly blocks: ByBlock<SpikformerBlockParameters>;
}

export interface SpikformerEncoderState {
  readonly embedding: StemState;
  /** `[batch, tokens, embedding]`. */
  readonly positionMembrane: tf.Tensor;
  readonly blocks: ByBlock<SpikformerBlockState>;
}

type SpikformerParameters = SpikformerEncoderParameters & { readonly head: HeadParameters };

/** Frames to tokens: the network up to its head, which pretraining shares with it. */
export interface SpikformerEncoder {
  initialise(initialiser: Initialiser): SpikformerEncoderParameters;
  /** @returns tokens, `[batch, time, tokens, embedding]`. */
  apply(
    parameters: SpikformerEncoderParameters,
    x: tf.Tensor,
    state: SpikformerEncoderState | undefined,
    context: Context,
  ): { output: tf.Tensor; state: SpikformerEncoderState };
}

export function createSpikformerEncoder(
  config: SpikformerConfig,
  input: InputShape,
): SpikformerEncoder {
  const rows = input.height / config.patch;
  const columns = input.width / config.patch;
  const { embedding: width, neuron } = config;
  const embeddingConfig: StemConfig = {
    channels: input.channels,
    height: input.height,
    width: input.width,
    patch: config.patch,
    kernelFrames: 1,
    embedding: width,
    delays: config.delays ?? defaultDelays,
    neuron,
  };
  const blockConfig: SpikformerBlockConfig = {
    attention: { width, heads: config.heads, scale: config.attentionScale, neuron },
    hidden: config.feedForward,
  };
  return {
    initialise: (initialiser) => ({
      embedding: initialiseStem(initialiser.within('embedding'), embeddingConfig, config.stem),
      position: initialiseDepthwise(initialiser.within('position'), width, { bias: false }),
      positionNeurons: initialiseSpiking(initialiser, width, neuron),
      blocks: initialiseBlocks(initialiser, config.depth, (inside) =>
        initialiseSpikformerBlock(inside, blockConfig),
      ),
    }),
    apply(parameters, x, before, context) {
      const embedded = stem(
        parameters.embedding,
        x,
        before?.embedding,
        embeddingConfig,
        config.stem,
        within(context, 'embedding'),
      );
      const placed = spiking(
        parameters.positionNeurons,
        depthwise(parameters.position, embedded.output, rows, columns),
        before?.positionMembrane,
        neuron,
        within(context, 'positionNeurons'),
      );
      const { output, states: blocks } = runBlocks(
        parameters.blocks,
        tf.add(embedded.output, placed.spikes),
        before?.blocks,
        config.depth,
        context,
        (block, tokens, state, inside) =>
          spikformerBlock(block, tokens, state, blockConfig, inside),
      );
      return {
        output,
        state: { embedding: embedded.state, positionMembrane: placed.membrane, blocks },
      };
    },
  };
}

/**
 * A Spikformer-style network (Zhou et al., ICLR 2023): spiking patch embedding, relative position from a
 * 3 × 3 convolution with neurons, L blocks of spiking self-attention and MLP, mean over tokens, one linear
 * layer. Unlike there, the convolution is depthwise, and the
 * embedding is one layer of patches unless `stem` says otherwise. Attention
 * stays inside a frame: time passes through the neurons' membranes alone.
 */
export function createSpikformer(
  config: SpikformerConfig,
  input: InputShape,
  classes: number,
): Model {
  const encoder = createSpikformerEncoder(config, input);
  return {
    kind: 'spikformer',
    classes,
    input,
    streaming: true,
    encoder: {
      patch: config.patch,
      width: config.embedding,
      encode: (tree, x, context) =>
        encoder.apply(tree as unknown as SpikformerParameters, x, undefined, context).output,
    },
    initialise(initialiser) {
      const parameters: SpikformerParameters = {
        ...encoder.initialise(initialiser),
        head: initialiseHead(initialiser.within('head'), config.embedding, classes),
      };
      return parameters as unknown as ParameterTree;
    },
    apply: classifyTokens(
      (
        parameters: SpikformerParameters,
        x,
        before: SpikformerEncoderState | undefined,
        _,
        context,
      ) => encoder.apply(parameters, x, before, context),
    ),
  };
}
