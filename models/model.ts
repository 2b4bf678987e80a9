import type * as tf from '@tensorflow/tfjs-core';

import type { Context } from './context.js';
import type { FrameCount } from './frames.js';
import type { TokenMixer } from './mixers/tokenMixer.js';
import type { Initialiser, ParameterTree } from './parameters.js';
import type { ClipState } from './state.js';

export type { ClipState, StateTree } from './state.js';

/** What a model reads: frames of events. */
export interface InputShape {
  /** Time bins of a training clip. */
  readonly bins: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** A network up to its head: frames to tokens. What it learns without labels, the network goes on from. */
export interface TokenEncoder {
  /** Side of the square of pixels that each token stands for; tokens are in raster order. */
  readonly patch: number;
  /** Values of a token. */
  readonly width: number;
  /**
   * @param parameters those of the network; the head's may be missing.
   * @param input whole clips, `[batch, time, channels, height, width]`.
   * @returns `[batch, time, tokens, width]`.
   */
  encode(parameters: ParameterTree, input: tf.Tensor, context: Context): tf.Tensor;
}

/**
 * A network as a function of parameters, input and state. It holds nothing: the same parameters, input
 * and state give the same output, and a clip's output never depends on its batch-mates (outside
 * training, where batch normalisation looks at the whole batch).
 */
export interface Model {
  readonly kind: string;
  readonly classes: number;
  readonly input: InputShape;
  /** Whether clips can be fed in chunks: whole = chunked = frame by frame. */
  readonly streaming: boolean;
  /**
   * Whether the state grows with the clip. Such states have as many shapes as clips have lengths: only clips that stand at
   * the same frame can be one batch.
   */
  readonly growingState?: boolean;
  /** Where it makes tokens before it decides. Parameters of its head are those below `head`. */
  readonly encoder?: TokenEncoder;
  /** Its mixers of the registry, by the paths of their parameters; where it has any. */
  readonly mixers?: ReadonlyMap<string, TokenMixer>;
  initialise(initialiser: Initialiser): ParameterTree;
  /**
   * @param input `[batch, time, channels, height, width]`; any time where the model streams.
   * @param state of the clip so far; undefined at its start.
   * @returns logits after each frame, `[batch, time, classes]`; the last ones are the clip's.
   */
  apply<Frames extends FrameCount = number>(
    parameters: ParameterTree,
    input: tf.Tensor,
    state: ClipState<Frames> | undefined,
    context: Context,
  ): { logits: tf.Tensor; state: ClipState<Frames> };
}
