import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { defaultLif } from '../../engine/ops/lif.js';
import { linear } from '../../engine/ops/linear.js';
import { inference, within } from '../../models/context.js';
import { rotate, rotaryTable } from '../../models/mixers/rotary.js';
import {
  initialiseRotaryLinearAttention,
  rotaryLinearAttention,
} from '../../models/mixers/rotaryLinearAttention.js';
import { initialiseSpikeMamba } from '../../models/mixers/spikeMamba.js';
import {
  initialiseSpikingSelfAttention,
  spikingSelfAttention,
} from '../../models/mixers/spikingSelfAttention.js';
import { fromWindows, toWindows, windowLayout } from '../../models/mixers/window.js';
import { spiking } from '../../models/neurons/spiking.js';
import { Initialiser } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';

const neuron = { ...defaultLif, decayInput: false };

function largestDifference(a: tf.Tensor, b: tf.Tensor): number {
  expect(a.shape).toEqual(b.shape);
  return tf.max(tf.abs(tf.sub(a, b))).dataSync()[0];
}

const normal = (shape: number[], seed: number): tf.Tensor =>
  tf.randomNormal(shape, 0, 1, 'float32', seed);

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});

describe('windows', () => {
  it('gather the patches of a block of rows and columns', () => {
    tf.tidy(() => {
      // Patch i holds i, in frame t plus 100 t; 4 × 4 patches, windows of 2 frames × 2 × 2.
      const x = tf.concat([tf.range(0, 16), tf.range(100, 116)]).reshape([1, 2, 16, 1]);
      const layout = windowLayout({ frames: 2, rows: 2, columns: 2 }, 4, 4);
      const groups = toWindows(x, 2, layout);
      expect(groups.shape).toEqual([4, 2, 4, 1]);
      expect(Array.from(tf.slice(groups, [1], [1]).dataSync())).toEqual([
        2, 3, 6, 7, 102, 103, 106, 107,
      ]);
      expect(Array.from(tf.slice(groups, [2], [1]).dataSync())).toEqual([
        8, 9, 12, 13, 108, 109, 112, 113,
      ]);
    });
  });

  it('are undone by fromWindows, and so is their gradient', () => {
    const divisor = (extent: number): fc.Arbitrary<number> =>
      fc.constantFrom(...[0, 1, 2, 3, 4, 6].filter((d) => d === 0 || extent % d === 0));
    const cases = fc
      .record({ rows: fc.constantFrom(2, 3, 4), columns: fc.constantFrom(2, 4, 6) })
      .chain(({ rows, columns }) =>
        fc.record({
          rows: fc.constant(rows),
          columns: fc.constant(columns),
          height: divisor(rows),
          width: divisor(columns),
          groupFrames: fc.constantFrom(1, 2, 4),
        }),
      );
    fc.assert(
      fc.property(cases, ({ rows, columns, height, width, groupFrames }) => {
        tf.tidy(() => {
          const layout = windowLayout(
            { frames: groupFrames, rows: height, columns: width },
            rows,
            columns,
          );
          const x = normal([2, 4, rows * columns, 3], 1);
          const back = fromWindows(toWindows(x, groupFrames, layout), 2, 4, groupFrames, layout);
          expect(largestDifference(back, x)).toBe(0);
          // The gradient of a permutation sends each weight back to where its value came from.
          const groups = toWindows(x, groupFrames, layout);
          const gradient = tf.grad((y: tf.Tensor) =>
            tf.sum(tf.mul(toWindows(y, groupFrames, layout), groups)),
          )(x);
          expect(largestDifference(gradient, x)).toBe(0);
        });
      }),
      { numRuns: 30 },
    );
  });

  it('refuse sizes that do not tile the frame', () => {
    expect(() => windowLayout({ frames: 1, rows: 3, columns: 0 }, 4, 4)).toThrow(/3 × 4 .* 4 × 4/);
    expect(() => windowLayout({ frames: 1, rows: 0, columns: 3 }, 4, 4)).toThrow(RangeError);
  });
});

describe('rotary positions', () => {
  const [rows, columns, width] = [3, 4, 8];
  const table = rotaryTable(rows, columns, width);
  const tokens = rows * columns;

  it('leave the first token and all lengths alone', () => {
    tf.tidy(() => {
      const x = normal([2, tokens, width], 1);
      const turned = rotate(x, table);
      expect(
        largestDifference(tf.slice(turned, [0, 0], [-1, 1]), tf.slice(x, [0, 0], [-1, 1])),
      ).toBe(0);
      expect(largestDifference(tf.norm(turned, 2, -1), tf.norm(x, 2, -1))).toBeLessThan(1e-5);
    });
  });

  it('turn the first half of the features with the row, the others with the column', () => {
    tf.tidy(() => {
      // Token 6 stands in row 1, column 2; frequencies are 1 and 10,000^(-1/2) = 0.01.
      const x = tf.tile(tf.tensor([1, 0], [1, 1, 2]), [1, tokens, width / 2]);
      const turned = tf.slice(rotate(x, table), [0, 6], [1, 1]).dataSync();
      const angles = [1, 0.01, 2, 0.02];
      const expected = angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)]);
      expect(Array.from(turned)).toEqual(expected.map((value) => expect.closeTo(value, 5)));
    });
  });

  it('make products depend on the offset between two tokens only', () => {
    tf.tidy(() => {
      const everywhere = (seed: number): tf.Tensor =>
        rotate(tf.tile(normal([1, 1, width], seed), [1, tokens, 1]), table);
      const scores = tf
        .matMul(everywhere(1), everywhere(2), false, true)
        .reshape([tokens, tokens])
        .arraySync() as number[][];
      // One row down and two columns right, from (0,0), (0,1), (1,0) and (1,1).
      const offset = columns + 2;
      const [first, ...others] = [0, 1, 4, 5].map((from) => scores[from][from + offset]);
      for (const other of others) expect(other).toBeCloseTo(first, 4);
      expect(Math.abs(scores[0][1] - first)).toBeGreaterThan(1e-3);
    });
  });
});

describe('rotaryLinearAttention', () => {
  it('equals its formula, summed token by token', () => {
    tf.tidy(() => {
      const [batch, time, rows, columns, width, heads] = [2, 3, 2, 2, 8, 2];
      const tokens = rows * columns;
      const headWidth = width / heads;
      const rotary = rotaryTable(rows, columns, width);
      const config = { width, heads, rows, columns, rotary, neuron };
      const parameters = initialiseRotaryLinearAttention(new Initialiser(1), config);
      // Without the local part.
      const bare = {
        ...parameters,
        local: { weight: tf.zeros([3, 3, width]), bias: tf.zeros([width]) },
      };
      const x = normal([batch, time, tokens, width], 2);
      const { output } = rotaryLinearAttention(bare, x, undefined, config, inference);

      const { spikes } = spiking(
        parameters.neurons,
        linear(x, parameters.queryKey),
        undefined,
        neuron,
        within(inference, 'neurons'),
      );
      const [q, k] = tf.split(tf.add(tf.elu(spikes), 1), 2, 3);
      expect(tf.mean(spikes).dataSync()[0]).toBeGreaterThan(0.05);
      type Nested = number[][][][];
      const [Q, K, V, rotatedQ, rotatedK, actual] = [
        q,
        k,
        x,
        rotate(q, rotary),
        rotate(k, rotary),
        output,
      ].map((tensor) => tensor.arraySync() as Nested);
      const dot = (a: number[], b: number[], head: number): number => {
        let sum = 0;
        for (let i = head * headWidth; i < (head + 1) * headWidth; i++) sum += a[i] * b[i];
        return sum;
      };
      for (let b = 0; b < batch; b++) {
        for (let t = 0; t < time; t++) {
          for (let n = 0; n < tokens; n++) {
            for (let j = 0; j < width; j++) {
              const head = Math.floor(j / headWidth);
              let numerator = 0;
              let normaliser = 0;
              for (let m = 0; m < tokens; m++) {
                const score = dot(rotatedQ[b][t][n], rotatedK[b][t][m], head);
                numerator += (score * V[b][t][m][j]) / tokens;
                normaliser += dot(Q[b][t][n], K[b][t][m], head) / tokens;
              }
              expect(actual[b][t][n][j]).toBeCloseTo(numerator / (normaliser + 1e-6), 4);
            }
          }
        }
      }
    });
  });
});

describe('spikingSelfAttention', () => {
  it('equals (q kᵀ) v · s of its own spikes, frame by frame', () => {
    tf.tidy(() => {
      const [batch, time, tokens, width, heads] = [2, 3, 5, 8, 2];
      const config = { width, heads, scale: 0.25, neuron };
      const parameters = initialiseSpikingSelfAttention(new Initialiser(1), config);
      const x = normal([batch, time, tokens, width], 3);
      const { output, state } = spikingSelfAttention(parameters, x, undefined, config, inference);

      const { weights, neurons } = parameters;
      const fire = (name: keyof typeof neurons, y: tf.Tensor): tf.Tensor =>
        spiking(neurons[name], y, undefined, neuron, inference).spikes;
      const byHead = (y: tf.Tensor): tf.Tensor =>
        tf.transpose(tf.reshape(y, [batch * time, tokens, heads, width / heads]), [0, 2, 1, 3]);
      const q = byHead(fire('query', linear(x, weights.query)));
      const k = byHead(fire('key', linear(x, weights.key)));
      const v = byHead(fire('value', linear(x, weights.value)));
      const mixed = tf.mul(tf.matMul(tf.matMul(q, k, false, true), v), config.scale);
      const joined = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), x.shape);
      expect(tf.mean(joined).dataSync()[0]).toBeGreaterThan(0.01);
      const attended = spiking(neurons.attended, joined, undefined, neuron, inference);
      expect(largestDifference(state.attended, attended.membrane)).toBeLessThan(1e-5);
      const expected = fire('output', linear(attended.spikes, weights.output));
      expect(largestDifference(output, expected)).toBe(0);
    });
  });
});

describe('spikeMamba', () => {
  it('starts with step sizes in [0.001, 0.1] and A = -1 … -N', () => {
    tf.tidy(() => {
      const { forward } = initialiseSpikeMamba(new Initialiser(1), {
        width: 4,
        channels: 64,
        states: 3,
        deltaRank: 2,
        taps: 4,
        scanOrder: 'frame',
        bidirectional: false,
        neuron,
      });
      const steps = Array.from(tf.softplus(forward.deltaBias).dataSync());
      expect(Math.min(...steps)).toBeGreaterThan(0.999e-3);
      expect(Math.max(...steps)).toBeLessThan(1.001e-1);
      expect(Math.max(...steps) / Math.min(...steps)).toBeGreaterThan(20);
      const A = Array.from(tf.neg(tf.exp(forward.logA)).dataSync()).slice(0, 6);
      expect(A).toEqual([-1, -2, -3, -1, -2, -3].map((value) => expect.closeTo(value, 5)));
    });
  });
});
