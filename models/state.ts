import type * as tf from '@tensorflow/tfjs-core';

import type { FrameCount } from './frames.js';

/** State of a model in the middle of a clip: a tree of tensors. */
export interface StateTree {
  readonly [name: string]: tf.Tensor | StateTree | undefined;
}

/** Where a clip stands: how many frames it has had, and what they left behind. */
export interface ClipState<Frames extends FrameCount = number> {
  /** Frames of the clip so far; one count for each clip where those of a batch began at different times. */
  readonly frame: Frames;
  readonly layers: StateTree;
}
