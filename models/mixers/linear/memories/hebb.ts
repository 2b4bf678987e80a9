import * as tf from '@tensorflow/tfjs-core';

import { linearAttention } from '../../../../engine/ops/linearAttention.js';
import type { StateTree } from '../../../model.js';
import { joinHeads, splitHeads } from '../../heads.js';
import type { MixerForm } from '../../tokenMixer.js';
import { split, type MemoryInput, type MemoryUpdate } from '../slots.js';
import { causalMask, cumulated, decayBetween, tokensOf } from './masks.js';

const outer = (k: tf.Tensor, v: tf.Tensor): tf.Tensor => tf.matMul(k, v, true, false);

export function emptyMemory({ k, v }: MemoryInput): tf.Tensor {
  return tf.zeros([k.shape[0], k.shape[1]!, k.shape[3]!, v.shape[3]!]);
}

/** Factors of `[batch, heads, 1, 1 or features]` for the rows of a memory. */
export const rowFactors = (logDecay: tf.Tensor): tf.Tensor =>
  tf.exp(tf.transpose(logDecay, [0, 1, 3, 2]));

/** Token by token, as the equations are written. */
function step(input: MemoryInput, memory: tf.Tensor): { out: tf.Tensor; memory: tf.Tensor } {
  const [q, k, v] = [input.q, input.k, input.v].map(tokensOf);
  const decay = input.logDecay && tokensOf(input.logDecay);
  let S = memory;
  const outputs = q.map((query, t) => {
    if (decay !== undefined) S = tf.mul(rowFactors(decay[t]), S);
    S = tf.add(S, outer(k[t], v[t]));
    return tf.matMul(query, S);
  });
  return { out: tf.concat(outputs, 2), memory: S };
}

/**
 * All tokens at once: what they get from each other by a matrix of scores, and from the memory before.
 * Decay comes in as exp(b[i] - b[j]) of cumulated logarithms b, which is never more than 1; the factored
 * form λ^i λ^(-j) overflows.
 */
function segment(
  { q, k, v, logDecay }: MemoryInput,
  memory: tf.Tensor,
): { out: tf.Tensor; memory: tf.Tensor } {
  const [batch, heads, tokens, features] = q.shape as [number, number, number, number];
  const mask = causalMask(tokens);
  if (logDecay === undefined) {
    const scores = tf.mul(tf.matMul(q, k, false, true), mask);
    return {
      out: tf.add(tf.matMul(scores, v), tf.matMul(q, memory)),
      memory: tf.add(memory, outer(k, v)),
    };
  }
  const b = cumulated(logDecay);
  const end = tf.slice(b, [0, 0, tokens - 1, 0], [batch, heads, 1, b.shape[3]!]);
  let scores: tf.Tensor;
  if (b.shape[3] === 1) {
    const decay = decayBetween(b, tf.transpose(b, [0, 1, 3, 2]), mask);
    scores = tf.mul(tf.matMul(q, k, false, true), decay);
  } else {
    // Each pair of tokens has factors of its own in each channel.
    const factors = decayBetween(
      tf.expandDims(b, 3),
      tf.expandDims(b, 2),
      tf.reshape(mask, [tokens, tokens, 1]),
    );
    const keys = tf.mul(factors, tf.expandDims(k, 2));
    const products = tf.matMul(
      tf.reshape(keys, [batch * heads * tokens, tokens, features]),
      tf.reshape(q, [batch * heads * tokens, features, 1]),
    );
    scores = tf.reshape(products, [batch, heads, tokens, tokens]);
  }
  return {
    out: tf.add(tf.matMul(scores, v), tf.matMul(tf.mul(q, tf.exp(b)), memory)),
    memory: tf.add(tf.mul(rowFactors(end), memory), outer(tf.mul(k, tf.exp(tf.sub(end, b))), v)),
  };
}

/** Whether the engine's scan computes such a memory: it has square ones, and factors per channel. */
const isScanned = (
  form: MixerForm,
  features: number,
  values: number,
  perChannel: boolean,
): boolean => form === 'chunked' && perChannel && features === values && features > 1;

/** The recurrence as one fused op: where each channel decays, a matrix of scores costs more. */
function scan(
  { q, k, v, logDecay }: MemoryInput,
  memory: tf.Tensor,
): { out: tf.Tensor; memory: tf.Tensor } {
  const [batch, heads, tokens, width] = q.shape as [number, number, number, number];
  const [Q, K, V, decay] = [q, k, v, tf.exp(logDecay!)].map(joinHeads);
  const frames = (x: tf.Tensor): tf.Tensor => tf.expandDims(x, 2);
  const { out, state } = linearAttention(
    frames(Q),
    frames(K),
    frames(V),
    { memory, keySum: tf.zeros([batch, heads, width]) },
    { heads, causal: true, epsilon: 1, normalise: false },
    decay,
  );
  return {
    out: splitHeads(tf.reshape(out, [batch, tokens, heads * width]), heads),
    memory: state.memory,
  };
}

/** What every query of a sequence reads, if all see all: q (Σ k vᵀ). */
export function hebbBothWays({ q, k, v }: Pick<MemoryInput, 'q' | 'k' | 'v'>): tf.Tensor {
  return tf.matMul(q, outer(k, v));
}

/**
 * Hebb's rule, `S[t] = Diag(α[t]) S[t-1] + k[t] v[t]ᵀ`, `o[t] = q[t] S[t]`: linear attention, with decay
 * per head or per key channel (Katharopoulos et al. 2020; Yang et al. 2024, eq. 3).
 */
export const hebb: MemoryUpdate = {
  apply(_, input, state, form) {
    const before = (state?.memory as tf.Tensor | undefined) ?? emptyMemory(input);
    const perChannel = (input.logDecay?.shape[3] ?? 1) > 1;
    const [features, values] = [input.k.shape[3]!, input.v.shape[3]!];
    const compute = isScanned(form, features, values, perChannel) ? scan : segment;
    const { out, memory } = (form === 'step' ? step : compute)(input, before);
    return { out, state: { memory } satisfies StateTree };
  },
  products(tokens, _, { features, values, decays, spikes }, form) {
    const accesses = 2 * tokens * features * values;
    const scanned = isScanned(form, features, values, decays === 'perChannel');
    if (form === 'step' || scanned) return split(spikes, accesses, 0);
    const pairs = tokens * tokens;
    // Where it decays, queries and keys meet the memory with factors on them.
    const reads = pairs * values;
    return decays !== 'none'
      ? split(spikes, pairs * features, reads + accesses)
      : split(spikes, pairs * features + accesses, reads);
  },
  memoryValues: (_, features, values) => features * values,
  system: (_, { q, k, v, logDecay }) => ({
    system: {
      transition:
        logDecay === undefined ? tf.onesLike(k) : tf.mul(tf.exp(logDecay), tf.onesLike(k)),
      input: k,
      output: q,
      values: v,
    },
    read: (y) => y,
  }),
};
