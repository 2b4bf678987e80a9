import * as tf from '@tensorflow/tfjs-core';

import { split, type MemoryInput, type MemoryUpdate } from '../slots.js';
import { emptyMemory, rowFactors } from './hebb.js';
import { causalMask, cumulated, decayBetween, tokensOf } from './masks.js';
import { inverseOfUnitLower, inverseProducts } from './triangular.js';

function step(
  { q, k, v, logDecay, beta }: MemoryInput,
  memory: tf.Tensor,
): { out: tf.Tensor; memory: tf.Tensor } {
  const [queries, keys, values, strengths] = [q, k, v, beta!].map(tokensOf);
  const decay = logDecay && tokensOf(logDecay);
  let S = memory;
  const outputs = queries.map((query, t) => {
    if (decay !== undefined) S = tf.mul(rowFactors(decay[t]), S);
    const correction = tf.mul(strengths[t], tf.sub(values[t], tf.matMul(keys[t], S)));
    S = tf.add(S, tf.matMul(keys[t], correction, true, false));
    return tf.matMul(query, S);
  });
  return { out: tf.concat(outputs, 2), memory: S };
}

/**
 * With γ the cumulated decay, the corrections U of a chunk solve (I + L) U = β (V - γ K S₀), where
 * L[i, j] = β[i] γ[i] / γ[j] (k[i] · k[j]) below the diagonal (the WY form of the products of I - β k kᵀ).
 */
function segment(
  { q, k, v, logDecay, beta }: MemoryInput,
  memory: tf.Tensor,
): { out: tf.Tensor; memory: tf.Tensor } {
  const [batch, heads, tokens] = q.shape as [number, number, number];
  const b = logDecay === undefined ? tf.zerosLike(beta!) : cumulated(logDecay);
  const end = tf.slice(b, [0, 0, tokens - 1, 0], [batch, heads, 1, 1]);
  const upTo = decayBetween(b, tf.transpose(b, [0, 1, 3, 2]), causalMask(tokens));
  const before = tf.mul(upTo, causalMask(tokens, true));
  const L = tf.mul(tf.mul(beta!, before), tf.matMul(k, k, false, true));
  const known = tf.mul(tf.exp(b), tf.matMul(k, memory));
  const U = tf.matMul(inverseOfUnitLower(L), tf.mul(beta!, tf.sub(v, known)));
  const scores = tf.mul(upTo, tf.matMul(q, k, false, true));
  return {
    out: tf.add(tf.matMul(scores, U), tf.mul(tf.exp(b), tf.matMul(q, memory))),
    memory: tf.add(
      tf.mul(rowFactors(end), memory),
      tf.matMul(tf.mul(k, tf.exp(tf.sub(end, b))), U, true, false),
    ),
  };
}

/**
 * The delta rule, which writes what the memory doesn't know yet (DeltaNet, Yang et al. 2024; gated, Yang et
 * al. 2025, eq. 10):
 *
 *     S[t] = α[t] (I - β[t] k[t] k[t]ᵀ) S[t-1] + β[t] k[t] v[t]ᵀ,   o[t] = q[t] S[t].
 *
 * Decay is per head. Keys should have length 1, and 0 ≤ β ≤ 2.
 */
export const delta: MemoryUpdate = {
  needsBeta: true,
  requires: { decay: 'perHead', noNormaliser: true },
  apply(_, input, state, form) {
    const before = (state?.memory as tf.Tensor | undefined) ?? emptyMemory(input);
    const { out, memory } = (form === 'step' ? step : segment)(input, before);
    return { out, state: { memory } };
  },
  products(tokens, _, { features, values, spikes }, form) {
    const access = tokens * features * values;
    if (form === 'step') return split(spikes, 3 * access, 0);
    const pairs = tokens * tokens;
    const solved = inverseProducts(tokens) * tokens * pairs + 2 * pairs * values;
    return split(spikes, 2 * access + 2 * pairs * features, access + solved);
  },
  memoryValues: (_, features, values) => features * values,
  system(_, { q, k, v, logDecay, beta }) {
    const scaled = tf.mul(beta!, k);
    const projection = tf.sub(
      tf.eye(k.shape[3]!),
      tf.mul(tf.expandDims(scaled, 4), tf.expandDims(k, 3)),
    );
    return {
      system: {
        transition:
          logDecay === undefined
            ? projection
            : tf.mul(tf.expandDims(tf.exp(logDecay), 4), projection),
        input: scaled,
        output: q,
        values: v,
      },
      read: (y) => y,
    };
  },
};
