import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { causalConv1d } from '../../engine/ops/causalConv1d.js';
import {
  adaptiveLif,
  defaultLif,
  integrateAndFire,
  lif,
  parametricLif,
} from '../../engine/ops/lif.js';
import { linearAttention, type LinearAttentionState } from '../../engine/ops/linearAttention.js';
import { selectiveScan } from '../../engine/ops/selectiveScan.js';
import { createRandom } from '../../engine/support/random.js';
import { testedBackends } from './backends.js';

function draw(seed: number, name: string, shape: number[], spikes = false): tf.Tensor {
  const random = createRandom(seed, name);
  const size = shape.reduce((a, b) => a * b, 1);
  const value = spikes ? (): number => random.integer(2) : (): number => random.normal();
  return tf.tensor(Float32Array.from({ length: size }, value), shape);
}

/** Cuts axis 1 into the given lengths, the last one repeated, and joins what `step` makes of each part. */
function inChunks(
  inputs: readonly tf.Tensor[],
  lengths: readonly number[],
  step: (parts: tf.Tensor[]) => tf.Tensor,
): tf.Tensor {
  const time = inputs[0].shape[1]!;
  const outputs: tf.Tensor[] = [];
  for (let at = 0, i = 0; at < time; i++) {
    const length = Math.min(lengths[Math.min(i, lengths.length - 1)], time - at);
    outputs.push(step(inputs.map((x) => tf.slice(x, [0, at], [-1, length]))));
    at += length;
  }
  return tf.concat(outputs, 1);
}

function largestDifference(a: tf.Tensor, b: tf.Tensor): number {
  return tf.max(tf.abs(tf.sub(a, b))).dataSync()[0];
}

const chunkLengths = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 8 });

describe.each(testedBackends)('state carried from chunk to chunk on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it('causalConv1d: whole = chunks, shorter than the kernel too', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 12 }),
        chunkLengths,
        fc.integer(),
        (taps, length, lengths, seed) => {
          tf.tidy(() => {
            const [batch, channels] = [2, 3];
            const x = draw(seed, 'x', [batch, length, channels]);
            const weight = draw(seed, 'weight', [taps, channels]);
            const bias = draw(seed, 'bias', [channels]);
            const before = draw(seed, 'state', [batch, taps - 1, channels]);
            const whole = causalConv1d(x, weight, bias, before);
            let state = before;
            const chunked = inChunks([x], lengths, ([part]) => {
              const result = causalConv1d(part, weight, bias, state);
              state = result.state;
              return result.y;
            });
            expect(chunked.dataSync()).toEqual(whole.y.dataSync());
            expect(state.dataSync()).toEqual(whole.state.dataSync());
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  it('causalConv1d: the example worked by hand', () => {
    tf.tidy(() => {
      // y[t] = 0.5 + 1 x[t-2] + 10 x[t-1] + 100 x[t], with x[-2] = 7 and x[-1] = 8.
      const { y, state } = causalConv1d(
        tf.tensor([1, 2, 3], [1, 3, 1]),
        tf.tensor([1, 10, 100], [3, 1]),
        tf.tensor([0.5]),
        tf.tensor([7, 8], [1, 2, 1]),
      );
      expect(Array.from(y.dataSync())).toEqual([187.5, 218.5, 321.5]);
      expect(Array.from(state.dataSync())).toEqual([2, 3]);
    });
  });

  it.each([true, false])('linearAttention, causal, normalise = %s: whole = chunks', (normalise) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        chunkLengths,
        fc.integer(),
        (frames, lengths, seed) => {
          tf.tidy(() => {
            const [groups, tokens, heads, width] = [2, 3, 2, 4];
            const config = { heads, causal: true, normalise, epsilon: 1 };
            const shape = [groups, frames, tokens, heads * width];
            const inputs = [
              draw(seed, 'q', shape, true),
              draw(seed, 'k', shape, true),
              draw(seed, 'v', shape),
            ];
            const empty = {
              memory: tf.zeros([groups, heads, width, width]),
              keySum: tf.zeros([groups, heads, width]),
            };
            const whole = linearAttention(inputs[0], inputs[1], inputs[2], empty, config);
            let state: LinearAttentionState = empty;
            const chunked = inChunks(inputs, lengths, ([q, k, v]) => {
              const result = linearAttention(q, k, v, state, config);
              state = result.state;
              return result.out;
            });
            expect(largestDifference(chunked, whole.out)).toBeLessThan(1e-5);
            expect(largestDifference(state.memory, whole.state.memory)).toBeLessThan(1e-5);
            expect(largestDifference(state.keySum, whole.state.keySum)).toBeLessThan(1e-5);
          });
        },
      ),
      { numRuns: 20 },
    );
  });

  it('linearAttention: a frame sees itself and those before it, all tokens of them', () => {
    tf.tidy(() => {
      // One head of width 1 and keys of 1: the memory is Σ v, the key sum a count.
      const ones = tf.ones([1, 2, 2, 1]);
      const v = tf.tensor([1, 3, 10, 20], [1, 2, 2, 1]);
      const empty = { memory: tf.zeros([1, 1, 1, 1]), keySum: tf.zeros([1, 1, 1]) };
      const attend = (causal: boolean): number[] =>
        Array.from(
          linearAttention(ones, ones, v, empty, {
            heads: 1,
            causal,
            normalise: true,
            epsilon: 2,
          }).out.dataSync(),
        );
      // (1 + 3) / (2 + 2), then (1 + 3 + 10 + 20) / (4 + 2).
      expect(attend(true)).toEqual([1, 1, 34 / 6, 34 / 6].map((x) => expect.closeTo(x, 5)));
      expect(attend(false)).toEqual(Array(4).fill(expect.closeTo(34 / 6, 5)));
    });
  });

  it('decaying linearAttention: whole = chunks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        chunkLengths,
        fc.boolean(),
        fc.integer(),
        (frames, lengths, perChannel, seed) => {
          tf.tidy(() => {
            const [groups, tokens, heads, width] = [2, 3, 2, 4];
            const config = { heads, causal: true, normalise: true, epsilon: 1 };
            const shape = [groups, frames, tokens, heads * width];
            const factors = [groups, frames, perChannel ? heads * width : heads];
            const inputs = [
              draw(seed, 'q', shape, true),
              draw(seed, 'k', shape, true),
              draw(seed, 'v', shape),
              tf.sigmoid(draw(seed, 'decay', factors)),
            ];
            let state: LinearAttentionState = {
              memory: draw(seed, 'memory', [groups, heads, width, width]),
              keySum: tf.abs(draw(seed, 'keySum', [groups, heads, width])),
            };
            const attend = ([q, k, v, decay]: tf.Tensor[]): tf.Tensor => {
              const result = linearAttention(q, k, v, state, config, decay);
              state = result.state;
              return result.out;
            };
            const start = state;
            const whole = attend(inputs);
            const last = state;
            state = start;
            const chunked = inChunks(inputs, lengths, attend);
            expect(largestDifference(chunked, whole)).toBeLessThan(1e-5);
            expect(largestDifference(state.memory, last.memory)).toBeLessThan(1e-5);
            expect(largestDifference(state.keySum, last.keySum)).toBeLessThan(1e-5);
          });
        },
      ),
      { numRuns: 20 },
    );
  });

  it('gated selectiveScan: whole = chunks, beyond a chunk of the kernel', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 80 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 }),
        fc.integer(),
        (length, lengths, seed) => {
          tf.tidy(() => {
            const [batch, channels, states] = [2, 5, 3];
            const [A, D, deltaBias] = [
              tf.neg(tf.exp(draw(seed, 'A', [channels, states]))),
              draw(seed, 'D', [channels]),
              draw(seed, 'bias', [channels]),
            ];
            const sequences = ['u', 'delta', 'z'].map((name) =>
              draw(seed, name, [batch, length, channels]),
            );
            const mixes = ['B', 'C'].map((name) => draw(seed, name, [batch, length, states]));
            const start = draw(seed, 'state', [batch, channels, states]);
            let state = start;
            const scan = ([u, delta, z, B, C]: tf.Tensor[]): tf.Tensor => {
              const result = selectiveScan({ u, delta, A, B, C, D, deltaBias, z }, state);
              state = result.state;
              return result.y;
            };
            const inputs = [...sequences, ...mixes];
            const whole = scan(inputs);
            const last = state;
            state = start;
            expect(largestDifference(inChunks(inputs, lengths, scan), whole)).toBeLessThan(1e-5);
            expect(largestDifference(state, last)).toBeLessThan(1e-5);
          });
        },
      ),
      { numRuns: 20 },
    );
  });

  it('learned tau, adapting threshold and integrate-and-fire: whole = chunks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        chunkLengths,
        fc.integer(),
        (steps, lengths, seed) => {
          tf.tidy(() => {
            const x = draw(seed, 'x', [2, steps, 5]);
            const zeros = tf.zeros([2, 5]);
            const tau = tf.tensor1d([1.5, 2, 3, 5, 8]);
            const adapting = { ...defaultLif, adaptationStrength: 0.5, adaptationDecay: 0.9 };
            interface State {
              readonly membrane: tf.Tensor;
              readonly adaptation: tf.Tensor;
            }
            const neurons: ((input: tf.Tensor, state: State) => State & { spikes: tf.Tensor })[] = [
              (input, state) => ({ ...state, ...parametricLif(input, state.membrane, tau) }),
              (input, state) => adaptiveLif(input, state.membrane, state.adaptation, adapting),
              (input, state) => ({ ...state, ...integrateAndFire(input, state.membrane) }),
            ];
            for (const run of neurons) {
              const start = { membrane: zeros, adaptation: zeros };
              const whole = run(x, start);
              let state: State = start;
              const chunked = inChunks([x], lengths, ([part]) => {
                const { spikes, ...next } = run(part, state);
                state = next;
                return spikes;
              });
              expect(chunked.dataSync()).toEqual(whole.spikes.dataSync());
              expect(state.membrane.dataSync()).toEqual(whole.membrane.dataSync());
              expect(state.adaptation.dataSync()).toEqual(whole.adaptation.dataSync());
            }
          });
        },
      ),
      { numRuns: 20 },
    );
  });

  it('one tau for all is plain lif, and no adaptation either', () => {
    tf.tidy(() => {
      const x = draw(1, 'x', [2, 9, 5]);
      const zeros = tf.zeros([2, 5]);
      const plain = lif(x, zeros).spikes.dataSync();
      expect(parametricLif(x, zeros, tf.tensor1d([2])).spikes.dataSync()).toEqual(plain);
      const still = { ...defaultLif, adaptationStrength: 0, adaptationDecay: 0.5 };
      expect(adaptiveLif(x, zeros, zeros, still).spikes.dataSync()).toEqual(plain);
    });
  });
});
