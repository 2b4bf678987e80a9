import { defaultLif } from '../../engine/ops/lif.js';
import { defaultDelays } from '../blocks/stem.js';
import type { LinearConfig } from './linear.js';
import type { LempelZivConfig } from './lempelZiv.js';
import type { PublishedConfig } from './published.js';
import type { SpikformerConfig } from './spikformer.js';
import type { SpikingConvNetConfig } from './spikingConvNet.js';
import type { SpikMambaConfig } from './spikMamba.js';

const common = {
  mode: 'causal',
  stem: 'patch',
  delays: defaultDelays,
  kernelFrames: 1,
  window: { frames: 1, rows: 0, columns: 0 },
  attentionEpsilon: 1,
  taps: 4,
  scanOrder: 'frame',
  temporalPosition: true,
  feedForwardKind: 'spiking',
  mixer: undefined,
  mixerOver: 'time',
  hybrid: undefined,
  delta: undefined,
  // The paper gives no neuron constants. The input isn't divided by tau: after batch normalisation
  // about one neuron in six then fires, rather than one in forty.
  neuron: { ...defaultLif, decayInput: false },
} as const;

/** For tests and the demo: trains in minutes on two cores. */
const nano: SpikMambaConfig = {
  ...common,
  patch: 8,
  embedding: 48,
  depth: 1,
  heads: 2,
  stateChannels: 96,
  states: 8,
  deltaRank: 4,
  feedForward: 96,
  classToken: false,
};

const small: SpikMambaConfig = {
  ...common,
  patch: 8,
  embedding: 128,
  depth: 2,
  heads: 4,
  stateChannels: 256,
  states: 16,
  deltaRank: 8,
  feedForward: 512,
  classToken: true,
};

/**
 * The paper's settings: width 256, two blocks, state-space width 2,048, FFN width 1,024. Where it is
 * silent: patches of 16, 8 heads, and 16 states per channel as in Mamba (the text's "state dimension
 * 256" is read as the width that the projections work at).
 */
const base: SpikMambaConfig = {
  ...common,
  patch: 16,
  embedding: 256,
  depth: 2,
  heads: 8,
  stateChannels: 2048,
  states: 16,
  deltaRank: 16,
  feedForward: 1024,
  classToken: true,
};

export const spikMambaPresets = { nano, small, base } as const;

/**
 * The model that the published code builds. What isn't read off the notes on it: patches of 16 and 8
 * heads; with patches of 16 and 16 frames of 128 × 128 × 3, it has the 2.0 M parameters that are used there.
 */
const published: PublishedConfig = {
  patch: 16,
  embedding: 256,
  depth: 2,
  heads: 8,
  feedForward: 1024,
  neuron: defaultLif,
};

export const publishedPresets = { published } as const;

/** The baselines, of about nano's size for input of 2 × 32 × 32, with nano's neurons. */
export const baselines: {
  readonly spikingConvNet: SpikingConvNetConfig;
  readonly spikformer: SpikformerConfig;
  readonly linear: LinearConfig;
  readonly lempelZiv: LempelZivConfig;
} = {
  spikingConvNet: { patch: 4, channels: [64, 128, 256], neuron: common.neuron },
  spikformer: {
    stem: 'patch',
    delays: defaultDelays,
    patch: 8,
    embedding: 64,
    depth: 1,
    heads: 2,
    feedForward: 192,
    attentionScale: 0.125,
    neuron: common.neuron,
  },
  linear: { logarithm: true },
  lempelZiv: { patch: 4, window: 0 },
};
