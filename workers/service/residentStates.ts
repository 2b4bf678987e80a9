import * as tf from '@tensorflow/tfjs-core';

import { canCapture } from '../../engine/graphs.js';
import {
  splitState,
  stackStates,
  stateLeaves,
  stateOfClip,
  type StoredClipState,
} from '../../models/clipStates.js';
import type { Model } from '../../models/model.js';
import type { ParameterTree } from '../../models/parameters.js';
import { KeptFrames } from '../../models/runtime/keptFrames.js';
import { RecordedFrames } from '../../models/runtime/recordedFrames.js';

/** Numbers of streams for which steps are recorded at a time: each takes memory of its own. */
const mostRecorded = 4;

/** Streams whose states lie where the model computes, from step to step. */
interface Residents {
  readonly streams: readonly number[];
  readonly frames: number[];
  readonly stepper: RecordedFrames | KeptFrames;
}

/**
 * Lets the states of streams that are stepped together stay where the model computes, and replays their steps
 * where the backend can. Everyone else finds them in `states`, after `settle`.
 */
export class ResidentStates {
  /** No stream is in two of them; where steps are recorded, there is one at a time. */
  private groups: Residents[] = [];
  private streamsBefore = '';
  /** By number of streams, the last used last; what is recorded for so many serves all of them. */
  private readonly recorded = new Map<number, RecordedFrames>();
  private recordable = true;

  constructor(
    private readonly model: Model,
    private readonly parameters: ParameterTree,
    private readonly states: Map<number, StoredClipState>,
  ) {}

  /**
   * One bin of each stream.
   *
   * @param values `[streams, channels, height, width]`.
   * @returns undefined where they have to be run otherwise, from the states in `states`.
   */
  step(
    streams: readonly number[],
    values: Float32Array,
  ): { probabilities: Float32Array; frames: readonly number[] } | undefined {
    const key = streams.join();
    // Recording pays where it is the same streams again.
    const pays = !this.isRecording || key === this.streamsBefore;
    this.streamsBefore = key;
    let residents = this.groups.find((group) => group.streams.join() === key);
    if (residents === undefined) {
      this.settle(this.isRecording ? undefined : streams);
      if (!pays) return undefined;
    }
    const before = streams.map((stream) => this.states.get(stream));
    if (before.includes(undefined)) return undefined;
    const { channels, height, width } = this.model.input;
    const input = tf.tensor(values, [streams.length, 1, channels, height, width]);
    try {
      if (residents === undefined)
        this.groups.push((residents = this.load(streams, before, input)));
      const { stepper, frames } = residents;
      const probabilities = stepper.step(input, frames).slice();
      frames.forEach((frame, i) => (frames[i] = frame + 1));
      return { probabilities, frames: [...frames] };
    } catch (error) {
      if (residents?.stepper instanceof KeptFrames || !this.isRecording) throw error;
      this.recordable = false;
      this.dispose();
      return undefined;
    } finally {
      input.dispose();
    }
  }

  /** The state of a stream that is away, which stays there; undefined where it is not. */
  state(stream: number): StoredClipState | undefined {
    const group = this.groups.find(({ streams }) => streams.includes(stream));
    if (group === undefined) return undefined;
    const { streams, frames, stepper } = group;
    const state = { frame: frames, layers: stepper.layers };
    return stateOfClip(state, streams.length, streams.indexOf(stream));
  }

  /** Brings the states of streams (default: all) that are away back to `states`, with those that are stepped with them. */
  settle(wanted?: readonly number[]): void {
    this.groups = this.groups.filter((group) => {
      const { streams, frames, stepper } = group;
      if (wanted?.every((stream) => !streams.includes(stream)) === true) return true;
      const now = splitState({ frame: frames, layers: stepper.layers }, streams.length);
      streams.forEach((stream, i) => this.states.set(stream, now[i]));
      if (stepper instanceof KeptFrames) stepper.replace(undefined);
      return false;
    });
  }

  dispose(): void {
    this.settle();
    for (const streams of [...this.recorded.keys()]) this.forget(streams);
  }

  private get isRecording(): boolean {
    return this.recordable && canCapture();
  }

  private forget(streams: number): void {
    this.recorded.get(streams)!.dispose();
    this.recorded.delete(streams);
  }

  private load(
    streams: readonly number[],
    before: readonly (StoredClipState | undefined)[],
    input: tf.Tensor,
  ): Residents {
    let residents: Residents;
    tf.tidy(() => {
      const state = stackStates(before)!;
      const { frame } = state;
      if (!this.isRecording) {
        for (const [, tensor] of stateLeaves(state.layers)) tf.keep(tensor);
        const stepper = new KeptFrames(this.model, this.parameters, state);
        residents = { streams: [...streams], frames: [...frame], stepper };
        return;
      }
      let recorded = this.recorded.get(streams.length);
      if (recorded === undefined) {
        recorded = new RecordedFrames(this.model, this.parameters, state, input);
        const [longestUnused] = this.recorded.keys();
        if (this.recorded.size >= mostRecorded) this.forget(longestUnused);
      } else {
        recorded.load(state.layers);
        this.recorded.delete(streams.length);
      }
      this.recorded.set(streams.length, recorded);
      residents = { streams: [...streams], frames: [...frame], stepper: recorded };
    });
    return residents!;
  }
}
