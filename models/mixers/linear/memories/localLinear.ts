import * as tf from '@tensorflow/tfjs-core';

import { split, type MemoryUpdate } from '../slots.js';
import { extended, seenScores } from './keyValueList.js';
import { solveSymmetric } from './solve.js';

/**
 * Local linear attention: each query fits v as a linear function of k, near itself, and reads the intercept.
 * With softmax weights p[j] of q · k[j] / √d and z[j] = k[j] - q,
 *
 *     μ = Σ p z,   Σ = Σ p z zᵀ + λ I,   ρ = Σ⁻¹ μ,   out = Σ p (1 - z · ρ) v / (1 - μ · ρ).
 *
 * With r = ρ / (1 - μ · ρ) and the mean key k̄ that is Parallax, `Σ p (1 + r · (k̄ - k)) v` (arXiv 2605.29157, algorithm 1),
 * where r is a projection of its own.
 *
 * λ is relative to the total weight, so that it means the same for every query; λ → ∞ is softmax attention.
 * Values that are affine in their keys are recovered however few tokens are near. Its state holds all keys
 * and values, and its work grows with tokens² · d²: for short sequences.
 */
export const localLinear = (ridge: number): MemoryUpdate => ({
  requires: { decay: 'none', noNormaliser: true },
  apply(_, input, state) {
    const { q } = input;
    const [batch, heads, tokens, width] = q.shape as [number, number, number, number];
    const known = extended(input, state);
    const { keys, values } = known;
    const all = keys.shape[2]!;
    const p = tf.softmax(seenScores(q, known));
    const z = tf.sub(tf.expandDims(keys, 2), tf.expandDims(q, 3));
    const systems = batch * heads * tokens;
    const rows = tf.reshape(z, [systems, all, width]);
    const weights = tf.reshape(p, [systems, all, 1]);
    const weighted = tf.mul(rows, weights);
    const mean = tf.matMul(weighted, tf.ones([systems, all, 1]), true, false);
    const spread = tf.add(tf.matMul(weighted, rows, true, false), tf.mul(tf.eye(width), ridge));
    const slope = solveSymmetric(spread, mean);
    const adjusted = tf.mul(weights, tf.sub(1, tf.matMul(rows, slope)));
    const total = tf.sub(1, tf.sum(tf.mul(mean, slope), 1, true));
    const normal = tf.reshape(tf.div(adjusted, total), [batch, heads, tokens, all]);
    return { out: tf.matMul(normal, values), state: { ...known } };
  },
  products(tokens, before, { features, values, spikes }) {
    const pairs = tokens * (before + tokens);
    // Scores of every pair; mean, spread and slope; then its value.
    return split(spikes, pairs * features, pairs * (features * (2 + features) + values));
  },
  memoryValues: (tokens, features, values) => tokens * (features + values + 1),
});
