import * as tf from '@tensorflow/tfjs-core';

import { canCapture } from '../../engine/graphs.js';
import { stateLeaves } from '../clipStates.js';
import type { Model } from '../model.js';
import type { ParameterTree } from '../parameters.js';
import { KeptFrames } from './keptFrames.js';
import { RecordedFrames } from './recordedFrames.js';

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
  private readonly kept: KeptFrames;
  private recorded: RecordedFrames | undefined;

  constructor(
    private readonly model: Model,
    private readonly parameters: ParameterTree,
  ) {
    this.kept = new KeptFrames(model, parameters);
    if (model.growingState === true) this.notRecorded = 'the state of the model grows';
  }

  step(frame: tf.Tensor | Float32Array): Float32Array {
    const { channels, height, width } = this.model.input;
    const input =
      frame instanceof tf.Tensor ? frame : tf.tensor(frame, [1, 1, channels, height, width]);
    try {
      const found = this.recordedStep(input) ?? this.kept.step(input);
      this.frame++;
      return found;
    } finally {
      if (input !== frame) input.dispose();
    }
  }

  restart(): void {
    this.frame = 0;
    this.kept.replace(undefined);
    this.recorded?.load();
  }

  dispose(): void {
    this.kept.replace(undefined);
    this.recorded?.dispose();
    this.recorded = undefined;
  }

  /** A step in which the state changes where it lies; undefined where there can be none. */
  private recordedStep(input: tf.Tensor): Float32Array | undefined {
    if (this.notRecorded !== undefined || !canCapture()) return undefined;
    if (this.recorded === undefined) {
      // The first step shows what the state is made of.
      const { state } = this.kept;
      if (state === undefined) return undefined;
      this.recorded = new RecordedFrames(this.model, this.parameters, state, input);
      this.kept.replace(undefined);
    }
    try {
      return this.recorded.step(input, [this.frame]);
    } catch (error) {
      this.notRecorded = (error as Error).message;
      const layers = this.recorded.takeState();
      if (this.frame > 0) this.kept.replace({ frame: this.frame, layers });
      else tf.dispose([...stateLeaves(layers)].map(([, tensor]) => tensor));
      this.recorded = undefined;
      return undefined;
    }
  }
}
