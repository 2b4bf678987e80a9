import * as tf from '@tensorflow/tfjs-core';

import { assign, capture, copyOf, type Graph } from '../../engine/graphs.js';
import { zeros } from '../../engine/ops/zeros.js';
import { stateLeaves } from '../clipStates.js';
import { inference } from '../context.js';
import { FrameClock, type FrameCount } from '../frames.js';
import type { ClipState, Model, StateTree } from '../model.js';
import { type ParameterTree, unflatten } from '../parameters.js';

/**
 * One frame after the other of a batch of clips, on tensors that stay where they are: the second step is recorded, all
 * later ones are replayed. For backends that can record.
 */
export class RecordedFrames {
  private readonly input: tf.Tensor;
  private readonly leaves: ReadonlyMap<string, tf.Tensor>;
  private readonly probabilities: tf.Tensor;
  private readonly clock: FrameClock;
  private graph: Graph | undefined;
  private warm = false;

  /**
   * @param state of the clips before the first step.
   * @param input of the shape of all inputs, `[clips, 1, channels, height, width]`.
   */
  constructor(
    private readonly model: Model,
    private readonly parameters: ParameterTree,
    { layers }: ClipState<FrameCount>,
    input: tf.Tensor,
  ) {
    const [clips] = input.shape;
    this.clock = new FrameClock(new Array<number>(clips).fill(0));
    this.input = tf.keep(copyOf(input));
    this.leaves = new Map(
      [...stateLeaves(layers)].map(([path, tensor]) => [path, tf.keep(copyOf(tensor))]),
    );
    this.probabilities = tf.keep(zeros([clips * model.classes]));
  }

  /**
   * @param frames of each clip before this step.
   * @returns probabilities after it, `[clips, classes]`.
   * @throws Error where the step cannot be recorded; the state is then as it was.
   */
  step(input: tf.Tensor, frames: readonly number[]): Float32Array {
    assign(this.input, input);
    this.clock.set(frames);
    if (this.warm) {
      this.graph ??= capture(() => this.update());
      this.graph.replay();
    } else {
      tf.tidy(() => {
        this.update();
      });
      this.warm = true;
    }
    return this.probabilities.dataSync<'float32'>();
  }

  /** The state as it is now; its tensors stay this object's. */
  get layers(): StateTree {
    return unflatten(this.leaves);
  }

  /** Goes on from another state; all clips begin anew where there is none: every part of a state begins as zeros. */
  load(state: StateTree = {}): void {
    const given = new Map(stateLeaves(state));
    tf.tidy(() => {
      for (const [path, leaf] of this.leaves) assign(leaf, given.get(path) ?? zeros(leaf.shape));
    });
  }

  /** The state as a tree, which is the caller's from then on; the rest is disposed. */
  takeState(): StateTree {
    this.graph?.dispose();
    this.clock.dispose();
    tf.dispose([this.input, this.probabilities]);
    return this.layers;
  }

  dispose(): void {
    for (const [, tensor] of stateLeaves(this.takeState())) tensor.dispose();
  }

  private update(): void {
    const before = { frame: this.clock, layers: this.layers };
    const { logits, state } = this.model.apply(this.parameters, this.input, before, inference);
    const next = new Map(stateLeaves(state.layers));
    const places = new Map([...this.leaves].map(([path, { dataId }]) => [dataId, path]));
    for (const path of new Set([...this.leaves.keys(), ...next.keys()])) {
      const now = next.get(path);
      if (now?.size !== this.leaves.get(path)?.size) {
        throw new RangeError(`the state of the model changes its shape at ${path}`);
      }
      if ((places.get(now!.dataId) ?? path) !== path) {
        throw new RangeError(`the state of the model moves at ${path}`);
      }
    }
    for (const [path, leaf] of this.leaves) assign(leaf, next.get(path)!);
    const rows = tf.reshape(logits, [-1, this.model.classes]);
    assign(this.probabilities, tf.softmax(rows));
  }
}
