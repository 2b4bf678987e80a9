import * as tf from '@tensorflow/tfjs-core';

import { split, type MemoryInput, type MemoryUpdate } from '../slots.js';
import { cumulated, decayBetween } from './masks.js';

/** Of scores that take no part. */
const excluded = -1e9;

/** Running averages of the open chunk, `[batch, heads, 1, width]`, and the last ones of chunks before it. */
type State = Readonly<
  Record<'openKey' | 'openValue', tf.Tensor> & Partial<Record<'keys' | 'values', tf.Tensor>>
>;

/**
 * RAT (Wang et al. 2025): inside chunks of `size` tokens, keys and values are running averages,
 * `h[t] = g[t] h[t-1] + (1 - g[t]) x[t]` per channel; a token's query attends to its own and to the last ones
 * of all earlier chunks, in one softmax. Size 1 with g = 0 is softmax attention; one chunk of everything is
 * an exponential average. Sequences need not be whole chunks, and a chunk may stay open between parts.
 */
export const chunkAverage = (size: number): MemoryUpdate => ({
  requires: { decay: 'perChannel', noNormaliser: true, square: true },
  apply(_, input, state) {
    const { q, v, position } = input;
    const [batch, heads, tokens, width] = q.shape as [number, number, number, number];
    const before: State = (state as State | undefined) ?? {
      openKey: tf.zeros([batch, heads, 1, width]),
      openValue: tf.zeros([batch, heads, 1, v.shape[3]!]),
    };
    const { keys, values } = averages(input, before, size);
    const tokenAt = (x: tf.Tensor, t: number): tf.Tensor =>
      tf.slice(x, [0, 0, t, 0], [batch, heads, 1, x.shape[3]!]);
    const ends = Array.from({ length: tokens }, (_, t) => t).filter(
      (t) => (position + t + 1) % size === 0,
    );
    const closed = (past: tf.Tensor | undefined, now: tf.Tensor): tf.Tensor | undefined => {
      const parts = [...(past === undefined ? [] : [past]), ...ends.map((t) => tokenAt(now, t))];
      return parts.length === 0 ? undefined : tf.concat(parts, 2);
    };
    const closedKeys = closed(before.keys, keys);
    const closedValues = closed(before.values, values);
    const scale = width ** -0.5;
    const own = tf.mul(tf.sum(tf.mul(q, keys), 3, true), scale);
    let out = values;
    if (closedKeys !== undefined && closedValues !== undefined) {
      const chunks = closedKeys.shape[2]!;
      const visible = new Float32Array(tokens * chunks).map((_, i) =>
        i % chunks < Math.floor((position + Math.floor(i / chunks)) / size) ? 0 : excluded,
      );
      const scores = tf.add(
        tf.mul(tf.matMul(q, closedKeys, false, true), scale),
        tf.tensor2d(visible, [tokens, chunks]),
      );
      const weights = tf.softmax(tf.concat([scores, own], 3));
      const [others, self] = tf.split(weights, [chunks, 1], 3);
      out = tf.add(tf.matMul(others, closedValues), tf.mul(self, values));
    }
    const stillOpen = (position + tokens) % size !== 0;
    const open = (x: tf.Tensor): tf.Tensor => {
      const last = tokenAt(x, tokens - 1);
      return stillOpen ? last : tf.zerosLike(last);
    };
    return {
      out,
      state: {
        openKey: open(keys),
        openValue: open(values),
        ...(closedKeys !== undefined && { keys: closedKeys, values: closedValues }),
      },
    };
  },
  products(tokens, before, { features, values, spikes }) {
    const chunks = tokens * Math.floor((before + tokens) / size);
    const averaged = tokens * tokens * (features + values);
    return split(spikes, chunks * features, averaged + chunks * values);
  },
  memoryValues: (tokens, features, values) => (1 + Math.floor(tokens / size)) * (features + values),
});

/** The running averages of keys and values, which start over with each chunk. */
function averages(
  { k, v, logDecay, position }: MemoryInput,
  { openKey, openValue }: State,
  size: number,
): { keys: tf.Tensor; values: tf.Tensor } {
  const [batch, heads, tokens, width] = k.shape as [number, number, number, number];
  const chunkOf = (t: number): number => Math.floor((position + t) / size);
  const together = new Float32Array(tokens * tokens).map((_, i) => {
    const [row, column] = [Math.floor(i / tokens), i % tokens];
    return column <= row && chunkOf(row) === chunkOf(column) ? 1 : 0;
  });
  const inOpen = new Float32Array(tokens).map((_, t) => (chunkOf(t) === chunkOf(0) ? 1 : 0));
  const b = cumulated(logDecay!);
  // By channel: weights of a token's chunk-mates up to it, `[batch · heads · width, tokens, tokens]`.
  const byChannel = tf.transpose(b, [0, 1, 3, 2]);
  const factors = tf.reshape(
    decayBetween(
      tf.expandDims(byChannel, 4),
      tf.expandDims(byChannel, 3),
      tf.tensor2d(together, [tokens, tokens]),
    ),
    [batch * heads * width, tokens, tokens],
  );
  const share = tf.neg(tf.expm1(logDecay!));
  const left = tf.mul(tf.exp(b), tf.tensor4d(inOpen, [1, 1, tokens, 1]));
  const average = (x: tf.Tensor, open: tf.Tensor): tf.Tensor => {
    const written = tf.transpose(tf.mul(share, x), [0, 1, 3, 2]);
    const columns = tf.reshape(written, [batch * heads * width, tokens, 1]);
    const summed = tf.reshape(tf.matMul(factors, columns), [batch, heads, width, tokens]);
    return tf.add(tf.transpose(summed, [0, 1, 3, 2]), tf.mul(left, open));
  };
  return { keys: average(k, openKey), values: average(v, openValue) };
}
