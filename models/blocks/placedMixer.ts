import * as tf from '@tensorflow/tfjs-core';

import type { Context } from '../context.js';
import type { MixerShape, TokenMixer } from '../mixers/tokenMixer.js';
import type { StateTree } from '../model.js';
import type { ParameterTree } from '../parameters.js';

/**
 * What a mixer's sequences are: `time`, each patch position through the frames; `frame`, the patches of
 * each frame, without a state; `clip`, all patches of all frames, in order.
 */
export const mixerExtents = ['time', 'frame', 'clip'] as const;
export type MixerExtent = (typeof mixerExtents)[number];

export interface PlacedMixer {
  readonly mixer: TokenMixer;
  readonly over: MixerExtent;
}

/** The shape that a mixer over such sequences is made for. */
export function extentShape(over: MixerExtent, shape: MixerShape): MixerShape {
  return over === 'time' ? { ...shape, rows: 1, columns: 1 } : shape;
}

/**
 * Runs a mixer over the patches of a chunk of frames.
 *
 * @param x patches in raster order, `[batch, time, rows · columns, width]`.
 * @param state of the chunk before, the mixer's; undefined at the start of a clip.
 * @param frame number of frames of the clip before this chunk.
 * @returns the same shape, and the state for the next chunk.
 */
export function placedMixer(
  parameters: ParameterTree,
  x: tf.Tensor,
  state: StateTree | undefined,
  frame: number,
  { mixer, over }: PlacedMixer,
  context: Context,
): { output: tf.Tensor; state: StateTree } {
  const [batch, time, patches, width] = x.shape as [number, number, number, number];
  const known = state && { frame, layers: state };
  if (over === 'time') {
    const tubes = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch * patches, time, width]);
    const mixed = mixer.apply(parameters, tubes, known, context);
    return {
      output: tf.transpose(tf.reshape(mixed.output, [batch, patches, time, width]), [0, 2, 1, 3]),
      state: mixed.state.layers,
    };
  }
  if (over === 'frame') {
    const frames = tf.reshape(x, [batch * time, patches, width]);
    const { output } = mixer.apply(parameters, frames, undefined, context);
    return { output: tf.reshape(output, x.shape), state: {} };
  }
  const clip = tf.reshape(x, [batch, time * patches, width]);
  const mixed = mixer.apply(parameters, clip, known, context);
  return { output: tf.reshape(mixed.output, x.shape), state: mixed.state.layers };
}
