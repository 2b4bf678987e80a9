import * as tf from '@tensorflow/tfjs-core';

import { head, initialiseHead, type HeadParameters, type HeadState } from '../blocks/head.js';
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
import { framesAfter, type FrameCount } from '../frames.js';
import type { InputShape, Model, StateTree } from '../model.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import type { ParameterTree } from '../parameters.js';

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
  readonly blocks: Readonly<Record<string, PublishedBlockParameters>>;
  readonly norm: LayerNormParameters;
  readonly head: HeadParameters;
}

interface PublishedState {
  readonly embedding: PatchEmbeddingState;
  readonly blocks: Readonly<Record<string, PublishedBlockState>>;
  readonly head: HeadState;
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
  const blockNames = Array.from({ length: config.depth }, (_, i) => String(i));

  /** Tokens behind the last norm. */
  const encode = (
    parameters: PublishedParameters,
    x: tf.Tensor,
    before: PublishedState | undefined,
    frame: FrameCount,
    context: Context,
  ): { output: tf.Tensor; state: Omit<PublishedState, 'head'> } => {
    const embedded = patchEmbedding(
      parameters.embedding,
      x,
      before?.embedding,
      embeddingConfig,
      within(context, 'embedding'),
    );
    let output = tf.add(
      tf.add(embedded.output, parameters.spatialPosition),
      framePositions(parameters.temporalPosition, frame, x.shape[1]!),
    );
    const blocks: Record<string, PublishedBlockState> = {};
    for (const name of blockNames) {
      const result = publishedBlock(
        parameters.blocks[name],
        output,
        before?.blocks[name],
        blockConfig,
        within(context, `blocks.${name}`),
      );
      output = result.output;
      blocks[name] = result.state;
    }
    const state = { embedding: embedded.state, blocks };
    return { output: layerNorm(parameters.norm, output), state };
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
        blocks: Object.fromEntries(
          blockNames.map((name) => [
            name,
            initialisePublishedBlock(initialiser.within(`blocks.${name}`), blockConfig),
          ]),
        ),
        norm: initialiseLayerNorm(initialiser, width),
        head: initialiseHead(initialiser.within('head'), width, classes),
      };
      return parameters as unknown as ParameterTree;
    },
    apply(tree, x, state, context) {
      const parameters = tree as unknown as PublishedParameters;
      const before = state?.layers as unknown as PublishedState | undefined;
      const frame = state?.frame ?? 0;
      const encoded = encode(parameters, x, before, frame, context);
      const predicted = head(parameters.head, tf.mean(encoded.output, 2), before?.head, frame);
      const layers: PublishedState = { ...encoded.state, head: predicted.state };
      return {
        logits: predicted.logits,
        state: {
          frame: framesAfter(state?.frame, x.shape[1]!),
          layers: layers as unknown as StateTree,
        },
      };
    },
  };
}
