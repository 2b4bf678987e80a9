import * as tf from '@tensorflow/tfjs-core';

import type { MemoryInput, MemoryUpdate, Sizes } from '../slots.js';
import { causalMask } from './masks.js';

/** Stands for the logarithm of 0. */
const never = -1e9;

/** `[batch, heads, tokens, width]` to `[batch, channels, tokens]`, and back. */
const toChannels = (x: tf.Tensor): tf.Tensor => {
  const [batch, heads, tokens, width] = x.shape as [number, number, number, number];
  return tf.reshape(tf.transpose(x, [0, 1, 3, 2]), [batch, heads * width, tokens]);
};
const fromChannels = (x: tf.Tensor, like: tf.Tensor): tf.Tensor => {
  const [batch, heads, tokens, width] = like.shape as [number, number, number, number];
  return tf.transpose(tf.reshape(x, [batch, heads, width, tokens]), [0, 1, 3, 2]);
};

/** Mean of the values so far, and the logarithm of their weights' sum; `[batch, channels, 1]` each. */
interface Memory {
  readonly mean: tf.Tensor;
  readonly logWeight: tf.Tensor;
}

/** The mean of two means by their weights' logarithms. */
function merge(a: Memory, b: Memory): Memory {
  const top = tf.maximum(a.logWeight, b.logWeight);
  const [wa, wb] = [a, b].map(({ logWeight }) => tf.exp(tf.sub(logWeight, top)));
  const total = tf.add(wa, wb);
  return {
    mean: tf.div(tf.add(tf.mul(wa, a.mean), tf.mul(wb, b.mean)), total),
    logWeight: tf.add(top, tf.log(total)),
  };
}

/**
 * RWKV's weighted keys and values, as in SpikeGPT (Zhu et al. 2023): per channel, with decay w > 0 and a
 * bonus u for the present,
 *
 *     out[t] = (Σ_{i<t} e^{k[i] - (t-1-i) w} v[i] + e^{u + k[t]} v[t]) / (the same without v).
 *
 * There are no queries. Two numbers per channel are the state: the mean of the values so far and the
 * logarithm of their weight, so that nothing overflows, whatever k. No sequence is too long for it.
 */
export function weightedKeyValue({ heads, keyWidth }: Sizes): MemoryUpdate {
  const channels = heads * keyWidth;
  const constants = (
    parameters: Readonly<Record<string, unknown>>,
  ): { w: tf.Tensor; u: tf.Tensor } => ({
    w: tf.exp(tf.reshape(parameters.logDecay as tf.Tensor, [channels, 1])),
    u: tf.reshape(parameters.bonus as tf.Tensor, [channels, 1]),
  });
  /** Keys, where padding has none, and the number of tokens up to each, without padding. */
  const prepared = (
    input: MemoryInput,
  ): { k: tf.Tensor; v: tf.Tensor; present: tf.Tensor; count: tf.Tensor } => {
    const k = toChannels(input.k);
    const present =
      input.mask === undefined
        ? tf.onesLike(k)
        : toChannels(tf.mul(input.mask, tf.onesLike(input.k)));
    return {
      k: tf.add(k, tf.mul(tf.sub(1, present), never)),
      v: toChannels(input.v),
      present,
      count: tf.cumsum(present, 2),
    };
  };

  const segment = (
    input: MemoryInput,
    { w, u }: { w: tf.Tensor; u: tf.Tensor },
    before: Memory,
  ): { out: tf.Tensor; after: Memory } => {
    const { k, v, count } = prepared(input);
    const tokens = k.shape[2]!;
    const [rows, columns] = [tf.expandDims(count, 3), tf.expandDims(count, 2)];
    const w4 = tf.expandDims(w, 2);
    // e^{k[i] - (t-1-i) w} of earlier tokens and e^{u + k[t]} of the present one.
    const age = tf.sub(tf.sub(rows, columns), 1);
    const present = tf.eye(tokens);
    const logits = tf.add(
      tf.sub(
        tf.add(tf.expandDims(k, 2), tf.mul(tf.expandDims(u, 2), present)),
        tf.mul(tf.mul(age, tf.sub(1, present)), w4),
      ),
      tf.mul(tf.sub(1, causalMask(tokens)), never),
    );
    const past = tf.sub(tf.expandDims(before.logWeight, 3), tf.mul(tf.sub(rows, 1), w4));
    const weights = tf.softmax(tf.concat([past, logits], 3));
    const values = tf.expandDims(tf.concat([before.mean, v], 2), 3);
    const read = tf.squeeze(tf.matMul(weights, values), [3]);
    const last = tf.slice(count, [0, 0, tokens - 1], [-1, -1, 1]);
    const left = tf.concat(
      [tf.sub(before.logWeight, tf.mul(last, w)), tf.sub(k, tf.mul(tf.sub(last, count), w))],
      2,
    );
    return {
      out: fromChannels(read, input.v),
      after: {
        mean: tf.sum(tf.mul(tf.softmax(left), tf.concat([before.mean, v], 2)), 2, true),
        logWeight: tf.logSumExp(left, 2, true),
      },
    };
  };

  const step = (
    input: MemoryInput,
    { w, u }: { w: tf.Tensor; u: tf.Tensor },
    before: Memory,
  ): { out: tf.Tensor; after: Memory } => {
    const { k, v, present } = prepared(input);
    let memory = before;
    const at = (x: tf.Tensor, t: number): tf.Tensor => tf.slice(x, [0, 0, t], [-1, -1, 1]);
    const outputs = Array.from({ length: k.shape[2]! }, (_, t) => {
      const [key, value] = [at(k, t), at(v, t)];
      const read = merge(memory, { mean: value, logWeight: tf.add(key, u) }).mean;
      const decayed = tf.sub(memory.logWeight, tf.mul(at(present, t), w));
      memory = merge({ ...memory, logWeight: decayed }, { mean: value, logWeight: key });
      return read;
    });
    return { out: fromChannels(tf.concat(outputs, 2), input.v), after: memory };
  };

  return {
    parameters: 2 * channels,
    withoutQueries: true,
    requires: { decay: 'none', noNormaliser: true, square: true },
    initialise: (initialiser) => ({
      // Channels forget within 1 … 100 tokens.
      logDecay: initialiser.fill([channels], (i) => -4.6 * (i / Math.max(1, channels - 1))),
      bonus: initialiser.constant([channels], Math.log(0.3)),
    }),
    apply(parameters, input, state, form) {
      const batch = input.k.shape[0];
      const before = (state as Memory | undefined) ?? {
        mean: tf.zeros([batch, channels, 1]),
        logWeight: tf.fill([batch, channels, 1], never),
      };
      const { out, after } = (form === 'step' ? step : segment)(
        input,
        constants(parameters),
        before,
      );
      return { out, state: { ...after } };
    },
    products: (tokens, _, { features }, form) => ({
      macs: form === 'step' ? 0 : tokens * (tokens + 1) * features,
      synapses: 0,
    }),
    memoryValues: (_, features) => 2 * features,
    system(parameters, input) {
      const { w, u } = constants(parameters);
      const { k, v } = prepared(input);
      const [batch, , tokens] = k.shape as [number, number, number];
      const column = (x: tf.Tensor): tf.Tensor =>
        tf.expandDims(tf.add(x, tf.zeros([batch, channels, tokens])), 3);
      // h[t] has seen v[t] without the bonus: e^w takes the decay of this step back, D corrects the rest.
      return {
        system: {
          transition: column(tf.exp(tf.neg(w))),
          input: column(tf.exp(k)),
          output: column(tf.exp(w)),
          skip: column(tf.sub(tf.exp(tf.add(u, k)), tf.exp(tf.add(w, k)))),
          values: tf.concat([column(v), tf.onesLike(column(v))], 3),
        },
        read(y) {
          const [numerator, denominator] = tf.split(y, 2, 3);
          return fromChannels(tf.squeeze(tf.div(numerator, denominator), [3]), input.v);
        },
      };
    },
  };
}
