import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../../engine/support/errors.js';
import type { ClipState, StateTree } from '../model.js';
import { framesOf, type MixerForm, type MixerOptions, type MixerShape } from './tokenMixer.js';

/** Frames of a chunk, where nothing else is said. */
export const defaultChunk = 16;

/** The lengths in frames of the parts in which a form runs `frames` frames. */
export function segmentLengths(
  frames: number,
  form: MixerForm,
  chunk: number = defaultChunk,
): number[] {
  const length = form === 'parallel' ? frames : form === 'step' ? 1 : chunk;
  return Array.from({ length: Math.ceil(frames / length) }, (_, i) =>
    Math.min(length, frames - i * length),
  );
}

/** Part of a sequence: tokens, their mask, and the number of frames before them. */
export interface Segment {
  readonly x: tf.Tensor;
  readonly mask: tf.Tensor | undefined;
  readonly frame: number;
}

/** Throws where a mixer that has to see the whole sequence is given a part of one. */
export function requireWhole(
  streaming: boolean,
  state: ClipState | undefined,
  form: MixerForm | undefined,
): void {
  if (!streaming && (state !== undefined || (form !== undefined && form !== 'parallel'))) {
    throw new SaccadeError(
      'usage',
      'this mixer sees the whole sequence at once: it takes no state and runs in parallel only',
    );
  }
}

/**
 * Runs a mixer part by part as its form says, for mixers that compute one part at once given the state
 * before it. Padding's output is set to 0 here; that it isn't read is up to `run`.
 *
 * @param run gives a part's output and the state after it.
 */
export function inSegments(
  x: tf.Tensor,
  state: ClipState | undefined,
  shape: MixerShape,
  { form = 'parallel', chunk, mask }: MixerOptions,
  run: (
    segment: Segment,
    state: StateTree | undefined,
  ) => { output: tf.Tensor; state: StateTree | undefined },
): { output: tf.Tensor; state: ClipState } {
  const [batch, , width] = x.shape as [number, number, number];
  const tokens = shape.rows * shape.columns;
  const frames = framesOf(x, shape);
  const before = state?.frame ?? 0;
  const outputs: tf.Tensor[] = [];
  let layers = state?.layers;
  let at = 0;
  for (const length of segmentLengths(frames, form, chunk)) {
    const part = (y: tf.Tensor, ...rest: number[]): tf.Tensor =>
      length === frames
        ? y
        : tf.slice(y, [0, at * tokens, ...rest.map(() => 0)], [batch, length * tokens, ...rest]);
    const result = run(
      {
        x: part(x, width),
        mask: mask === undefined ? undefined : part(mask),
        frame: before + at,
      },
      layers,
    );
    outputs.push(result.output);
    layers = result.state;
    at += length;
  }
  const output = outputs.length === 1 ? outputs[0] : tf.concat(outputs, 1);
  return {
    output: mask === undefined ? output : tf.mul(output, tf.expandDims(mask, -1)),
    state: { frame: before + frames, layers: layers ?? {} },
  };
}
