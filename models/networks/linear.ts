import * as tf from '@tensorflow/tfjs-core';

import { head, initialiseHead, type HeadParameters, type HeadState } from '../blocks/head.js';
import { framesAfter } from '../frames.js';
import type { InputShape, Model, StateTree } from '../model.js';
import type { ParameterTree } from '../parameters.js';

export interface LinearConfig {
  /** Takes sign(x) log(1 + |x|) of each count first: few pixels hold most of the events. */
  readonly logarithm: boolean;
}

/**
 * A linear classifier on event counts: where and how often events came, but not when. What a network
 * must beat for its result to mean something.
 */
export function createLinear(
  { logarithm }: LinearConfig,
  input: InputShape,
  classes: number,
): Model {
  const features = input.channels * input.height * input.width;
  return {
    kind: 'linear',
    classes,
    input,
    streaming: true,
    initialise(initialiser) {
      return {
        head: initialiseHead(initialiser.within('head'), features, classes),
      } as unknown as ParameterTree;
    },
    apply(tree, x, state) {
      const parameters = tree as unknown as { readonly head: HeadParameters };
      const before = state?.layers as unknown as { readonly head: HeadState } | undefined;
      const frame = state?.frame ?? 0;
      const [batch, time] = x.shape as [number, number];
      const counts = tf.reshape(x, [batch, time, features]);
      const predicted = head(
        parameters.head,
        logarithm ? tf.mul(tf.sign(counts), tf.log1p(tf.abs(counts))) : counts,
        before?.head,
        frame,
      );
      const layers = { head: predicted.state };
      return {
        logits: predicted.logits,
        state: { frame: framesAfter(state?.frame, time), layers: layers as unknown as StateTree },
      };
    },
  };
}
