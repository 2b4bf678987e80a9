import * as tf from '@tensorflow/tfjs-core';

import { split, type MemoryInput, type MemoryUpdate } from '../slots.js';
import { emptyMemory } from './hebb.js';
import { causalMask, cumulated, decayBetween } from './masks.js';

/** What a memory minimises, from the errors e = k W - v: |e|² / 2, |e|ₚᵖ / p, or Huber's loss. */
export const attentionalBiases = ['squared', 'power', 'huber'] as const;
export type AttentionalBias = (typeof attentionalBiases)[number];

/** How what was gathered becomes the memory that is read: as it is, divided by a norm, or as shares. */
export const retentions = ['decay', 'norm', 'simplex'] as const;
export type Retention = (typeof retentions)[number];

export interface MirasSettings {
  readonly attentionalBias: AttentionalBias;
  /** p of `power`, a whole number from 2. */
  readonly biasPower: number;
  readonly retention: Retention;
  /** q of `norm`, even, from 2. */
  readonly retentionPower: number;
  /** c of `simplex`. */
  readonly simplexSum: number;
  /** Tokens whose gradients are taken at the memory before the first of them; 1 = each at its own. */
  readonly chunkTokens: number;
}

/** What was gathered, and what of it stood before the open chunk; `[batch, heads, features, values]` each. */
interface Gathered {
  readonly memory: tf.Tensor;
  readonly chunkStart: tf.Tensor;
}

/** Derivative of the bias by e. */
function slopeOf(
  { attentionalBias, biasPower }: MirasSettings,
  error: tf.Tensor,
  threshold: tf.Tensor | undefined,
): tf.Tensor {
  if (attentionalBias === 'huber') {
    // Gradients of minima and maxima don't sum over what was broadcast.
    const largest = tf.add(threshold!, tf.zerosLike(error));
    return tf.maximum(tf.minimum(error, largest), tf.neg(largest));
  }
  if (attentionalBias === 'squared' || biasPower === 2) return error;
  return tf.mul(error, tf.pow(tf.abs(error), biasPower - 2));
}

/** W of what was gathered, `[…, features, values]`. */
export function retained(
  { retention, retentionPower: q, simplexSum }: MirasSettings,
  gathered: tf.Tensor,
): tf.Tensor {
  const { rank } = gathered;
  if (retention === 'simplex') {
    const order = [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2];
    const shares = tf.softmax(tf.transpose(gathered, order));
    return tf.mul(tf.transpose(shares, order), simplexSum);
  }
  if (retention === 'decay' || q === 2) return gathered;
  const powers = tf.sum(tf.pow(gathered, q), [rank - 2, rank - 1], true);
  return tf.div(gathered, tf.pow(tf.add(powers, 1), (q - 2) / q));
}

/**
 * Miras' family of memories (Behrouz et al. 2025), of matrices: any attentional bias with any retention,
 *
 *     A[t] = α[t] A[t-1] - β[t] k[t] ∇bias(k[t] W - v[t])ᵀ,   W[t] = retained(A[t]),   o[t] = q[t] W[t],
 *
 * the gradient at W[t-1], or, as the paper trains them, at the W before the chunk of `chunkTokens`, by which a chunk's tokens
 * are written at once. Retentions:
 *
 * - `decay`: W = A. With the squared bias and α = 1 that is the delta rule; Yaad has Huber's, whose threshold each token sets,
 *   so that no error writes more than that.
 * - `norm`: W = A / (1 + |A|_q^q)^((q-2)/q); Moneta, with p = 3 and q = 4. The paper has no 1, without which a memory is the
 *   larger the less was written, and none after nothing was.
 * - `simplex`: the values' columns of W are c softmax(A). That is Memora's W[t] = c softmax((1-λ) log W[t-1] - β ∇), α = 1 - λ,
 *   as log W and A differ by what is the same for a whole column.
 *
 * Decay is per head. Keys should have length 1. What is written depends on what is known by more than a matrix, so that there
 * is no linear system, and no form without a loop over chunks.
 */
export function miras(settings: MirasSettings): MemoryUpdate {
  const { chunkTokens, attentionalBias } = settings;
  /** Lengths of the parts of a sequence that are written at once. */
  const partLengths = (position: number, tokens: number, form: string): number[] => {
    const lengths: number[] = [];
    for (let at = 0; at < tokens; at += lengths[lengths.length - 1]) {
      const left = chunkTokens - ((position + at) % chunkTokens);
      lengths.push(form === 'step' ? 1 : Math.min(left, tokens - at));
    }
    return lengths;
  };

  /** Tokens of one chunk. */
  const write = (
    { q, k, v, logDecay, beta, threshold }: MemoryInput,
    { memory, chunkStart }: Gathered,
  ): { out: tf.Tensor; memory: tf.Tensor } => {
    const [batch, heads, tokens, features] = k.shape as [number, number, number, number];
    const values = v.shape[3]!;
    const error = tf.sub(tf.matMul(k, retained(settings, chunkStart)), v);
    const written = tf.neg(tf.mul(beta!, slopeOf(settings, error, threshold)));
    const outer = tf.mul(tf.expandDims(k, 4), tf.expandDims(written, 3));
    const b = logDecay === undefined ? tf.zerosLike(beta!) : cumulated(logDecay);
    const decay = decayBetween(b, tf.transpose(b, [0, 1, 3, 2]), causalMask(tokens));
    const flat = [batch, heads, tokens, features * values];
    const gathered = tf.add(
      tf.matMul(decay, tf.reshape(outer, flat)),
      tf.mul(tf.exp(b), tf.reshape(memory, [batch, heads, 1, features * values])),
    );
    const each = retained(settings, tf.reshape(gathered, [-1, features, values]));
    const out = tf.matMul(tf.reshape(q, [-1, 1, features]), each);
    const last = tf.slice(gathered, [0, 0, tokens - 1, 0], [batch, heads, 1, features * values]);
    return { out: tf.reshape(out, v.shape), memory: tf.reshape(last, memory.shape) };
  };

  return {
    needsBeta: true,
    needsThreshold: attentionalBias === 'huber',
    nonlinear: true,
    requires: { decay: 'perHead', noNormaliser: true },
    apply(_, input, state, form) {
      const empty = emptyMemory(input);
      const known = state as Partial<Gathered> | undefined;
      let memory = known?.memory ?? empty;
      let chunkStart = known?.chunkStart ?? memory;
      const outputs: tf.Tensor[] = [];
      let at = 0;
      for (const length of partLengths(input.position, input.k.shape[2]!, form)) {
        const part = (x: tf.Tensor): tf.Tensor =>
          tf.slice(x, [0, 0, at, 0], [x.shape[0], x.shape[1]!, length, x.shape[3]!]);
        const { q, k, v, logDecay, beta, threshold } = input;
        const own: MemoryInput = {
          q: part(q),
          k: part(k),
          v: part(v),
          beta: part(beta!),
          ...(logDecay !== undefined && { logDecay: part(logDecay) }),
          ...(threshold !== undefined && { threshold: part(threshold) }),
          position: input.position + at,
        };
        const result = write(own, { memory, chunkStart });
        outputs.push(result.out);
        memory = result.memory;
        at += length;
        if ((input.position + at) % chunkTokens === 0) chunkStart = memory;
      }
      return {
        out: tf.concat(outputs, 2),
        state: { memory, ...(chunkTokens > 1 && { chunkStart }) },
      };
    },
    products(tokens, before, { features, values, spikes }, form) {
      const written = partLengths(before, tokens, form).reduce((sum, n) => sum + n * n, 0);
      const size = features * values;
      return split(spikes, 2 * tokens * size, written * size);
    },
    memoryValues: (_, features, values) => (chunkTokens > 1 ? 2 : 1) * features * values,
  };
}
