import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

export interface LinearAttentionConfig extends Attributes {
  readonly heads: number;
  /** Whether frame t sees frames 0 … t only. Inside a frame every token sees every other. */
  readonly causal: boolean;
  /** Added to the normaliser, > 0. */
  readonly epsilon: number;
  /** Whether to divide by q · z at all; otherwise epsilon alone divides (a fixed scale). */
  readonly normalise: boolean;
}

// Memory of one group and head: S = Σ k vᵀ (`width` × `width`) and z = Σ k (`width`).
const forward: HostKernel<LinearAttentionConfig> = {
  outputShapes: ([q, , , memory, keySum]) => [[...q], [...memory], [...keySum]],
  run(
    [q, k, v, memory, keySum],
    [out, lastMemory, lastKeySum],
    [[groups, frames, tokens, features]],
    { heads, causal, epsilon, normalise },
  ) {
    const width = features / heads;
    lastMemory.set(memory);
    lastKeySum.set(keySum);
    for (let g = 0; g < groups; g++) {
      for (let head = 0; head < heads; head++) {
        const S = (g * heads + head) * width * width;
        const z = (g * heads + head) * width;
        const row = (token: number): number =>
          (g * frames * tokens + token) * features + head * width;
        const absorb = (from: number, to: number): void => {
          for (let token = from; token < to; token++) {
            const at = row(token);
            for (let i = 0; i < width; i++) {
              const key = k[at + i];
              if (key === 0) continue;
              lastKeySum[z + i] += key;
              for (let j = 0; j < width; j++) lastMemory[S + i * width + j] += key * v[at + j];
            }
          }
        };
        const readOut = (from: number, to: number): void => {
          for (let token = from; token < to; token++) {
            const at = row(token);
            let normaliser = epsilon;
            for (let i = 0; i < width; i++) {
              const query = q[at + i];
              if (query === 0) continue;
              if (normalise) normaliser += query * lastKeySum[z + i];
              for (let j = 0; j < width; j++) out[at + j] += query * lastMemory[S + i * width + j];
            }
            for (let j = 0; j < width; j++) out[at + j] /= normaliser;
          }
        };
        const span = causal ? tokens : frames * tokens;
        for (let from = 0; from < frames * tokens; from += span) {
          absorb(from, from + span);
          readOut(from, from + span);
        }
      }
    }
  },
};

const backward: HostKernel<LinearAttentionConfig> = {
  outputShapes: (shapes) => shapes.slice(0, 5).map((shape) => [...shape]),
  run(
    [q, k, v, , , out, lastMemory, lastKeySum, dOut, dLastMemory, dLastKeySum],
    [dQ, dK, dV, dMemory, dKeySum],
    [[groups, frames, tokens, features]],
    { heads, causal, epsilon, normalise },
  ) {
    const width = features / heads;
    // Runs backwards through the spans: `S`, `z` are rewound by taking the keys out again, and
    // `dMemory`, `dKeySum` gather the gradients of everything that read the memory later.
    const S = new Float64Array(width * width);
    const z = new Float64Array(width);
    const dNumerator = new Float64Array(width);
    dMemory.set(dLastMemory);
    dKeySum.set(dLastKeySum);
    for (let g = 0; g < groups; g++) {
      for (let head = 0; head < heads; head++) {
        const memoryAt = (g * heads + head) * width * width;
        const sumAt = (g * heads + head) * width;
        for (let i = 0; i < width * width; i++) S[i] = lastMemory[memoryAt + i];
        for (let i = 0; i < width; i++) z[i] = lastKeySum[sumAt + i];
        const row = (token: number): number =>
          (g * frames * tokens + token) * features + head * width;
        const span = causal ? tokens : frames * tokens;
        for (let from = frames * tokens - span; from >= 0; from -= span) {
          for (let token = from; token < from + span; token++) {
            const at = row(token);
            let normaliser = epsilon;
            if (normalise) for (let i = 0; i < width; i++) normaliser += q[at + i] * z[i];
            let dNormaliser = 0;
            for (let j = 0; j < width; j++) {
              dNumerator[j] = dOut[at + j] / normaliser;
              if (normalise) dNormaliser -= dNumerator[j] * out[at + j];
            }
            for (let i = 0; i < width; i++) {
              const query = q[at + i];
              let gradient = dNormaliser * z[i];
              for (let j = 0; j < width; j++) gradient += dNumerator[j] * S[i * width + j];
              dQ[at + i] = gradient;
              if (query === 0) continue;
              dKeySum[sumAt + i] += query * dNormaliser;
              for (let j = 0; j < width; j++) {
                dMemory[memoryAt + i * width + j] += query * dNumerator[j];
              }
            }
          }
          for (let token = from; token < from + span; token++) {
            const at = row(token);
            for (let i = 0; i < width; i++) {
              const key = k[at + i];
              let gradient = dKeySum[sumAt + i];
              for (let j = 0; j < width; j++) {
                const dS = dMemory[memoryAt + i * width + j];
                gradient += dS * v[at + j];
                dV[at + j] += dS * key;
              }
              dK[at + i] = gradient;
              if (key === 0) continue;
              z[i] -= key;
              for (let j = 0; j < width; j++) S[i * width + j] -= key * v[at + j];
            }
          }
        }
      }
    }
  },
};

const fused = defineFusedOp<LinearAttentionConfig>({
  name: 'LinearAttention',
  forward,
  backward,
  saveOutputs: [true, true, true],
  // The quadratic form: a masked score matrix over all pairs of tokens.
  reference([q, k, v, memory, keySum], { heads, causal, epsilon, normalise }) {
    const [groups, frames, tokens, features] = q.shape;
    const length = frames * tokens;
    const width = features / heads;
    const split = (x: tf.Tensor): tf.Tensor =>
      tf.transpose(tf.reshape(x, [groups, length, heads, width]), [0, 2, 1, 3]);
    const [Q, K, V] = [q, k, v].map(split);
    const frameOf = tf.floorDiv(tf.range(0, length, 1, 'int32'), tf.scalar(tokens, 'int32'));
    const mask = causal
      ? tf.cast(tf.greaterEqual(tf.expandDims(frameOf, 1), tf.expandDims(frameOf, 0)), 'float32')
      : tf.ones([length, length]);
    const scores = tf.mul(tf.matMul(Q, tf.transpose(K, [0, 1, 3, 2])), mask);
    const numerator = tf.add(tf.matMul(scores, V), tf.matMul(Q, memory));
    const overlap = tf.add(tf.sum(scores, -1, true), tf.matMul(Q, tf.expandDims(keySum, -1)));
    const normaliser = normalise ? tf.add(overlap, epsilon) : tf.scalar(epsilon);
    const joined = tf.transpose(tf.div(numerator, normaliser), [0, 2, 1, 3]);
    return [
      tf.reshape(joined, q.shape),
      tf.add(memory, tf.matMul(tf.transpose(K, [0, 1, 3, 2]), V)),
      tf.add(keySum, tf.sum(K, 2)),
    ];
  },
});

/** What linear attention has seen so far. */
export interface LinearAttentionState {
  /** S = Σ k vᵀ, `[groups, heads, width, width]` with width = features / heads. */
  readonly memory: tf.Tensor;
  /** z = Σ k, `[groups, heads, width]`. */
  readonly keySum: tf.Tensor;
}

/**
 * Linear attention (Katharopoulos et al. 2020, eqs. 5 and 9-12) without a softmax:
 *
 *     out[n] = (q[n] · S) / (q[n] · z + ε),   S = Σ k[m] v[m]ᵀ,   z = Σ k[m]
 *
 * over all m of the window (bidirectional) or of the frames up to n's own (causal).
 *
 * @param q,k,v `[groups, frames, tokens, features]`; q and k ≥ 0, so that the normaliser stays positive.
 *   A group is what attends together: one window of one clip.
 * @returns out, shape of `q`, and the state after the last frame.
 */
export function linearAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  state: LinearAttentionState,
  config: LinearAttentionConfig,
): { out: tf.Tensor; state: LinearAttentionState } {
  const [out, memory, keySum] = fused([q, k, v, state.memory, state.keySum], config);
  return { out, state: { memory, keySum } };
}

export const linearAttentionDefinition = fused.definition;
