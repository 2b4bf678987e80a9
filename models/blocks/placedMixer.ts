import * as tf from '@tensorflow/tfjs-core';

import type { Context, Forms } from '../context.js';
import type { MixerShape, TokenMixer } from '../mixers/tokenMixer.js';
import { type FrameCount, frameNumbers } from '../frames.js';
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
 * @param frame number of frames of the clip, or of each clip, before this chunk. Clips that stand at different
 *   frames are run one by one: a mixer knows one position for all.
 * @param context whose forms a mixer over each frame gets, for its products and its attention. Others go without: forms know a
 *   path once a chunk, and clips along the first axis.
 * @returns the same shape, and the state for the next chunk.
 */
export function placedMixer(
  parameters: ParameterTree,
  x: tf.Tensor,
  state: StateTree | undefined,
  frame: FrameCount,
  placed: PlacedMixer,
  context: Context,
): { output: tf.Tensor; state: StateTree } {
  const forms = placed.over === 'frame' ? eachFrame(context.forms, x.shape) : undefined;
  const whole = { ...context, forms };
  const run = (clips: tf.Tensor, before: StateTree | undefined, at: number) =>
    mixTogether(parameters, clips, at === 0 ? undefined : before, at, placed, whole);
  const frames = placed.over === 'frame' ? 0 : frameNumbers(frame);
  if (typeof frames === 'number') return run(x, state, frames);
  if (frames.every((count) => count === frames[0])) return run(x, state, frames[0]);
  const parts = frames.map((count, clip) => {
    const own = state && mapLeaves([state], ([leaf]) => clipRows(leaf, clip, frames.length));
    return run(clipRows(x, clip, frames.length), own, count);
  });
  return {
    output: tf.concat(parts.map(({ output }) => output)),
    state: mapLeaves(
      parts.map((part) => part.state),
      (leaves) => tf.concat(leaves),
    ),
  };
}

/** Forms for a mixer that has each frame as a sequence of its own, of those that have clips and time as axes. */
function eachFrame(forms: Forms | undefined, [batch, time]: readonly number[]): Forms | undefined {
  if (forms === undefined) return undefined;
  const { product, attention } = forms;
  const clips = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [batch, time, ...x.shape.slice(1)]);
  const frames = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [batch * time, ...x.shape.slice(2)]);
  return {
    ...(product && {
      product: (x, weight, context) => frames(product(clips(x), weight, context)),
    }),
    ...(attention && {
      attention: (q, k, v, context) => frames(attention(clips(q), clips(k), clips(v), context)),
    }),
  };
}

/** One clip's share of a tensor that has the clips one after the other along its first axis. */
function clipRows(x: tf.Tensor, clip: number, clips: number): tf.Tensor {
  const [first, ...rest] = x.shape;
  const rows = first / clips;
  return tf.slice(x, [clip * rows, ...rest.map(() => 0)], [rows, ...rest]);
}

/** A tree of what `join` makes of the leaves at the same place of all trees. */
function mapLeaves(
  trees: readonly StateTree[],
  join: (leaves: tf.Tensor[]) => tf.Tensor,
): StateTree {
  return Object.fromEntries(
    Object.entries(trees[0]).map(([name, child]) => {
      const children = trees.map((tree) => tree[name]);
      if (child === undefined) return [name, undefined];
      return child instanceof tf.Tensor
        ? [name, join(children as tf.Tensor[])]
        : [name, mapLeaves(children as StateTree[], join)];
    }),
  );
}

/** Clips that stand at the same frame. */
function mixTogether(
  parameters: ParameterTree,
  x: tf.Tensor,
  state: StateTree | undefined,
  frame: number,
  { mixer, over }: PlacedMixer,
  context: Context,
): { output: tf.Tensor; state: StateTree } {
  const [batch, time, patches, width] = x.shape as [number, number, number, number];
  const known = state && { frame, layers: state };
  const mix = (tokens: tf.Tensor, before: typeof known): ReturnType<TokenMixer['apply']> => {
    context.recorder?.mixerInputs?.set(context.path, tf.keep(tf.clone(tokens)));
    return mixer.apply(parameters, tokens, before, context);
  };
  if (over === 'time') {
    const tubes = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch * patches, time, width]);
    const mixed = mix(tubes, known);
    return {
      output: tf.transpose(tf.reshape(mixed.output, [batch, patches, time, width]), [0, 2, 1, 3]),
      state: mixed.state.layers,
    };
  }
  if (over === 'frame') {
    const frames = tf.reshape(x, [batch * time, patches, width]);
    const { output } = mix(frames, undefined);
    return { output: tf.reshape(output, x.shape), state: {} };
  }
  const clip = tf.reshape(x, [batch, time * patches, width]);
  const mixed = mix(clip, known);
  return { output: tf.reshape(mixed.output, x.shape), state: mixed.state.layers };
}
