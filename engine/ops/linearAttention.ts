import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type FloatArray, type HostKernel } from '../fused.js';
import { SaccadeError } from '../support/errors.js';
import { timeSteps } from './timeSteps.js';

export interface LinearAttentionConfig extends Attributes {
  readonly heads: number;
  /** Whether frame t sees frames 0 … t only. Inside a frame every token sees every other. */
  readonly causal: boolean;
  /** Added to the normaliser, > 0. */
  readonly epsilon: number;
  /** Whether to divide by q · z at all; otherwise epsilon alone divides (a fixed scale). */
  readonly normalise: boolean;
}

/**
 * Memory of one group and head: S = Σ k vᵀ (`width` × `width`) and z = Σ k (`width`). With a sixth input,
 * `decay`, both are multiplied by a frame's factors before its keys are added.
 */
interface Layout {
  readonly width: number;
  /** Tokens that see each other. */
  readonly span: number;
  /** Decay factors of one head and frame: 1 or `width`; 0 where nothing decays. */
  readonly factors: number;
}

function layoutOf(
  [[, frames, tokens, features], , , , , decay]: readonly (readonly number[])[],
  { heads, causal }: LinearAttentionConfig,
): Layout {
  return {
    width: features / heads,
    span: causal ? tokens : frames * tokens,
    factors: decay === undefined ? 0 : decay[2] / heads,
  };
}

/** Multiplies the rows of S and z by their factors. */
function scaleMemory(
  S: FloatArray,
  sAt: number,
  z: FloatArray,
  zAt: number,
  width: number,
  factor: (row: number) => number,
): void {
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < width; j++) S[sAt + i * width + j] *= factor(i);
    z[zAt + i] *= factor(i);
  }
}

const forward: HostKernel<LinearAttentionConfig> = {
  outputShapes: ([q, , , memory, keySum]) => [[...q], [...memory], [...keySum]],
  run([q, k, v, memory, keySum, decay], [out, lastMemory, lastKeySum], shapes, config) {
    const [[groups, frames, tokens, features]] = shapes;
    const { heads, epsilon, normalise } = config;
    const { width, span, factors } = layoutOf(shapes, config);
    lastMemory.set(memory);
    lastKeySum.set(keySum);
    for (let g = 0; g < groups; g++) {
      for (let head = 0; head < heads; head++) {
        const S = (g * heads + head) * width * width;
        const z = (g * heads + head) * width;
        const row = (token: number): number =>
          (g * frames * tokens + token) * features + head * width;
        for (let from = 0; from < frames * tokens; from += span) {
          if (factors > 0) {
            const at = ((g * frames + from / tokens) * heads + head) * factors;
            scaleMemory(lastMemory, S, lastKeySum, z, width, (i) => decay[at + (i % factors)]);
          }
          for (let token = from; token < from + span; token++) {
            const at = row(token);
            for (let i = 0; i < width; i++) {
              const key = k[at + i];
              if (key === 0) continue;
              lastKeySum[z + i] += key;
              for (let j = 0; j < width; j++) lastMemory[S + i * width + j] += key * v[at + j];
            }
          }
          for (let token = from; token < from + span; token++) {
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
        }
      }
    }
  },
};

const backward: HostKernel<LinearAttentionConfig> = {
  outputShapes: (shapes) => shapes.slice(0, -4).map((shape) => [...shape]),
  run(tensors, [dQ, dK, dV, dMemory, dKeySum, dDecay], shapes, config) {
    const inputs = tensors.length - 4;
    const [q, k, v, memory, keySum] = tensors;
    const decay = tensors[5];
    const [out, dOut, dLastMemory, dLastKeySum] = tensors.slice(inputs);
    const [[groups, frames, tokens, features]] = shapes;
    const { heads, epsilon, normalise } = config;
    const { width, span, factors } = layoutOf(shapes.slice(0, inputs), config);
    const spans = (frames * tokens) / span;
    const size = width * width;
    // Memories before the first and after each span are computed again; `dMemory` and `dKeySum` gather
    // the gradients of everything that read the memory later, while the spans run backwards.
    const S = new Float64Array((spans + 1) * size);
    const z = new Float64Array((spans + 1) * width);
    const dNumerator = new Float64Array(width);
    dMemory.set(dLastMemory);
    dKeySum.set(dLastKeySum);
    for (let g = 0; g < groups; g++) {
      for (let head = 0; head < heads; head++) {
        const memoryAt = (g * heads + head) * size;
        const sumAt = (g * heads + head) * width;
        const row = (token: number): number =>
          (g * frames * tokens + token) * features + head * width;
        const factorAt = (n: number): number =>
          ((g * frames + (n * span) / tokens) * heads + head) * factors;
        for (let i = 0; i < size; i++) S[i] = memory[memoryAt + i];
        for (let i = 0; i < width; i++) z[i] = keySum[sumAt + i];
        for (let n = 0; n < spans; n++) {
          const after = (n + 1) * size;
          S.copyWithin(after, n * size, after);
          z.copyWithin((n + 1) * width, n * width, (n + 1) * width);
          if (factors > 0) {
            const at = factorAt(n);
            scaleMemory(S, after, z, (n + 1) * width, width, (i) => decay[at + (i % factors)]);
          }
          for (let token = n * span; token < (n + 1) * span; token++) {
            const at = row(token);
            for (let i = 0; i < width; i++) {
              const key = k[at + i];
              if (key === 0) continue;
              z[(n + 1) * width + i] += key;
              for (let j = 0; j < width; j++) S[after + i * width + j] += key * v[at + j];
            }
          }
        }
        for (let n = spans - 1; n >= 0; n--) {
          const after = (n + 1) * size;
          for (let token = n * span; token < (n + 1) * span; token++) {
            const at = row(token);
            let normaliser = epsilon;
            for (let i = 0; normalise && i < width; i++) {
              normaliser += q[at + i] * z[(n + 1) * width + i];
            }
            let dNormaliser = 0;
            for (let j = 0; j < width; j++) {
              dNumerator[j] = dOut[at + j] / normaliser;
              if (normalise) dNormaliser -= dNumerator[j] * out[at + j];
            }
            for (let i = 0; i < width; i++) {
              const query = q[at + i];
              let gradient = dNormaliser * z[(n + 1) * width + i];
              for (let j = 0; j < width; j++) gradient += dNumerator[j] * S[after + i * width + j];
              dQ[at + i] = gradient;
              if (query === 0) continue;
              dKeySum[sumAt + i] += query * dNormaliser;
              for (let j = 0; j < width; j++) {
                dMemory[memoryAt + i * width + j] += query * dNumerator[j];
              }
            }
          }
          for (let token = n * span; token < (n + 1) * span; token++) {
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
            }
          }
          if (factors === 0) continue;
          const at = factorAt(n);
          for (let i = 0; i < width; i++) {
            let gradient = dKeySum[sumAt + i] * z[n * width + i];
            for (let j = 0; j < width; j++) {
              gradient += dMemory[memoryAt + i * width + j] * S[n * size + i * width + j];
            }
            dDecay[at + (i % factors)] += gradient;
          }
          scaleMemory(dMemory, memoryAt, dKeySum, sumAt, width, (i) => decay[at + (i % factors)]);
        }
      }
    }
  },
};

// The quadratic form: a masked score matrix over all pairs of tokens.
function quadratic(
  [q, k, v, memory, keySum]: readonly tf.Tensor[],
  { heads, causal, epsilon, normalise }: LinearAttentionConfig,
): tf.Tensor[] {
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
}

/** The recurrence frame by frame, as it is written in the papers. */
function recurrent(
  [q, k, v, memory, keySum, decay]: readonly tf.Tensor[],
  { heads, epsilon, normalise }: LinearAttentionConfig,
): tf.Tensor[] {
  const [groups, , tokens, features] = q.shape;
  const width = features / heads;
  const split = (x: tf.Tensor): tf.Tensor[] =>
    timeSteps(x).map((frame) =>
      tf.transpose(tf.reshape(frame, [groups, tokens, heads, width]), [0, 2, 1, 3]),
    );
  const [Q, K, V] = [q, k, v].map(split);
  let S = memory;
  let z = keySum;
  const outputs = timeSteps(decay).map((frame, t) => {
    const factors = tf.reshape(frame, [groups, heads, -1]);
    const keysUp = tf.transpose(K[t], [0, 1, 3, 2]);
    S = tf.add(tf.mul(tf.expandDims(factors, -1), S), tf.matMul(keysUp, V[t]));
    z = tf.add(tf.mul(factors, z), tf.sum(K[t], 2));
    const overlap = tf.add(tf.matMul(Q[t], tf.expandDims(z, -1)), epsilon);
    const out = tf.div(tf.matMul(Q[t], S), normalise ? overlap : tf.scalar(epsilon));
    return tf.reshape(tf.transpose(out, [0, 2, 1, 3]), [groups, tokens, features]);
  });
  return [tf.stack(outputs, 1), S, z];
}

const common = { forward, backward, saveOutputs: [true, false, false] };
const plain = defineFusedOp<LinearAttentionConfig>({
  name: 'LinearAttention',
  ...common,
  reference: quadratic,
});
const decaying = defineFusedOp<LinearAttentionConfig>({
  name: 'DecayingLinearAttention',
  ...common,
  reference: recurrent,
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
 * over all m of the window (bidirectional) or of the frames up to n's own (causal). Causal attention may
 * forget: S and z are multiplied by `decay` of a frame before its keys come in, per head (retention; Sun
 * et al. 2023, eq. 6) or per key channel (gated linear attention; Yang et al. 2024, eq. 3).
 *
 * @param q,k,v `[groups, frames, tokens, features]`; q and k ≥ 0, so that the normaliser stays positive.
 *   A group is what attends together: one window of one clip.
 * @param decay factors, `[groups, frames, heads]` or `[groups, frames, features]`; causal only.
 * @returns out, shape of `q`, and the state after the last frame.
 */
export function linearAttention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  state: LinearAttentionState,
  config: LinearAttentionConfig,
  decay?: tf.Tensor,
): { out: tf.Tensor; state: LinearAttentionState } {
  const inputs = [q, k, v, state.memory, state.keySum];
  if (decay !== undefined && !config.causal) {
    throw new SaccadeError('usage', 'only causal linear attention can decay', { field: 'decay' });
  }
  const [out, memory, keySum] =
    decay === undefined ? plain(inputs, config) : decaying([...inputs, decay], config);
  return { out, state: { memory, keySum } };
}

export const linearAttentionDefinition = plain.definition;
export const decayingLinearAttentionDefinition = decaying.definition;
