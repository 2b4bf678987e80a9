import type * as tf from '@tensorflow/tfjs-core';

import type { Context } from '../context.js';
import type { Initialiser } from '../parameters.js';
import {
  convolutionalStem,
  initialiseConvolutionalStem,
  type ConvolutionalStemParameters,
  type ConvolutionalStemState,
} from './convolutionalStem.js';
import {
  initialisePatchEmbedding,
  patchEmbedding,
  type PatchEmbeddingConfig,
  type PatchEmbeddingParameters,
  type PatchEmbeddingState,
} from './patchEmbedding.js';

/** What frames go through first. */
export const stemKinds = ['patch', 'convolutional', 'max'] as const;
export type StemKind = (typeof stemKinds)[number];

export type StemParameters = PatchEmbeddingParameters | ConvolutionalStemParameters;
export type StemState = PatchEmbeddingState | ConvolutionalStemState;

export function initialiseStem(
  initialiser: Initialiser,
  config: PatchEmbeddingConfig,
  kind: StemKind,
): StemParameters {
  return kind === 'patch'
    ? initialisePatchEmbedding(initialiser, config)
    : initialiseConvolutionalStem(initialiser, config, kind);
}

/** `patchEmbedding` or `convolutionalStem`, whose docstrings say what they take and give. */
export function stem(
  parameters: StemParameters,
  x: tf.Tensor,
  state: StemState | undefined,
  config: PatchEmbeddingConfig,
  kind: StemKind,
  context: Context,
): { output: tf.Tensor; state: StemState } {
  if (kind === 'patch') {
    return patchEmbedding(
      parameters as PatchEmbeddingParameters,
      x,
      state as PatchEmbeddingState | undefined,
      config,
      context,
    );
  }
  return convolutionalStem(
    parameters as ConvolutionalStemParameters,
    x,
    state as ConvolutionalStemState | undefined,
    config,
    kind,
    context,
  );
}
