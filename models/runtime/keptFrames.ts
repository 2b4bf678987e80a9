import * as tf from '@tensorflow/tfjs-core';

import { stateLeaves } from '../clipStates.js';
import { inference } from '../context.js';
import type { FrameCount } from '../frames.js';
import type { ClipState, Model, StateTree } from '../model.js';
import type { ParameterTree } from '../parameters.js';

/** One frame after the other of a batch of clips, whose state stays in tensors from step to step. */
export class KeptFrames {
  /** @param state of the clips before the first step; its tensors are this object's from then on. */
  constructor(
    private readonly model: Model,
    private readonly parameters: ParameterTree,
    public state?: ClipState<FrameCount>,
  ) {}

  get layers(): StateTree {
    return this.state?.layers ?? {};
  }

  /**
   * @param input `[clips, 1, channels, height, width]`, which stays the caller's.
   * @returns probabilities after it, `[clips, classes]`.
   */
  step(input: tf.Tensor): Float32Array {
    let probabilities: Float32Array;
    // `tidy` looks through what it returns for tensors, number by number, so it returns nothing.
    tf.tidy(() => {
      const { logits, state } = this.model.apply(this.parameters, input, this.state, inference);
      const rows = tf.reshape(logits, [-1, this.model.classes]);
      probabilities = tf.softmax(rows).dataSync<'float32'>();
      for (const [, tensor] of stateLeaves(state.layers)) tf.keep(tensor);
      this.replace(state);
    });
    return probabilities!;
  }

  /** Goes on from another state; from none, all clips begin anew. Tensors that are in both stay. */
  replace(next: ClipState<FrameCount> | undefined): void {
    const kept = new Set([...stateLeaves(next?.layers ?? {})].map(([, tensor]) => tensor));
    for (const [, tensor] of stateLeaves(this.layers)) {
      if (!kept.has(tensor)) tensor.dispose();
    }
    this.state = next;
  }
}
