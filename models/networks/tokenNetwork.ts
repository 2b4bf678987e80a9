import * as tf from '@tensorflow/tfjs-core';

import { head, type HeadParameters, type HeadState } from '../blocks/head.js';
import { within, type Context } from '../context.js';
import { framesAfter, type FrameCount } from '../frames.js';
import type { Model, StateTree } from '../model.js';
import type { Initialiser } from '../parameters.js';

/** Parts of a network's blocks, parameters or states, by the block's number. */
export type ByBlock<T> = Readonly<Record<string, T>>;

/** The parameters of so many blocks, as `runBlocks` takes them. */
export function initialiseBlocks<P>(
  initialiser: Initialiser,
  depth: number,
  initialise: (initialiser: Initialiser, block: number) => P,
): ByBlock<P> {
  return Object.fromEntries(
    Array.from({ length: depth }, (_, i) => [
      String(i),
      initialise(initialiser.within(`blocks.${i}`), i),
    ]),
  );
}

/**
 * Blocks one after the other, each with parameters, a state and a path of its own.
 *
 * @param run gives what the block of that number makes of tokens, and its next state.
 * @returns tokens behind the last block, and the states of all.
 */
export function runBlocks<P, S>(
  parameters: ByBlock<P>,
  tokens: tf.Tensor,
  before: ByBlock<S> | undefined,
  depth: number,
  context: Context,
  run: (
    parameters: P,
    tokens: tf.Tensor,
    state: S | undefined,
    context: Context,
    block: number,
  ) => { output: tf.Tensor; state: S },
): { output: tf.Tensor; states: ByBlock<S> } {
  const states: Record<string, S> = {};
  let output = tokens;
  for (let i = 0; i < depth; i++) {
    const inside = within(context, `blocks.${i}`);
    const result = run(parameters[i], output, before?.[i], inside, i);
    output = result.output;
    states[i] = result.state;
  }
  return { output, states };
}

/**
 * A network that decides by the mean over its tokens, as `Model.apply`.
 *
 * @param encode gives tokens, `[batch, time, tokens, width]`, and the next state but for the head's.
 */
export function classifyTokens<P extends { readonly head: HeadParameters }, S>(
  encode: (
    parameters: P,
    x: tf.Tensor,
    before: S | undefined,
    frame: FrameCount,
    context: Context,
  ) => { output: tf.Tensor; state: S },
): Model['apply'] {
  return (tree, x, state, context) => {
    const parameters = tree as unknown as P;
    const before = state?.layers as unknown as (S & { readonly head: HeadState }) | undefined;
    const frame = state?.frame ?? 0;
    const encoded = encode(parameters, x, before, frame, context);
    const predicted = head(parameters.head, tf.mean(encoded.output, 2), before?.head, frame);
    const layers = { ...encoded.state, head: predicted.state };
    return {
      logits: predicted.logits,
      state: {
        frame: framesAfter(state?.frame, x.shape[1]!),
        layers: layers as unknown as StateTree,
      },
    };
  };
}
