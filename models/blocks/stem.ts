import type * as tf from '@tensorflow/tfjs-core';

import type { Context } from '../context.js';
import type { Initialiser, ParameterTree } from '../parameters.js';
import type { StateTree } from '../model.js';
import {
  convolutionalStem,
  initialiseConvolutionalStem,
  stagedStemKinds,
  type ConvolutionalStemParameters,
  type ConvolutionalStemState,
  type StagedStemKind,
} from './convolutionalStem.js';
import { delayedStem, initialiseDelayedStem, type DelayedStemConfig } from './delayedStem.js';
import { initialiseMotionStem, motionStem, type MotionStemConfig } from './motionStem.js';
import { initialisePatchEmbedding, patchEmbedding } from './patchEmbedding.js';

/** What frames go through first. */
export const stemKinds = ['patch', ...stagedStemKinds, 'delayed', 'motion'] as const;
export type StemKind = (typeof stemKinds)[number];

/** Settings of all stems; those that look back have `delays`. */
export type StemConfig = DelayedStemConfig & MotionStemConfig;
export type StemDelays = StemConfig['delays'];

/** Whether a stem halves rows and columns stage by stage, and so needs patches of 2, 4, 8, … */
export const hasStages = (kind: StemKind): boolean =>
  stagedStemKinds.some((staged) => staged === kind);

/** Where nothing is said. */
export const defaultDelays: StemDelays = { maxDelay: 4, motions: 8, size: 5 };

/** Those of the stem that was chosen. */
export type StemParameters = ParameterTree;
export type StemState = StateTree;

interface Stem<P, S> {
  initialise(initialiser: Initialiser, config: StemConfig): P;
  apply(
    parameters: P,
    x: tf.Tensor,
    state: S | undefined,
    config: StemConfig,
    context: Context,
  ): { output: tf.Tensor; state: S };
}

/** A stem whose types are known to itself alone. */
const entry = <P, S>(stem: Stem<P, S>): Stem<StemParameters, StemState> =>
  stem as unknown as Stem<StemParameters, StemState>;

const ofStages = (kind: StagedStemKind): Stem<StemParameters, StemState> =>
  entry<ConvolutionalStemParameters, ConvolutionalStemState>({
    initialise: (initialiser, config) => initialiseConvolutionalStem(initialiser, config, kind),
    apply: (parameters, x, state, config, context) =>
      convolutionalStem(parameters, x, state, config, kind, context),
  });

const stems: Readonly<Record<StemKind, Stem<StemParameters, StemState>>> = {
  patch: entry({ initialise: initialisePatchEmbedding, apply: patchEmbedding }),
  convolutional: ofStages('convolutional'),
  max: ofStages('max'),
  residual: ofStages('residual'),
  delayed: entry({ initialise: initialiseDelayedStem, apply: delayedStem }),
  motion: entry({ initialise: initialiseMotionStem, apply: motionStem }),
};

export function initialiseStem(
  initialiser: Initialiser,
  config: StemConfig,
  kind: StemKind,
): StemParameters {
  return stems[kind].initialise(initialiser, config);
}

/** The stem of that kind, whose docstring says what it takes and gives. */
export function stem(
  parameters: StemParameters,
  x: tf.Tensor,
  state: StemState | undefined,
  config: StemConfig,
  kind: StemKind,
  context: Context,
): { output: tf.Tensor; state: StemState } {
  return stems[kind].apply(parameters, x, state, config, context);
}
