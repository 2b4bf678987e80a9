import * as tf from '@tensorflow/tfjs-core';

import { rmsNorm } from '../../engine/ops/normalise.js';
import { within, type Context } from '../context.js';
import type { FrameCount } from '../frames.js';
import {
  initialiseSpikeMamba,
  spikeMamba,
  type SpikeMambaConfig,
  type SpikeMambaParameters,
  type SpikeMambaState,
} from '../mixers/spikeMamba.js';
import {
  initialiseSpikingLinearAttention,
  spikingLinearAttention,
  type SpikingLinearAttentionConfig,
  type SpikingLinearAttentionParameters,
  type SpikingLinearAttentionState,
} from '../mixers/spikingLinearAttention.js';
import type { StateTree } from '../model.js';
import type { Initialiser, ParameterTree } from '../parameters.js';
import {
  deltaActivation,
  initialiseDeltaActivation,
  type DeltaActivationConfig,
  type DeltaActivationParameters,
} from './deltaActivation.js';
import {
  feedForward,
  initialiseFeedForward,
  type FeedForwardConfig,
  type FeedForwardParameters,
  type FeedForwardState,
} from './feedForward.js';
import { placedMixer, type PlacedMixer } from './placedMixer.js';
import {
  initialiseSimpleGatedUnit,
  simpleGatedUnit,
  type SimpleGatedUnitParameters,
} from './simpleGatedUnit.js';
import {
  initialiseSpikingReceptance,
  spikingReceptance,
  type SpikingReceptanceParameters,
  type SpikingReceptanceState,
} from './spikingReceptance.js';

export const feedForwardKinds = ['spiking', 'gated', 'receptance'] as const;
export type FeedForwardKind = (typeof feedForwardKinds)[number];

export interface SpikMambaBlockConfig {
  readonly attention: SpikingLinearAttentionConfig;
  /** Takes the place of the attention, where there is one. */
  readonly mixer?: PlacedMixer;
  readonly mamba: SpikeMambaConfig;
  readonly feedForward: FeedForwardConfig;
  /** What the feed-forward part is: two layers with neurons between, a gated unit without any, or SpikeGPT's. */
  readonly feedForwardKind?: FeedForwardKind | undefined;
  /** Rounds what goes into the layers of real values, where it is there. */
  readonly delta?: DeltaActivationConfig | undefined;
}

/** What goes into layers of real values: the tokens of each part, in order. */
const deltaPlaces = ['attention', 'mamba', 'feedForward'] as const;
type DeltaPlace = (typeof deltaPlaces)[number];

export interface SpikMambaBlockParameters {
  readonly mixerNorm: tf.Tensor;
  /** Where a mixer takes its place, that mixer's own. */
  readonly attention: SpikingLinearAttentionParameters;
  readonly mamba: SpikeMambaParameters;
  readonly feedForwardNorm: tf.Tensor;
  /** Where it is of another kind, that one's. */
  readonly feedForward: FeedForwardParameters;
  readonly delta?: Readonly<Record<DeltaPlace, DeltaActivationParameters>>;
}

export interface SpikMambaBlockState {
  readonly attention: SpikingLinearAttentionState;
  readonly mamba: SpikeMambaState;
  /** Where it is of another kind, that one's; none of a gated unit. */
  readonly feedForward?: FeedForwardState;
}

export function initialiseSpikMambaBlock(
  initialiser: Initialiser,
  config: SpikMambaBlockConfig,
): SpikMambaBlockParameters {
  const { width } = config.mamba;
  const { delta } = config;
  return {
    mixerNorm: initialiser.constant([width], 1),
    attention: initialiseAttention(initialiser.within('attention'), config),
    mamba: initialiseSpikeMamba(initialiser.within('mamba'), config.mamba),
    feedForwardNorm: initialiser.constant([width], 1),
    feedForward: initialiseChannels(initialiser.within('feedForward'), config),
    ...(delta && {
      delta: Object.fromEntries(
        deltaPlaces.map((place) => [place, initialiseDeltaActivation(initialiser, delta)]),
      ) as Record<DeltaPlace, DeltaActivationParameters>,
    }),
  };
}

/**
 * One SpikMamba block: `y = x + SpikeMamba(SLA(x))`, `z = y + FFN(y)`. Where the paper is silent: both
 * branches take root-mean-square normalised tokens. A class token has no place in the windows of a
 * frame; it passes SLA by and meets the patches in the scan, which it closes for each frame. A mixer of
 * the registry can stand in place of SLA.
 *
 * @param x `[batch, time, tokens, width]`, patches in raster order, then the class token if there is one.
 * @param frame number of frames of the clip, or of each clip, before this chunk.
 */
export function spikMambaBlock(
  parameters: SpikMambaBlockParameters,
  x: tf.Tensor,
  state: SpikMambaBlockState | undefined,
  frame: FrameCount,
  config: SpikMambaBlockConfig,
  context: Context,
): { output: tf.Tensor; state: SpikMambaBlockState } {
  const patchCount = config.attention.rows * config.attention.columns;
  const rounded = (place: DeltaPlace, y: tf.Tensor): tf.Tensor =>
    config.delta === undefined || parameters.delta === undefined
      ? y
      : deltaActivation(parameters.delta[place], y, config.delta, fanOut(place, config), context);
  const normal = rounded('attention', rmsNorm(x, parameters.mixerNorm));
  const extra = x.shape[2]! - patchCount;
  const [patches, others] =
    extra === 0 ? [normal, undefined] : tf.split(normal, [patchCount, extra], 2);
  const attended = attend(parameters, patches, state, frame, config, within(context, 'attention'));
  const tokens = others === undefined ? attended.output : tf.concat([attended.output, others], 2);
  const scanned = spikeMamba(
    parameters.mamba,
    rounded('mamba', tokens),
    state?.mamba,
    config.mamba,
    within(context, 'mamba'),
  );
  const y = tf.add(x, scanned.output);
  const normalY = rounded('feedForward', rmsNorm(y, parameters.feedForwardNorm));
  const fed = mixChannels(parameters, normalY, state, config, within(context, 'feedForward'));
  return {
    output: tf.add(y, fed.output),
    state: {
      attention: attended.state,
      mamba: scanned.state,
      ...(fed.state && { feedForward: fed.state }),
    },
  };
}

/** Outputs that a value feeds: of the two branches of each mixer (of any in its place, too), and of the feed-forward part. */
function fanOut(
  place: DeltaPlace,
  { mamba, feedForward: { width, hidden }, feedForwardKind = 'spiking' }: SpikMambaBlockConfig,
): number {
  switch (place) {
    case 'attention':
      return 2 * mamba.width;
    case 'mamba':
      return 2 * mamba.channels;
    case 'feedForward':
      return { spiking: hidden, gated: 2 * hidden, receptance: hidden + width }[feedForwardKind];
  }
}

function initialiseAttention(
  initialiser: Initialiser,
  { attention, mixer }: SpikMambaBlockConfig,
): SpikingLinearAttentionParameters {
  return mixer === undefined
    ? initialiseSpikingLinearAttention(initialiser, attention)
    : (mixer.mixer.initialise(initialiser) as unknown as SpikingLinearAttentionParameters);
}

/** The attention half of the block: SLA, or the mixer in its place. */
function attend(
  { attention }: SpikMambaBlockParameters,
  patches: tf.Tensor,
  state: SpikMambaBlockState | undefined,
  frame: FrameCount,
  config: SpikMambaBlockConfig,
  context: Context,
): { output: tf.Tensor; state: SpikingLinearAttentionState } {
  const known = state?.attention;
  if (config.mixer === undefined) {
    return spikingLinearAttention(attention, patches, known, frame, config.attention, context);
  }
  const mixed = placedMixer(
    attention as unknown as ParameterTree,
    patches,
    known as unknown as StateTree | undefined,
    frame,
    config.mixer,
    context,
  );
  return {
    output: mixed.output,
    state: mixed.state as unknown as SpikingLinearAttentionState,
  };
}

function initialiseChannels(
  initialiser: Initialiser,
  { feedForward: config, feedForwardKind }: SpikMambaBlockConfig,
): FeedForwardParameters {
  const initialise = {
    spiking: initialiseFeedForward,
    gated: initialiseSimpleGatedUnit,
    receptance: initialiseSpikingReceptance,
  }[feedForwardKind ?? 'spiking'];
  return initialise(initialiser, config) as unknown as FeedForwardParameters;
}

/** The feed-forward half of the block. */
function mixChannels(
  parameters: SpikMambaBlockParameters,
  x: tf.Tensor,
  state: SpikMambaBlockState | undefined,
  config: SpikMambaBlockConfig,
  context: Context,
): { output: tf.Tensor; state?: FeedForwardState } {
  if (config.feedForwardKind === 'gated') {
    const unit = parameters.feedForward as unknown as SimpleGatedUnitParameters;
    return { output: simpleGatedUnit(unit, x, context) };
  }
  if (config.feedForwardKind === 'receptance') {
    const mixed = spikingReceptance(
      parameters.feedForward as unknown as SpikingReceptanceParameters,
      x,
      state?.feedForward as unknown as SpikingReceptanceState | undefined,
      config.feedForward,
      context,
    );
    return { output: mixed.output, state: mixed.state as FeedForwardState };
  }
  return feedForward(parameters.feedForward, x, state?.feedForward, config.feedForward, context);
}
