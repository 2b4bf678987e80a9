import * as tf from '@tensorflow/tfjs-core';

import { causalConv1d } from '../../engine/ops/causalConv1d.js';
import { linear } from '../../engine/ops/linear.js';
import { selectiveScan, type ScanInputs } from '../../engine/ops/selectiveScan.js';
import { silu } from '../../engine/ops/silu.js';
import { zeros } from '../../engine/ops/zeros.js';
import type { Initialiser } from '../parameters.js';

export interface ScanSizes {
  /** Channels of the state space, E ("state-space width"). */
  readonly channels: number;
  /** State values per channel, N of Mamba. */
  readonly states: number;
  /** Rank of the step size's projection. */
  readonly deltaRank: number;
  /** Taps of the causal convolution. */
  readonly taps: number;
}

/** Carried from chunk to chunk. */
export interface ScanState {
  /** Last inputs of the convolution, `[sequences, taps-1, channels]`. */
  readonly tail: tf.Tensor;
  /** S6 state, `[sequences, channels, states]`. */
  readonly hidden: tf.Tensor;
}

/** One direction's convolution and state space. */
export type ScanParameters = Readonly<
  Record<
    | 'convolutionWeight'
    | 'convolutionBias'
    | 'projection'
    | 'deltaProjection'
    | 'deltaBias'
    | 'logA'
    | 'skip',
    tf.Tensor
  >
>;

export function initialiseScan(initialiser: Initialiser, config: ScanSizes): ScanParameters {
  const { channels, states, deltaRank, taps } = config;
  // Step sizes start log-uniform in [0.001, 0.1] and A at -1 … -N, as in Mamba (S4D-real).
  const logStep = initialiser.uniform('step', [channels], Math.log(1e-3), Math.log(1e-1));
  const deltaBias = tf.tidy(() => {
    const step = tf.exp(logStep);
    return tf.add(step, tf.log(tf.neg(tf.expm1(tf.neg(step)))));
  });
  logStep.dispose();
  return {
    convolutionWeight: initialiser.normal('convolution', [taps, channels], 1 / Math.sqrt(taps)),
    convolutionBias: initialiser.constant([channels], 0),
    projection: initialiser.weight('projection', channels, deltaRank + 2 * states),
    deltaProjection: initialiser.weight('delta', deltaRank, channels),
    deltaBias,
    logA: initialiser.fill([channels, states], (i) => Math.log((i % states) + 1)),
    skip: initialiser.constant([channels], 1),
  };
}

/**
 * Convolution, SiLU and S6 over sequences.
 *
 * @param x `[sequences, length, channels]`.
 * @param run what computes S6.
 */
export function scan(
  parameters: ScanParameters,
  x: tf.Tensor,
  state: ScanState | undefined,
  { channels, states, deltaRank, taps }: ScanSizes,
  reverse: boolean,
  run: typeof selectiveScan = selectiveScan,
): { y: tf.Tensor } & ScanState {
  const [sequences] = x.shape;
  const convolved = causalConv1d(
    x,
    parameters.convolutionWeight,
    parameters.convolutionBias,
    state?.tail ?? zeros([sequences, taps - 1, channels]),
    { reverse },
  );
  const u = silu(convolved.y);
  const [rank, B, C] = tf.split(linear(u, parameters.projection), [deltaRank, states, states], -1);
  const inputs: ScanInputs = {
    u,
    delta: linear(rank, parameters.deltaProjection),
    A: tf.neg(tf.exp(parameters.logA)),
    B,
    C,
    D: parameters.skip,
    deltaBias: parameters.deltaBias,
  };
  const hidden = state?.hidden ?? zeros([sequences, channels, states]);
  const scanned = run(inputs, hidden, { reverse });
  return { y: scanned.y, tail: convolved.state, hidden: scanned.state };
}
