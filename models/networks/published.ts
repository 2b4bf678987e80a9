import * as tf from '@tensorflow/tfjs-core';

import { initialiseHead, type HeadParameters } from '../blocks/head.js';
import { initialiseLayerNorm, layerNorm, type LayerNormParameters } from '../blocks/layerNorm.js';
import {
  initialisePatchEmbedding,
  patchEmbedding,
  type PatchEmbeddingConfig,
  type PatchEmbeddingParameters,
  type PatchEmbeddingState,
} from '../blocks/patchEmbedding.js';
import { framePositions } from '../blocks/positions.js';
import {
  initialisePublishedBlock,
  publishedBlock,
  type PublishedBlockConfig,
  type PublishedBlockParameters,
  type PublishedBlockState,
} from '../blocks/publishedBlock.js';
import { within, type Context } from '../context.js';
import { rotaryTable } from '../mixers/rotary.js';
import type { FrameCount } from '../frames.js';
import type { InputShape, Model } from '../model.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import type { ParameterTree } from '../parameters.js';
import { type ByBlock, classifyTokens, initialiseBlocks, runBlocks } from './tokenNetwork.js';

/** Settings of the published model; its preset is in `presets.ts`. */
export interface PublishedConfig {
  readonly patch: number;
  /** Width of the tokens, a multiple of 4. */
  readonly embedding: number;
  readonly depth: number;
  /** Heads; each has an even width. */
  readonly heads: number;
  /** Hidden width of the feed-forward parts. */
  readonly feedForward: number;
  readonly neuron: NeuronConfig;
}

interface PublishedParameters {
  readonly embedding: PatchEmbeddingParameters;
  readonly spatialPosition: tf.Tensor;
  readonly temporalPosition: tf.Tensor;
  readonly blocks: ByBlock<PublishedBlockParameters>;
  readonly norm: LayerNormParameters;
  readonly head: HeadParameters;
}

interface PublishedState {
  readonly embedding: PatchEmbeddingState;
  readonly blocks: ByBlock<PublishedBlockState>;
}

/**
 * What the code published with SpikMamba computes: linear attention alone, each frame a window, without
 * a state space. Unlike there, neurons run along the frames of one clip, so that clips don't depend on
 * their batch-mates; and there is no class token, which that code adds and cuts away again.
 */
export function createPublished(
  config: PublishedConfig,
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
  const blockConfig: PublishedBlockConfig = {
    attention: {
      width,
      heads: config.heads,
      rows,
      columns,
      rotary: rotaryTable(rows, columns, width),
      neuron,
    },
    hidden: config.feedForward,
  };

  /** Tokens behind the last norm. */
  const encode = (
    parameters: PublishedParameters,
    x: tf.Tensor,
    before: PublishedState | undefined,
    frame: FrameCount,
    context: Context,
  ): { output: tf.Tensor; state: PublishedState } => {
    const embedded = patchEmbedding(
      parameters.embedding,
      x,
      before?.embedding,
      embeddingConfig,
      within(context, 'embedding'),
    );
    const placed = tf.add(
      tf.add(embedded.output, parameters.spatialPosition),
      framePositions(parameters.temporalPosition, frame, x.shape[1]!),
    );
    const { output, states: blocks } = runBlocks(
      parameters.blocks,
      placed,
      before?.blocks,
      config.depth,
      context,
      (block, tokens, state, inside) => publishedBlock(block, tokens, state, blockConfig, inside),
    );
    return {
      output: layerNorm(parameters.norm, output),
      state: { embedding: embedded.state, blocks },
    };
  };

  return {
    kind: 'published',
    classes,
    input,
    streaming: true,
    encoder: {
      patch: config.patch,
      width,
      encode: (tree, x, context) =>
        encode(tree as unknown as PublishedParameters, x, undefined, 0, context).output,
    },
    initialise(initialiser) {
      const position = (name: string, count: number): tf.Tensor =>
        initialiser.normal(name, [count, width], 0.02);
      const parameters: PublishedParameters = {
        embedding: initialisePatchEmbedding(initialiser.within('embedding'), embeddingConfig),
        spatialPosition: position('spatialPosition', rows * columns),
        temporalPosition: position('temporalPosition', input.bins),
        blocks: initialiseBlocks(initialiser, config.depth, (inside) =>
          initialisePublishedBlock(inside, blockConfig),
        ),
        norm: initialiseLayerNorm(initialiser, width),
        head: initialiseHead(initialiser.within('head'), width, classes),
      };
      return parameters as unknown as ParameterTree;
    },
    apply: classifyTokens(encode),
  };
}
