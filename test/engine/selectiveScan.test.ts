import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { selectiveScan, type ScanInputs } from '../../engine/ops/selectiveScan.js';
import { createRandom } from '../../engine/support/random.js';
import { testedBackends } from './backends.js';

interface Extents {
  readonly batch: number;
  readonly length: number;
  readonly channels: number;
  readonly states: number;
}

type Values = Readonly<Record<Exclude<keyof ScanInputs, 'z'> | 'state', Float32Array>>;

function draw({ batch, length, channels, states }: Extents, seed: number): Values {
  const random = createRandom(seed, 'scan');
  const normal = (size: number): Float32Array =>
    Float32Array.from({ length: size }, () => random.normal());
  return {
    u: normal(batch * length * channels),
    delta: normal(batch * length * channels),
    A: normal(channels * states).map((x) => -Math.exp(x)),
    B: normal(batch * length * states),
    C: normal(batch * length * states),
    D: normal(channels),
    deltaBias: normal(channels),
    state: normal(batch * channels * states),
  };
}

function scan(
  values: Values,
  { batch, length, channels, states }: Extents,
  reverse = false,
): { y: tf.Tensor; state: tf.Tensor } {
  return selectiveScan(
    {
      u: tf.tensor(values.u, [batch, length, channels]),
      delta: tf.tensor(values.delta, [batch, length, channels]),
      A: tf.tensor(values.A, [channels, states]),
      B: tf.tensor(values.B, [batch, length, states]),
      C: tf.tensor(values.C, [batch, length, states]),
      D: tf.tensor(values.D, [channels]),
      deltaBias: tf.tensor(values.deltaBias, [channels]),
    },
    tf.tensor(values.state, [batch, channels, states]),
    { reverse },
  );
}

/** The recurrence as written in the paper, number by number in double precision. */
function direct(
  { u, delta, A, B, C, D, deltaBias, state }: Values,
  { batch, length, channels, states }: Extents,
): { y: number[]; state: number[] } {
  const y: number[] = [];
  const h = Array.from(state);
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < length; t++) {
      for (let e = 0; e < channels; e++) {
        const token = b * length + t;
        const step = Math.log(1 + Math.exp(delta[token * channels + e] + deltaBias[e]));
        const input = u[token * channels + e];
        let sum = D[e] * input;
        for (let n = 0; n < states; n++) {
          const i = (b * channels + e) * states + n;
          h[i] = Math.exp(step * A[e * states + n]) * h[i] + step * B[token * states + n] * input;
          sum += C[token * states + n] * h[i];
        }
        y.push(sum);
      }
    }
  }
  return { y, state: h };
}

function expectClose(actual: tf.Tensor, expected: readonly number[], tolerance = 1e-5): void {
  const values = actual.dataSync();
  expect(values.length).toBe(expected.length);
  const worst = expected.reduce(
    (largest, value, i) => Math.max(largest, Math.abs(values[i] - value) / (1 + Math.abs(value))),
    0,
  );
  expect(worst).toBeLessThan(tolerance);
}

const extents = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  length: fc.integer({ min: 2, max: 30 }),
  channels: fc.integer({ min: 1, max: 4 }),
  states: fc.integer({ min: 1, max: 4 }),
});

describe.each(testedBackends)('selectiveScan on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it('equals the direct loop in double precision', () => {
    fc.assert(
      fc.property(extents, fc.integer(), (extent, seed) => {
        tf.tidy(() => {
          const values = draw(extent, seed);
          const expected = direct(values, extent);
          const { y, state } = scan(values, extent);
          expectClose(y, expected.y);
          expectClose(state, expected.state);
        });
      }),
      { numRuns: 30 },
    );
  });

  it('sums a geometric series for constant A, B, C and input', () => {
    tf.tidy(() => {
      const extent = { batch: 1, length: 50, channels: 1, states: 1 };
      const constant = (value: number): Float32Array => new Float32Array(50).fill(value);
      const [a, b, c, d, u] = [-0.5, 0.75, 2, 0.25, 1.5];
      // softplus(-1 + 1.25) is the step.
      const step = Math.log1p(Math.exp(0.25));
      const { y } = scan(
        {
          u: constant(u),
          delta: constant(-1),
          A: Float32Array.of(a),
          B: constant(b),
          C: constant(c),
          D: Float32Array.of(d),
          deltaBias: Float32Array.of(1.25),
          state: Float32Array.of(0),
        },
        extent,
      );
      const ratio = Math.exp(step * a);
      const expected = Array.from(
        { length: 50 },
        (_, t) => (c * step * b * u * (1 - ratio ** (t + 1))) / (1 - ratio) + d * u,
      );
      expectClose(y, expected, 1e-6);
    });
  });

  it('stays finite and exact over 4,096 steps, whatever the step size', () => {
    tf.tidy(() => {
      const extent = { batch: 1, length: 4096, channels: 2, states: 2 };
      const values = draw(extent, 1);
      const { y, state } = scan(values, extent);
      const expected = direct(values, extent);
      expectClose(y, expected.y);
      expectClose(state, expected.state);
      for (const size of [-90, 90, 1e4]) {
        const extreme = { ...values, delta: values.delta.map(() => size) };
        const result = scan(extreme, extent);
        expect(result.y.dataSync().every(Number.isFinite)).toBe(true);
        expect(result.state.dataSync().every(Number.isFinite)).toBe(true);
      }
    });
  });

  it('goes on where the chunk before stopped', () => {
    fc.assert(
      fc.property(extents, fc.nat(), fc.integer(), (extent, cut, seed) => {
        tf.tidy(() => {
          const { batch, length } = extent;
          const values = draw(extent, seed);
          const whole = scan(values, extent);
          const at = 1 + (cut % (length - 1));
          const part = (from: number, to: number, state: Float32Array): Values => {
            const rows = (x: Float32Array): Float32Array => {
              const row = x.length / (batch * length);
              const picked = Array.from({ length: batch }, (_, b) =>
                Array.from(x.subarray((b * length + from) * row, (b * length + to) * row)),
              );
              return Float32Array.from(picked.flat());
            };
            const { u, delta, B, C } = values;
            return { ...values, u: rows(u), delta: rows(delta), B: rows(B), C: rows(C), state };
          };
          const first = scan(part(0, at, values.state), { ...extent, length: at });
          const carried = first.state.dataSync() as Float32Array;
          const second = scan(part(at, length, carried), { ...extent, length: length - at });
          expectClose(tf.concat([first.y, second.y], 1), Array.from(whole.y.dataSync()));
          expectClose(second.state, Array.from(whole.state.dataSync()));
        });
      }),
      { numRuns: 20 },
    );
  });

  it('runs backwards as it runs forwards over the reversed sequence', () => {
    fc.assert(
      fc.property(extents, fc.integer(), (extent, seed) => {
        tf.tidy(() => {
          const one = { ...extent, batch: 1 };
          const values = draw(one, seed);
          const flip = (x: Float32Array, row: number): Float32Array =>
            tf.reverse(tf.tensor(x, [one.length, row]), 0).dataSync() as Float32Array;
          const flipped = {
            ...values,
            u: flip(values.u, one.channels),
            delta: flip(values.delta, one.channels),
            B: flip(values.B, one.states),
            C: flip(values.C, one.states),
          };
          const backwards = scan(values, one, true);
          const forwards = scan(flipped, one);
          const expected = tf.reverse(forwards.y, 1);
          expect(backwards.y.dataSync()).toEqual(expected.dataSync());
          expect(backwards.state.dataSync()).toEqual(forwards.state.dataSync());
        });
      }),
      { numRuns: 10 },
    );
  });
});
