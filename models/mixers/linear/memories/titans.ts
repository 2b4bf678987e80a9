import * as tf from '@tensorflow/tfjs-core';

import { logSigmoid } from '../decays/learned.js';
import { split, type MemoryInput, type MemoryUpdate, type Sizes } from '../slots.js';
import { emptyMemory, rowFactors } from './hebb.js';
import { causalMask, cumulated, decayBetween, tokensOf } from './masks.js';
import { inverseOfUnitLower, inverseProducts } from './triangular.js';

/** What is known, and what it is moving by; `[batch, heads, features, values]` each. */
interface Memory {
  readonly memory: tf.Tensor;
  readonly momentum: tf.Tensor;
}

/** @param logKept logarithm of η, `[1, heads, 1, 1]`. */
function step(
  { q, k, v, logDecay, beta }: MemoryInput,
  { memory, momentum }: Memory,
  logKept: tf.Tensor,
): { out: tf.Tensor } & Memory {
  const [queries, keys, values, strengths] = [q, k, v, beta!].map(tokensOf);
  const decay = logDecay && tokensOf(logDecay);
  const kept = tf.exp(logKept);
  let [M, S] = [memory, momentum];
  const outputs = queries.map((query, t) => {
    const surprise = tf.mul(strengths[t], tf.sub(values[t], tf.matMul(keys[t], M)));
    S = tf.add(tf.mul(kept, S), tf.matMul(keys[t], surprise, true, false));
    M = tf.add(decay === undefined ? M : tf.mul(rowFactors(decay[t]), M), S);
    return tf.matMul(query, M);
  });
  return { out: tf.concat(outputs, 2), memory: M, momentum: S };
}

/** The rows before each, the given one first. */
function rowsBefore(x: tf.Tensor, first: number): tf.Tensor {
  const [batch, heads, tokens, width] = x.shape as [number, number, number, number];
  const start = tf.fill([batch, heads, 1, width], first);
  return tf.concat([start, tf.slice(x, [0, 0, 0, 0], [batch, heads, tokens - 1, width])], 2);
}

/**
 * All tokens at once. What token s wrote reaches token t with the factor G[t, s] = Σ_r D[t, r] η^(r-s), s ≤ r ≤ t, D being the
 * decay between them; so the surprises solve a triangular system as those of the delta rule do, with G of the token before
 * in place of the decay. That is exact: no gradient is taken at the chunk's start for all of its tokens.
 */
function segment(
  { q, k, v, logDecay, beta }: MemoryInput,
  { memory, momentum }: Memory,
  logKept: tf.Tensor,
): { out: tf.Tensor } & Memory {
  const [batch, heads, tokens] = q.shape as [number, number, number];
  const mask = causalMask(tokens);
  const b = logDecay === undefined ? tf.zerosLike(beta!) : cumulated(logDecay);
  const D = decayBetween(b, tf.transpose(b, [0, 1, 3, 2]), mask);
  const ages = tf.reshape(tf.range(1, tokens + 1), [1, 1, tokens, 1]);
  const c = tf.mul(logKept, ages);
  const E = decayBetween(c, tf.transpose(c, [0, 1, 3, 2]), mask);
  // The gradient of a product does not sum over broadcast batches.
  const G = tf.matMul(D, tf.add(E, tf.zerosLike(D)));
  const ofMemory = tf.exp(b);
  const ofMomentum = tf.sum(tf.mul(D, tf.transpose(tf.exp(c), [0, 1, 3, 2])), 3, true);
  const read = (x: tf.Tensor, memoryFactor: tf.Tensor, momentumFactor: tf.Tensor): tf.Tensor =>
    tf.add(
      tf.mul(memoryFactor, tf.matMul(x, memory)),
      tf.mul(momentumFactor, tf.matMul(x, momentum)),
    );
  const L = tf.mul(tf.mul(beta!, rowsBefore(G, 0)), tf.matMul(k, k, false, true));
  const known = read(k, rowsBefore(ofMemory, 1), rowsBefore(ofMomentum, 0));
  const U = tf.matMul(inverseOfUnitLower(L), tf.mul(beta!, tf.sub(v, known)));
  const scores = tf.mul(G, tf.matMul(q, k, false, true));
  const lastRow = (x: tf.Tensor): tf.Tensor =>
    tf.slice(x, [0, 0, tokens - 1, 0], [x.shape[0], heads, 1, x.shape[3]!]);
  const written = (factors: tf.Tensor): tf.Tensor =>
    tf.matMul(k, tf.mul(tf.transpose(lastRow(factors), [0, 1, 3, 2]), U), true, false);
  return {
    out: tf.add(tf.matMul(scores, U), read(q, ofMemory, ofMomentum)),
    memory: tf.addN([
      tf.mul(lastRow(ofMemory), memory),
      tf.mul(lastRow(ofMomentum), momentum),
      written(G),
    ]),
    momentum: tf.add(tf.mul(tf.exp(lastRow(c)), momentum), written(tf.tile(E, [batch, 1, 1, 1]))),
  };
}

/**
 * Titans' memory, of a matrix (Behrouz et al. 2025): the gradient of |k M - v|² / 2 moves it with momentum,
 *
 *     S[t] = η S[t-1] + β[t] k[t] (v[t] - k[t] M[t-1])ᵀ,   M[t] = α[t] M[t-1] + S[t],   o[t] = q[t] M[t].
 *
 * η in (0, 1) is learned per head, where the paper has one per token; α is the cell's decay, 1 minus what is forgotten, per
 * head. η = 0 without decay is the delta rule. Keys should have length 1.
 */
export function titans({ heads }: Sizes): MemoryUpdate {
  const logKeptOf = (parameters: Readonly<Record<string, unknown>>): tf.Tensor =>
    logSigmoid(tf.reshape(parameters.momentum as tf.Tensor, [1, heads, 1, 1]));
  return {
    needsBeta: true,
    requires: { decay: 'perHead', noNormaliser: true },
    parameters: heads,
    // Logits: η between 0.1 and 0.5, as β reaches to 1.
    initialise: (initialiser) => ({ momentum: initialiser.uniform('momentum', [heads], -2, 0) }),
    apply(parameters, input, state, form) {
      const before = (state as unknown as Memory | undefined) ?? {
        memory: emptyMemory(input),
        momentum: emptyMemory(input),
      };
      const compute = form === 'step' ? step : segment;
      const { out, ...after } = compute(input, before, logKeptOf(parameters));
      return { out, state: after };
    },
    products(tokens, _, { features, values, spikes }, form) {
      const access = tokens * features * values;
      if (form === 'step') return split(spikes, 3 * access, 0);
      const pairs = tokens * tokens;
      const solved = (1 + inverseProducts(tokens)) * tokens * pairs + 2 * pairs * values;
      return split(spikes, 6 * access + 2 * pairs * features, solved);
    },
    memoryValues: (_, features, values) => 2 * features * values,
    system(parameters, { q, k, v, logDecay, beta }) {
      const scaled = tf.mul(beta!, k);
      const unlearned = tf.mul(tf.expandDims(scaled, 4), tf.expandDims(k, 3));
      const eye = tf.add(tf.eye(k.shape[3]!), tf.zerosLike(unlearned));
      const kept = tf.mul(eye, tf.exp(tf.expandDims(logKeptOf(parameters), 4)));
      const decayed =
        logDecay === undefined ? eye : tf.mul(eye, tf.exp(tf.expandDims(logDecay, 4)));
      const rows = [
        [tf.sub(decayed, unlearned), kept],
        [tf.neg(unlearned), kept],
      ].map((row) => tf.concat(row, 4));
      return {
        system: {
          transition: tf.concat(rows, 3),
          input: tf.concat([scaled, scaled], 3),
          output: tf.concat([q, tf.zerosLike(q)], 3),
          values: v,
        },
        read: (y) => y,
      };
    },
  };
}
