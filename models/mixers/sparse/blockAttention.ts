import * as tf from '@tensorflow/tfjs-core';

import { gatherRows } from '../../../engine/ops/gatherRows.js';
import { leftOut, type PackedMask } from './blockMask.js';

/** Attention over some of the keys, and the logarithm of its normaliser, so that it can be merged with the rest. */
export interface PartialAttention {
  /** Softmax-weighted mean of the values, `[groups, queries, width]`; zero for a query without keys. */
  readonly output: tf.Tensor;
  /** ln Σ exp(score), `[groups, queries]`; about -1e30 for a query without keys. */
  readonly logSumExp: tf.Tensor;
}

/** Below this, a normaliser belongs to a query without keys. */
const empty = leftOut / 2;

/** Softmax over the last axis where any key is left, and its normaliser. */
function weigh(scores: tf.Tensor): { weights: tf.Tensor; logSumExp: tf.Tensor } {
  const logSumExp = tf.logSumExp(scores, -1, true);
  // A step, for which TensorFlow.js has a gradient: zero.
  const any = tf.step(tf.sub(logSumExp, empty));
  return { weights: tf.mul(tf.exp(tf.sub(scores, logSumExp)), any), logSumExp };
}

/**
 * Softmax attention in which every query block is multiplied with the keys that it visits alone.
 *
 * @param q `[groups, queries, width]`: clip by clip, head by head. `k`, `v` `[groups, keys, width]`.
 * @param scale of the products.
 * @param present 1 for keys, 0 for padding that no query sees, `[groups, keys]`.
 */
export function blockAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  mask: PackedMask,
  scale: number,
  present?: tf.Tensor,
): PartialAttention {
  const { lists, blocks, blockQueries, blockKeys } = mask;
  const [groups, queries] = q.shape as [number, number];
  const width = v.shape[2]!;
  const gathered = (x: tf.Tensor, index: Int32Array, rows: number): tf.Tensor =>
    tf.reshape(gatherRows(x, index, lists), [groups * blocks, rows, x.shape[2]!]);
  const keys = gathered(k, mask.keys, blockKeys);
  const products = tf.matMul(gathered(q, mask.queries, blockQueries), keys, false, true);
  let scores = tf.add(
    tf.reshape(tf.mul(products, scale), [groups / lists, lists * blocks, blockQueries, blockKeys]),
    tf.tensor(mask.logWeight, [1, lists * blocks, blockQueries, blockKeys]),
  );
  if (present !== undefined) {
    const padding = tf.mul(tf.sub(gathered(tf.expandDims(present, -1), mask.keys, blockKeys), 1), -leftOut); // prettier-ignore
    scores = tf.add(scores, tf.reshape(padding, [groups / lists, lists * blocks, 1, blockKeys]));
  }
  const { weights, logSumExp } = weigh(scores);
  const output = tf.matMul(
    tf.reshape(weights, [groups * blocks, blockQueries, blockKeys]),
    gathered(v, mask.keys, blockKeys),
  );

  // Back to the queries' own order; those in several blocks are merged over them.
  const { places, occurrences } = mask;
  const back = (x: tf.Tensor, features: number): tf.Tensor =>
    tf.reshape(
      gatherRows(tf.reshape(x, [groups, blocks * blockQueries, features]), places, lists),
      [groups, queries, occurrences, features],
    );
  const absent = Float32Array.from(places, (place) => (place < 0 ? leftOut : 0));
  const normalisers = tf.add(
    tf.reshape(back(logSumExp, 1), [groups / lists, lists * queries, occurrences]),
    tf.tensor(absent, [1, lists * queries, occurrences]),
  );
  const outputs = back(output, width);
  const part = (i: number): PartialAttention => ({
    output: tf.reshape(tf.slice(outputs, [0, 0, i, 0], [-1, -1, 1, -1]), [groups, queries, width]),
    logSumExp: tf.reshape(tf.slice(normalisers, [0, 0, i], [-1, -1, 1]), [groups, queries]),
  });
  return mergeAttention(Array.from({ length: occurrences }, (_, i) => part(i)));
}

/**
 * Joins attentions over different keys into the attention over all of them: o = Σ eˡ o / Σ eˡ, with l the logarithm of
 * each one's normaliser. A key that several of them saw counts as often.
 */
export function mergeAttention(parts: readonly PartialAttention[]): PartialAttention {
  if (parts.length === 1) return parts[0];
  const { weights, logSumExp } = weigh(tf.stack(parts.map((part) => part.logSumExp), -1)); // prettier-ignore
  const shares = tf.split(weights, parts.length, -1);
  const output = parts
    .map((part, i) => tf.mul(part.output, shares[i]))
    .reduce((a, b) => tf.add(a, b));
  return { output, logSumExp: tf.squeeze(logSumExp, [-1]) };
}

/**
 * The same as `blockAttention` by a full matrix of scores.
 *
 * @param logWeights as of `denseLogWeights`, `[lists, queries, keys]`.
 */
export function denseAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  logWeights: Float32Array,
  scale: number,
): PartialAttention {
  const [groups, queries] = q.shape as [number, number];
  const keys = k.shape[1]!;
  const lists = logWeights.length / (queries * keys);
  const products = tf.mul(tf.matMul(q, k, false, true), scale);
  const scores = tf.add(
    tf.reshape(products, [groups / lists, lists, queries, keys]),
    tf.tensor(logWeights, [1, lists, queries, keys]),
  );
  const { weights, logSumExp } = weigh(scores);
  return {
    output: tf.matMul(tf.reshape(weights, [groups, queries, keys]), v),
    logSumExp: tf.reshape(logSumExp, [groups, queries]),
  };
}
