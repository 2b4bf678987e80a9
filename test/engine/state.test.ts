import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { causalConv1d } from '../../engine/ops/causalConv1d.js';
import { linearAttention, type LinearAttentionState } from '../../engine/ops/linearAttention.js';
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
});
