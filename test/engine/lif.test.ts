import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { sizeOf } from '../../engine/fused.js';
import {
  adaptiveLif,
  defaultLif,
  lif,
  parametricLif,
  type LifConfig,
} from '../../engine/ops/lif.js';
import { createRandom } from '../../engine/support/random.js';
import { testedBackends } from './backends.js';

interface Run {
  readonly spikes: number[];
  readonly membrane: number[];
}

/** Runs one clip of one neuron, from an empty membrane. */
function run(input: readonly number[], config: LifConfig): Run {
  return tf.tidy(() => {
    const result = lif(tf.tensor([...input], [1, input.length, 1]), tf.zeros([1, 1]), config);
    return {
      spikes: Array.from(result.spikes.dataSync()),
      membrane: Array.from(result.membrane.dataSync()),
    } as unknown as tf.TensorContainerObject;
  }) as unknown as Run;
}

/** Membrane after each step, read off runs of growing length. */
function membranes(input: readonly number[], config: LifConfig): number[] {
  return input.map((_, t) => run(input.slice(0, t + 1), config).membrane[0]);
}

describe.each(testedBackends)('lif on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it('charges by the closed form V[t] = X (1 - (1 - 1/τ)^(t+1)) below the threshold', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1.05, max: 20, noNaN: true }),
        fc.double({ min: -2, max: 0.99, noNaN: true }),
        fc.boolean(),
        (tau, level, decayInput) => {
          // An input that isn't divided by τ settles at τ times its own level.
          const x = decayInput ? level : level / tau;
          const steps = 12;
          const config = { ...defaultLif, tau, decayInput };
          const charged = membranes(Array<number>(steps).fill(x), config);
          charged.forEach((v, t) => {
            expect(v).toBeCloseTo(level * (1 - (1 - 1 / tau) ** (t + 1)), 5);
          });
        },
      ),
      { numRuns: 20 },
    );
  });

  it('decays by (1 - 1/τ)^t without input', () => {
    const config = { ...defaultLif, tau: 4 };
    // H = 0.8 · 3/4, then only leak.
    expect(membranes([3.2, 0, 0, 0], config)).toEqual(
      [0.8, 0.6, 0.45, 0.3375].map((v) => expect.closeTo(v, 6)),
    );
  });

  // τ = 2, threshold 1: H[t] = (V[t-1] + X[t]) / 2. All numbers are exact in binary.
  const input = [1, 1, 3, 0, 2.5, 2];

  it('matches the example worked by hand, hard reset', () => {
    // H: 0.5, 0.75, 1.875, 0, 1.25, 1 (reaching the threshold is enough).
    expect(run(input, defaultLif).spikes).toEqual([0, 0, 1, 0, 1, 1]);
    expect(membranes(input, defaultLif)).toEqual([0.5, 0.75, 0, 0, 0, 0]);
  });

  it('matches the example worked by hand, soft reset', () => {
    const config: LifConfig = { ...defaultLif, reset: 'soft' };
    // H: 0.5, 0.75, 1.875, 0.4375, 1.46875, 1.234375.
    expect(run(input, config).spikes).toEqual([0, 0, 1, 0, 1, 1]);
    expect(membranes(input, config)).toEqual([0.5, 0.75, 0.875, 0.4375, 0.46875, 0.234375]);
  });

  it('integrates without a leak for τ = Infinity', () => {
    const config: LifConfig = { ...defaultLif, tau: Infinity, decayInput: false };
    const pulses = [0.5, 0.25, 0.5, 0.75, 0.25];
    // Hard, H: 0.5, 0.75, 1.25, 0.75, 1. Soft, H: 0.5, 0.75, 1.25, 1, 0.25.
    expect(run(pulses, config).spikes).toEqual([0, 0, 1, 0, 1]);
    expect(membranes(pulses, config)).toEqual([0.5, 0.75, 0, 0.75, 0]);
    const soft: LifConfig = { ...config, reset: 'soft' };
    expect(run(pulses, soft).spikes).toEqual([0, 0, 1, 1, 0]);
    expect(membranes(pulses, soft)).toEqual([0.5, 0.75, 0.25, 0, 0.25]);
  });

  it('goes on exactly where the chunk before stopped, clip by clip', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 9 }),
        fc.nat(),
        fc.integer(),
        fc.constantFrom<LifConfig['reset']>('hard', 'soft'),
        (steps, cut, seed, reset) => {
          tf.tidy(() => {
            const random = createRandom(seed, 'lif');
            const [batch, features] = [3, 4];
            const config = { ...defaultLif, reset, tau: 1.7 };
            const x = tf.tensor(
              Float32Array.from({ length: batch * steps * features }, () => 2 * random.normal()),
              [batch, steps, features],
            );
            const initial = tf.fill([batch, features], 0.3);
            const whole = lif(x, initial, config);
            const at = 1 + (cut % (steps - 1));
            const first = lif(tf.slice(x, [0, 0], [-1, at]), initial, config);
            const second = lif(tf.slice(x, [0, at], [-1, -1]), first.membrane, config);
            const joined = tf.concat([first.spikes, second.spikes], 1);
            expect(joined.dataSync()).toEqual(whole.spikes.dataSync());
            expect(second.membrane.dataSync()).toEqual(whole.membrane.dataSync());
            // A clip alone does what it does among others.
            const alone = lif(tf.slice(x, [1], [1]), tf.slice(initial, [1], [1]), config);
            expect(alone.spikes.dataSync()).toEqual(tf.slice(whole.spikes, [1], [1]).dataSync());
          });
        },
      ),
      { numRuns: 20 },
    );
  });

  it('gives the same with tokens on an axis of their own', () => {
    fc.assert(
      fc.property(
        fc.tuple(...[2, 4, 5, 6].map((max) => fc.integer({ min: 1, max }))),
        fc.integer(),
        ([batch, steps, tokens, features], seed) => {
          tf.tidy(() => {
            const random = createRandom(seed, 'axes');
            const draw = (shape: number[]): tf.Tensor =>
              tf.tensor(
                Float32Array.from({ length: sizeOf(shape) }, () => 2 * random.normal()),
                shape,
              );
            const x = draw([batch, steps, tokens, features]);
            const initial = draw([batch, tokens, features]);
            const dy = draw(x.shape);
            const tau = tf.fill([features], 1.8);
            const adapting = { ...defaultLif, adaptationStrength: 0.7, adaptationDecay: 0.8 };
            const variants: ((input: tf.Tensor, state: tf.Tensor) => Record<string, tf.Tensor>)[] =
              [
                (input, state) => lif(input, state),
                (input, state) => parametricLif(input, state, tau),
                (input, state) => adaptiveLif(input, state, tf.zeros(state.shape), adapting),
              ];
            const flat = (tensor: tf.Tensor): tf.Tensor =>
              tf.reshape(tensor, [...tensor.shape.slice(0, -2), tokens * features]);
            for (const variant of variants) {
              const expected = Object.values(variant(flat(x), flat(initial)));
              Object.values(variant(x, initial)).forEach((output, i) => {
                expect(output.shape).toEqual(i === 0 ? x.shape : initial.shape);
                expect(output.dataSync()).toEqual(expected[i].dataSync());
              });
              const spikes = (...[input, state]: tf.Tensor[]): tf.Tensor =>
                variant(input, state).spikes;
              const wanted = tf.grads(spikes)([flat(x), flat(initial)], flat(dy));
              tf.grads(spikes)([x, initial], dy).forEach((gradient, i) => {
                expect(gradient.dataSync()).toEqual(wanted[i].dataSync());
              });
            }
          });
        },
      ),
      { numRuns: 10 },
    );
  });
});
