import * as tf from '@tensorflow/tfjs-core';

import { rmsNorm } from '../../engine/ops/normalise.js';
import { zeros } from '../../engine/ops/zeros.js';
import { SaccadeError } from '../../engine/support/errors.js';
import type { DeltaActivationConfig } from '../blocks/deltaActivation.js';
import { initialiseHead, type HeadParameters } from '../blocks/head.js';
import { framePositions } from '../blocks/positions.js';
import {
  type FeedForwardKind,
  initialiseSpikMambaBlock,
  spikMambaBlock,
  type SpikMambaBlockConfig,
  type SpikMambaBlockParameters,
  type SpikMambaBlockState,
} from '../blocks/spikMambaBlock.js';
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
import { extentShape, type MixerExtent, type PlacedMixer } from '../blocks/placedMixer.js';
import { within, type Context } from '../context.js';
import { hybridSchedule, type HybridPlan } from '../mixers/hybridSchedule.js';
import { createMixer, inLayer, type MixerConfig } from '../mixers/registry.js';
import type { WindowSize } from '../mixers/window.js';
import type { FrameCount } from '../frames.js';
import type { InputShape, Model } from '../model.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import type { ParameterTree } from '../parameters.js';
import { type ByBlock, classifyTokens, initialiseBlocks, runBlocks } from './tokenNetwork.js';

/** Settings of SpikMamba; presets in `presets.ts`. */
export interface SpikMambaConfig {
  /** `causal` carries state from frame to frame; `bidirectional` sees the whole clip at once. */
  readonly mode: 'causal' | 'bidirectional';
  /** What frames go through first; one of stages goes without `kernelFrames`. */
  readonly stem: StemKind;
  /** Of the stems that look back, `delayed` and `motion`; `defaultDelays` where nothing is said. */
  readonly delays?: StemDelays;
  readonly patch: number;
  readonly kernelFrames: number;
  /** Width of the tokens, D. */
  readonly embedding: number;
  /** Number of blocks, L. */
  readonly depth: number;
  readonly heads: number;
  readonly window: WindowSize;
  readonly attentionEpsilon: number;
  readonly stateChannels: number;
  readonly states: number;
  readonly deltaRank: number;
  readonly taps: number;
  readonly scanOrder: 'frame' | 'tube';
  readonly feedForward: number;
  readonly feedForwardKind?: FeedForwardKind;
  readonly classToken: boolean;
  /** A mixer of the registry in place of the attention. */
  readonly mixer?: MixerConfig | undefined;
  /** What that mixer's sequences are; `time` by default. */
  readonly mixerOver?: MixerExtent;
  /** Another mixer in some of the blocks. */
  readonly hybrid?: Omit<HybridPlan, 'base'> | undefined;
  /** Learned position embedding per frame; streams longer than a clip start over with the first. */
  readonly temporalPosition: boolean;
  /**
   * Rounds the real values that go into a block's layers to steps that it learns, and makes training pay for each change
   * from frame to frame, so that `runtime/deltaModel.ts` has less to compute.
   */
  readonly delta?: DeltaActivationConfig | undefined;
  readonly neuron: NeuronConfig;
}

interface SpikMambaParameters {
  readonly embedding: StemParameters;
  readonly spatialPosition: tf.Tensor;
  readonly temporalPosition?: tf.Tensor;
  readonly classToken?: tf.Tensor;
  readonly blocks: ByBlock<SpikMambaBlockParameters>;
  readonly norm: tf.Tensor;
  readonly head: HeadParameters;
}

interface SpikMambaState {
  readonly embedding: StemState;
  readonly blocks: ByBlock<SpikMambaBlockState>;
}

/**
 * SpikMamba (arXiv 2410.16746): spiking 3-D patch embedding with class token and position embeddings,
 * L blocks of spiking window-based linear attention, Spike Mamba and feed-forward, mean over tokens,
 * one linear layer.
 */
export function createSpikMamba(
  config: SpikMambaConfig,
  input: InputShape,
  classes: number,
): Model {
  const rows = input.height / config.patch;
  const columns = input.width / config.patch;
  const tokens = rows * columns;
  const causal = config.mode === 'causal';
  const { neuron } = config;
  const embeddingConfig: StemConfig = {
    channels: input.channels,
    height: input.height,
    width: input.width,
    patch: config.patch,
    kernelFrames: config.kernelFrames,
    embedding: config.embedding,
    delays: config.delays ?? defaultDelays,
    neuron,
  };
  const common: Omit<SpikMambaBlockConfig, 'mixer'> = {
    attention: {
      width: config.embedding,
      heads: config.heads,
      rows,
      columns,
      window: config.window,
      causal,
      epsilon: config.attentionEpsilon,
      neuron,
    },
    mamba: {
      width: config.embedding,
      channels: config.stateChannels,
      states: config.states,
      deltaRank: config.deltaRank,
      taps: config.taps,
      scanOrder: config.scanOrder,
      bidirectional: !causal,
      neuron,
    },
    feedForward: { width: config.embedding, hidden: config.feedForward, neuron },
    feedForwardKind: config.feedForwardKind,
    delta: config.delta,
  };
  const mixers = placedMixers(config, rows, columns);
  const blockConfigs = Array.from({ length: config.depth }, (_, i): SpikMambaBlockConfig => ({
    ...common,
    ...(mixers && { mixer: mixers[i] }),
  }));

  /** Tokens behind the last norm, the class token last. */
  const encode = (
    parameters: SpikMambaParameters,
    x: tf.Tensor,
    before: SpikMambaState | undefined,
    frame: FrameCount,
    context: Context,
  ): { output: tf.Tensor; state: SpikMambaState } => {
    if (!causal && before !== undefined) {
      throw new SaccadeError(
        'usage',
        'a bidirectional model sees the whole clip at once: it takes no state',
      );
    }
    const [batch, time] = x.shape;
    const embedded = stem(
      parameters.embedding,
      x,
      before?.embedding,
      embeddingConfig,
      config.stem,
      within(context, 'embedding'),
    );
    let placed = tf.add(embedded.output, parameters.spatialPosition);
    if (parameters.temporalPosition !== undefined) {
      placed = tf.add(placed, framePositions(parameters.temporalPosition, frame, time));
    }
    if (parameters.classToken !== undefined) {
      // A sum with zeros rather than `tf.tile`, whose gradient is a slice and a sum for each copy.
      const row = tf.reshape(parameters.classToken, [1, 1, 1, -1]);
      const token = tf.add(zeros([batch, time, 1, 1]), row);
      placed = tf.concat([placed, token], 2);
    }
    const { output, states: blocks } = runBlocks(
      parameters.blocks,
      placed,
      before?.blocks,
      config.depth,
      context,
      (block, patches, state, inside, i) =>
        spikMambaBlock(block, patches, state, frame, blockConfigs[i], inside),
    );
    return {
      output: rmsNorm(output, parameters.norm),
      state: { embedding: embedded.state, blocks },
    };
  };

  return {
    kind: 'spikmamba',
    classes,
    input,
    streaming: causal,
    growingState:
      mixers?.some((placed) => placed.mixer.growingState && placed.over !== 'frame') ?? false,
    encoder: {
      patch: config.patch,
      width: config.embedding,
      encode(tree, x, context) {
        const { output } = encode(tree as unknown as SpikMambaParameters, x, undefined, 0, context);
        return tf.slice(output, [0, 0, 0, 0], [-1, -1, tokens, -1]);
      },
    },
    ...(mixers && {
      mixers: new Map(mixers.map(({ mixer }, i) => [`blocks.${i}.attention`, mixer])),
    }),
    initialise(initialiser) {
      const position = (name: string, count: number): tf.Tensor =>
        initialiser.normal(name, [count, config.embedding], 0.02);
      const parameters: SpikMambaParameters = {
        embedding: initialiseStem(initialiser.within('embedding'), embeddingConfig, config.stem),
        spatialPosition: position('spatialPosition', tokens),
        ...(config.temporalPosition && {
          temporalPosition: position('temporalPosition', input.bins),
        }),
        ...(config.classToken && { classToken: position('classToken', 1) }),
        blocks: initialiseBlocks(initialiser, config.depth, (inside, i) =>
          initialiseSpikMambaBlock(inside, blockConfigs[i]),
        ),
        norm: initialiser.constant([config.embedding], 1),
        head: initialiseHead(initialiser.within('head'), config.embedding, classes),
      };
      return parameters as unknown as ParameterTree;
    },
    apply: classifyTokens(encode),
  };
}

/** The blocks' mixers, where the configuration has any. Throws where one looks ahead of a stream. */
function placedMixers(
  { mode, depth, embedding, heads, mixer, mixerOver: over = 'time', hybrid }: SpikMambaConfig,
  rows: number,
  columns: number,
): readonly PlacedMixer[] | undefined {
  if (mixer === undefined) {
    if (hybrid === undefined) return undefined;
    throw new SaccadeError('config', 'needs model.mixer, the mixer of the other blocks', {
      field: 'model.hybrid',
    });
  }
  const plan = hybrid && hybridSchedule(depth, { base: mixer, ...hybrid });
  return Array.from({ length: depth }, (_, layer) => {
    const config = inLayer(plan?.[layer] ?? mixer, layer, depth);
    const shape = extentShape(over, { width: embedding, heads, rows, columns });
    const placed = { mixer: createMixer(config, shape), over };
    if (mode === 'causal' && over !== 'frame' && !placed.mixer.causal) {
      throw new SaccadeError(
        'config',
        `${config.name} looks ahead; in mode causal it goes over each frame alone (model.mixerOver)`,
        { field: 'model.mixer' },
      );
    }
    return placed;
  });
}
