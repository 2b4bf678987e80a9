import * as tf from '@tensorflow/tfjs-core';

import type { StateTree } from '../../../model.js';
import type { MemoryInput } from '../slots.js';
import { causalMask } from './masks.js';

/** All keys and values so far, `[batch, heads, tokens, …]`, and which are no padding, `[…, tokens, 1]`. */
export type KeyValueList = Readonly<Record<'keys' | 'values' | 'present', tf.Tensor>>;

/** Of scores that take no part: finite, so that a row without any key is no 0 / 0. */
const excluded = -1e9;

/** The list with these tokens at its end. */
export function extended({ k, v, mask }: MemoryInput, state: StateTree | undefined): KeyValueList {
  const before = state as KeyValueList | undefined;
  const ones = tf.ones([...k.shape.slice(0, 3), 1]);
  const now: KeyValueList = {
    keys: k,
    values: v,
    present: mask === undefined ? ones : tf.mul(ones, mask),
  };
  if (before === undefined) return now;
  return {
    keys: tf.concat([before.keys, now.keys], 2),
    values: tf.concat([before.values, now.values], 2),
    present: tf.concat([before.present, now.present], 2),
  };
}

/** q · k / √d of the last tokens with all up to each of them, `[batch, heads, tokens, all]`. */
export function seenScores(q: tf.Tensor, { keys, present }: KeyValueList): tf.Tensor {
  const [, , tokens, width] = q.shape as [number, number, number, number];
  const before = keys.shape[2]! - tokens;
  const causal = tf.concat([tf.ones([tokens, before]), causalMask(tokens)], 1);
  const visible = tf.mul(causal, tf.transpose(present, [0, 1, 3, 2]));
  return tf.add(
    tf.mul(tf.matMul(q, keys, false, true), width ** -0.5),
    tf.mul(tf.sub(1, visible), excluded),
  );
}
