import * as tf from '@tensorflow/tfjs-core';

import { assign } from '../engine/graphs.js';

/**
 * Frames that clips have had, where a step is recorded once and replayed: what depends on them lies in tensors that are
 * written anew before each replay. A model whose very ops depend on the number of frames cannot be recorded.
 */
export class FrameClock {
  private readonly hands = new Map<string, { tensor: tf.Tensor; of: FrameValues }>();

  constructor(private frames: readonly number[]) {}

  /** The tensor that `of` gives for the frames so far, of one shape whatever they are. */
  tensor(name: string, of: FrameValues): tf.Tensor {
    let hand = this.hands.get(name);
    if (hand === undefined) {
      hand = { tensor: tf.keep(of(this.frames)), of };
      this.hands.set(name, hand);
    }
    return hand.tensor;
  }

  set(frames: readonly number[]): void {
    this.frames = frames;
    for (const { tensor, of } of this.hands.values()) {
      const now = of(frames);
      assign(tensor, now);
      now.dispose();
    }
  }

  dispose(): void {
    for (const { tensor } of this.hands.values()) tensor.dispose();
    this.hands.clear();
  }
}

type FrameValues = (frames: readonly number[]) => tf.Tensor;

/** Frames that clips have had: one number for a whole batch, one for each of its clips, or what a recorded step reads. */
export type FrameCount = number | readonly number[] | FrameClock;

/** The count after so many more frames; undefined stands for the start of a clip. A clock is set by its owner. */
export function framesAfter<F extends FrameCount>(before: F | undefined, time: number): F {
  const frame: FrameCount = before ?? 0;
  if (frame instanceof FrameClock) return frame as F;
  return (typeof frame === 'number' ? frame + time : frame.map((count) => count + time)) as F;
}

/** A tensor of the frames so far. @param name tells a clock which one it is. */
export function frameTensor(frame: FrameCount, name: string, of: FrameValues): tf.Tensor {
  if (frame instanceof FrameClock) return frame.tensor(name, of);
  return of(typeof frame === 'number' ? [frame] : frame);
}

/**
 * The frames so far as numbers, for what cannot do without.
 *
 * @throws RangeError for a clock.
 */
export function frameNumbers(frame: FrameCount): number | readonly number[] {
  if (frame instanceof FrameClock) {
    throw new RangeError('what the model computes depends on the number of frames');
  }
  return frame;
}
