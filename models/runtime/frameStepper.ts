import * as tf from '@tensorflow/tfjs-core';

import { assign, canCapture, capture, copyOf, type Graph } from '../../engine/graphs.js';
import { zeros } from '../../engine/ops/zeros.js';
import { stateLeaves } from '../clipStates.js';
import { inference } from '../context.js';
import { FrameClock } from '../frames.js';
import type { ClipState, Model } from '../model.js';
import { type ParameterTree, unflatten } from '../parameters.js';

/** One clip, frame by frame. */
export interface FrameStepper {
  /** Frames of the clip so far. */
  readonly frame: number;
  /** Why steps are not recorded, where they could be. */
  readonly notRecorded?: string | undefined;
  /**
   * One frame more.
   *
   * @param frame `[1, 1, channels, height, width]`, which stays the caller's; or its values, row-major.
   * @returns probabilities of the classes after it, `[classes]`.
   */
  step(frame: tf.Tensor | Float32Array): Float32Array;
  /** The next frame begins a new clip. */
  restart(): void;
  dispose(): void;
}

/**
 * Runs a model frame by frame and keeps the state. Where the backend can record, the third step is recorded and all
 * later ones are replayed, unless what the model computes depends on how many frames there were.
 */
export function createFrameStepper(model: Model, parameters: ParameterTree): FrameStepper {
  return new Stepper(model, parameters);
}

class Stepper implements FrameStepper {
  frame = 0;
  notRecorded: string | undefined;
  private state: ClipState | undefined;
  private recorded: RecordedFrames | undefined;

  constructor(
    private readonly model: Model,
    private readonly parameters: ParameterTree,
  ) {
    if (model.growingState === true) this.notRecorded = 'the state of the model grows';
  }

  step(frame: tf.Tensor | Float32Array): Float32Array {
    const { channels, height, width } = this.model.input;
    const input =
      frame instanceof tf.Tensor ? frame : tf.tensor(frame, [1, 1, channels, height, width]);
    try {
      const found = this.recordedStep(input) ?? this.plainStep(input);
      this.frame++;
      return found;
    } finally {
      if (input !== frame) input.dispose();
    }
  }

  restart(): void {
    this.frame = 0;
    this.replaceState(undefined);
    this.recorded?.restart();
  }

  dispose(): void {
    this.replaceState(undefined);
    this.recorded?.dispose();
    this.recorded = undefined;
  }

  private plainStep(input: tf.Tensor): Float32Array {
    let probabilities: Float32Array;
    // `tidy` looks through what it returns for tensors, number by number, so it returns nothing.
    tf.tidy(() => {
      const { logits, state } = this.model.apply(this.parameters, input, this.state, inference);
      probabilities = probabilitiesOf(logits).dataSync<'float32'>();
      for (const [, tensor] of stateLeaves(state.layers)) tf.keep(tensor);
      this.replaceState(state);
    });
    return probabilities!;
  }

  /** A step in which the state changes where it lies; undefined where there can be none. */
  private recordedStep(input: tf.Tensor): Float32Array | undefined {
    if (this.notRecorded !== undefined || !canCapture()) return undefined;
    if (this.recorded === undefined) {
      // The first step shows what the state is made of.
      if (this.state === undefined) return undefined;
      this.recorded = new RecordedFrames(this.model, this.parameters, this.state, input);
      this.replaceState(undefined);
    }
    try {
      return this.recorded.step(input, this.frame);
    } catch (error) {
      this.notRecorded = (error as Error).message;
      const layers = this.recorded.takeState();
      if (this.frame > 0) this.state = { frame: this.frame, layers };
      else tf.dispose([...stateLeaves(layers)].map(([, tensor]) => tensor));
      this.recorded = undefined;
      return undefined;
    }
  }

  private replaceState(next: ClipState | undefined): void {
    const kept = new Set([...stateLeaves(next?.layers ?? {})].map(([, tensor]) => tensor));
    for (const [, tensor] of stateLeaves(this.state?.layers ?? {})) {
      if (!kept.has(tensor)) tensor.dispose();
    }
    this.state = next;
  }
}

/** Steps of one clip on tensors that stay where they are. */
class RecordedFrames {
  private readonly input: tf.Tensor;
  private readonly leaves: ReadonlyMap<string, tf.Tensor>;
  private readonly probabilities: tf.Tensor;
  private readonly clock = new FrameClock([0]);
  private graph: Graph | undefined;
  private warm = false;

  constructor(
    private readonly model: Model,
    private readonly parameters: ParameterTree,
    { layers }: ClipState,
    input: tf.Tensor,
  ) {
    this.input = tf.keep(copyOf(input));
    this.leaves = new Map(
      [...stateLeaves(layers)].map(([path, tensor]) => [path, tf.keep(copyOf(tensor))]),
    );
    this.probabilities = tf.keep(zeros([model.classes]));
  }

  step(input: tf.Tensor, frame: number): Float32Array {
    assign(this.input, input);
    this.clock.set([frame]);
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

  /** Every part of a state begins as zeros. */
  restart(): void {
    tf.tidy(() => {
      for (const leaf of this.leaves.values()) assign(leaf, zeros(leaf.shape));
    });
  }

  /** The state as a tree, which is the caller's from then on; the rest is disposed. */
  takeState(): ClipState['layers'] {
    this.graph?.dispose();
    this.clock.dispose();
    tf.dispose([this.input, this.probabilities]);
    return unflatten(this.leaves);
  }

  dispose(): void {
    for (const [, tensor] of stateLeaves(this.takeState())) tensor.dispose();
  }

  private update(): void {
    const before = { frame: this.clock, layers: unflatten(this.leaves) };
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
    assign(this.probabilities, probabilitiesOf(logits));
  }
}

/** `[classes]`, of logits `[1, 1, classes]`. */
function probabilitiesOf(logits: tf.Tensor): tf.Tensor {
  return tf.softmax(tf.reshape(logits, [-1]));
}
