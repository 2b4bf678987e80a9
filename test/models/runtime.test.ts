import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { linear } from '../../engine/ops/linear.js';
import { createRandom } from '../../engine/support/random.js';
import { head } from '../../models/blocks/head.js';
import {
  deltaLinear,
  deltaLoss,
  deltaSparsity,
  differences,
  quantise,
  type DeltaLinear,
  type DeltaLinearState,
} from '../../models/runtime/deltaActivation.js';
import {
  deltaAttention,
  type DeltaAttentionState,
  type Projections,
} from '../../models/runtime/deltaAttention.js';
import {
  calibrateExit,
  confidence,
  decide,
  evaluateExit,
  gatheredLogits,
  logitTraces,
  oracleExit,
  requireDisjoint,
  type LogitTrace,
} from '../../models/runtime/exitPolicy.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});

/** Evidence that drifts to the right class while it diffuses. */
function drifting(count: number, seed: number, steps = 40): LogitTrace[] {
  const random = createRandom(seed, 'drift');
  return Array.from({ length: count }, (_, i) => {
    const label = random.integer(4);
    const evidence = [0, 0, 0, 0];
    const logits = Array.from({ length: steps }, () => {
      evidence.forEach((_, c) => (evidence[c] += (c === label ? 0.25 : 0) + random.normal()));
      return [...evidence];
    });
    return { clip: `${seed}/${i}`, label, logits };
  });
}

describe('early exit', () => {
  const validation = drifting(400, 1);
  const test = drifting(400, 2);

  it('is as confident by probabilities as by the logits that were gathered', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -30, max: 30, noNaN: true }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 40 }),
        (mean, frames) => {
          const exponentials = mean.map(Math.exp);
          const sum = exponentials.reduce((a, b) => a + b);
          const probabilities = exponentials.map((value) => value / sum);
          expect(confidence(gatheredLogits(probabilities, frames), 8)).toBeCloseTo(
            confidence(
              mean.map((logit) => logit * frames),
              8,
            ),
            9,
          );
        },
      ),
    );
    expect(confidence(gatheredLogits([0, 1], 3), 8)).toBe(1);
  });

  it('is confident as the softmax is', () => {
    expect(confidence([0, 0, 0, 0], 1)).toBeCloseTo(0.25, 9);
    expect(confidence([Math.log(6), 0, 0], 1)).toBeCloseTo(0.75, 9);
    expect(confidence([2 * Math.log(6), 0, 0], 2)).toBeCloseTo(0.75, 9);
    expect(confidence([1e4, 0], 1)).toBe(1);
  });

  it('runs to the end at threshold 1, and takes more steps the higher the threshold', () => {
    for (const { logits } of test) {
      const last = Array.from(logits[logits.length - 1]);
      const whole = decide({ temperature: 1, threshold: 1 }, logits);
      expect(whole).toEqual({ steps: 40, label: last.indexOf(Math.max(...last)) });
    }
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (a, b) => {
          const [low, high] = [Math.min(a, b), Math.max(a, b)].map((threshold) => evaluateExit({ temperature: 2, threshold }, test)); // prettier-ignore
          expect(low.steps).toBeLessThanOrEqual(high.steps);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('calibrated on validation clips, keeps the accuracy of others at fewer steps', () => {
    const { policy, curve } = calibrateExit(validation, { temperature: 3, loss: 0.005 });
    requireDisjoint(validation, test);
    const whole = evaluateExit({ temperature: 3, threshold: 1 }, test);
    const early = evaluateExit(policy, test);
    const oracle = oracleExit(test);
    expect(policy.threshold).toBeGreaterThan(0.5);
    expect(early.steps).toBeLessThan(0.9);
    expect(early.accuracy).toBeGreaterThan(whole.accuracy - 0.04);
    expect(oracle.accuracy).toBeGreaterThan(early.accuracy);
    expect(oracle.steps).toBeLessThan(early.steps);
    expect(curve.map(({ steps }) => steps)).toEqual([...curve.map(({ steps }) => steps)].sort((a, b) => a - b)); // prettier-ignore
  });

  it("gathers what a model's head says of each frame", () => {
    tf.tidy(() => {
      const weight = tf.randomNormal([3, 4], 0, 1, 'float32', 1);
      const bias = tf.randomNormal([4], 0, 1, 'float32', 2);
      const x = tf.randomNormal([2, 5, 3], 0, 1, 'float32', 3);
      const { logits } = head({ weight, bias }, x, undefined, 0);
      const traces = logitTraces(logits, ['a', 'b'], [1, 3]);
      expect(traces.map(({ clip, label }) => [clip, label])).toEqual([['a', 1], ['b', 3]]); // prettier-ignore
      const perFrame = linear(x, weight, bias).arraySync() as number[][][];
      perFrame.forEach((frames, clip) => {
        const sum = [0, 0, 0, 0];
        frames.forEach((frame, t) => {
          frame.forEach((value, c) => (sum[c] += value));
          expect(traces[clip].logits[t]).toEqual(sum.map((value) => expect.closeTo(value, 4)));
        });
      });
    });
  });

  it('refuses clips that calibrate and are tested, and sets without clips', () => {
    expect(() => requireDisjoint(validation, [...test, validation[7]])).toThrow(/clip 1\/7/);
    expect(() => calibrateExit([])).toThrow(/at least one/);
    expect(() => oracleExit([{ clip: 'a', label: 0, logits: [] }])).toThrow(/clip a/);
  });
});

describe('delta activations', () => {
  it('round to the step, whose gradient is what rounding added, and pass gradients on', () => {
    tf.tidy(() => {
      const x = tf.tensor1d([0.2, 0.3, -0.9, 2]);
      const step = tf.scalar(0.5);
      expect(Array.from(quantise(x, step).dataSync())).toEqual([0, 0.5, -1, 2]);
      const [dx, ds] = tf.grads((a: tf.Tensor, b: tf.Tensor) => tf.sum(quantise(a, b)))([x, step]);
      expect(Array.from(dx.dataSync())).toEqual([1, 1, 1, 1]);
      // Σ round(x/s) - x/s = (0 - 0.4) + (1 - 0.6) + (-2 + 1.8) + (4 - 4).
      expect(ds.dataSync()[0]).toBeCloseTo(-0.2, 5);
    });
  });

  it('lose by how much and to how many they change', () => {
    tf.tidy(() => {
      const q = tf.tensor([1, 1, 3, 3], [1, 4, 1, 1]);
      expect(Array.from(differences(q).dataSync())).toEqual([1, 0, 2, 0]);
      expect(deltaSparsity(q)).toBe(0.5);
      expect(deltaLoss(q, 10, 0.1).dataSync()[0]).toBeCloseTo(0.75, 6);
    });
  });

  it('give a linear layer by its changes exactly what the whole layer gives, at their cost', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 99 }), fc.constantFrom(0, 0.25, 1), (seed, step) => {
        const random = createRandom(seed);
        const [rows, inputs, outputs] = [3, 5, 4];
        const layer: DeltaLinear = {
          inputs,
          outputs,
          weight: Float32Array.from({ length: inputs * outputs }, () => random.normal()),
          bias: Float32Array.from({ length: outputs }, () => random.normal()),
          step,
        };
        let x = Array.from({ length: rows * inputs }, () => random.normal());
        let state: DeltaLinearState | undefined;
        let last = new Float32Array(rows * inputs);
        for (let frame = 0; frame < 12; frame++) {
          // Some values stay.
          x = x.map((value) => (random.uniform() < 0.3 ? random.normal() : value));
          const result = deltaLinear(layer, x, state);
          state = result.state;
          const q = Float32Array.from(x, (value) =>
            step === 0 ? value : step * Math.round(value / step),
          );
          for (let at = 0; at < rows * outputs; at++) {
            const [row, o] = [Math.floor(at / outputs), at % outputs];
            let expected = layer.bias[o];
            for (let i = 0; i < inputs; i++) expected += q[row * inputs + i] * layer.weight[i * outputs + o]; // prettier-ignore
            expect(result.output[at]).toBeCloseTo(expected, 5);
          }
          const current = last;
          expect(result.macs).toBe(outputs * q.filter((value, i) => value !== current[i]).length);
          last = q;
        }
      }),
      { numRuns: 20 },
    );
  });

  it('change less after training with the loss, at nearly the same error', () => {
    // A target that a slow feature predicts; the other inputs flicker.
    tf.tidy(() => {
      const time = 60;
      const slow = Array.from({ length: time }, (_, t) => Math.sin(t / 12));
      const random = createRandom(3);
      const x = tf.tensor(
        slow.flatMap((value) => [value, 0.3 * random.normal()]),
        [1, time, 1, 2],
      );
      const target = tf.tensor(slow, [1, time, 1, 1]);
      const train = (rate: number): { error: number; sparsity: number } => {
        let weights: tf.Tensor[] = [tf.tensor2d([[0.8, 0.4], [0.5, 0.9]]), tf.tensor2d([[0.6], [0.3]]), tf.scalar(Math.log(0.1))]; // prettier-ignore
        const hidden = ([first, , step]: tf.Tensor[]): tf.Tensor => quantise(tf.reshape(tf.matMul(tf.reshape(x, [time, 2]), first as tf.Tensor2D), [1, time, 1, 2]), tf.exp(step)); // prettier-ignore
        const errorOf = (all: tf.Tensor[]): tf.Tensor => tf.mean(tf.square(tf.sub(tf.reshape(tf.matMul(tf.reshape(hidden(all), [time, 2]), all[1] as tf.Tensor2D), target.shape), target))); // prettier-ignore
        const loss = (...all: tf.Tensor[]): tf.Scalar => tf.add(errorOf(all), deltaLoss(hidden(all), 1, rate)) as tf.Scalar; // prettier-ignore
        for (let step = 0; step < 150; step++) {
          const gradients = tf.tidy(() => tf.grads(loss as (...xs: tf.Tensor[]) => tf.Scalar)(weights)); // prettier-ignore
          weights = weights.map((value, i) =>
            tf.sub(value, tf.mul(gradients[i], i === 2 ? 0 : 0.1)),
          );
        }
        return { error: errorOf(weights).dataSync()[0], sparsity: deltaSparsity(hidden(weights)) };
      };
      const [plain, sparse] = [train(0), train(0.3)];
      expect(sparse.sparsity).toBeGreaterThan(plain.sparsity + 0.1);
      expect(sparse.error).toBeLessThan(plain.error + 0.005);
    });
  });
});

describe('attention by changes', () => {
  const [patches, width] = [12, 4];
  const full = ({ q, k, v }: Projections): tf.Tensor => {
    const [Q, K, V] = [q, k, v].map((x) => tf.tensor2d(x, [patches, width]));
    return tf.matMul(tf.softmax(tf.mul(tf.matMul(Q, K, false, true), 0.5)), V);
  };
  /** Frames in which `share` of the patches are new. */
  function* stream(share: number, count: number, size = 1): Generator<Projections> {
    const random = createRandom(6);
    const now = [0, 1, 2].map(() => Float32Array.from({ length: patches * width }, () => random.normal())); // prettier-ignore
    for (let frame = 0; frame < count; frame++) {
      for (let patch = 0; patch < patches; patch++) {
        if (frame > 0 && random.uniform() >= share) continue;
        for (const x of now) for (let i = 0; i < width; i++) x[patch * width + i] += size * random.normal(); // prettier-ignore
      }
      yield { q: now[0].slice(), k: now[1].slice(), v: now[2].slice() };
    }
  }

  it('is exact at threshold 0, at a cost in proportion to the patches that changed', () => {
    let state: DeltaAttentionState | undefined;
    for (const frame of stream(0.2, 10)) {
      const result = deltaAttention({ patches, width, threshold: 0 }, frame, state);
      const first = state === undefined;
      state = result.state;
      const { changed } = result;
      tf.tidy(() => {
        const output = tf.tensor2d(result.output, [patches, width]);
        expect(relativeDifference(output, full(frame))).toBeLessThan(1e-5);
      });
      // Rows and columns of changed patches, each pair once.
      expect(result.scoreMacs).toBe(width * (patches ** 2 - (patches - changed) ** 2));
      expect(result.valueMacs).toBe(changed === 0 ? 0 : width * patches ** 2);
      if (first) expect(changed).toBe(patches);
      else expect(changed).toBeLessThan(patches);
    }
  });

  it('skips patches that hardly move at a threshold, at a small error', () => {
    let state: DeltaAttentionState | undefined;
    let [skipped, frames, error] = [0, 0, 0];
    for (const frame of stream(1, 20, 0.01)) {
      const result = deltaAttention({ patches, width, threshold: 0.05 }, frame, state);
      if (state !== undefined) {
        skipped += 1 - result.changed / patches;
        frames++;
      }
      state = result.state;
      tf.tidy(() => {
        error = Math.max(error, relativeDifference(tf.tensor2d(result.output, [patches, width]), full(frame))); // prettier-ignore
      });
    }
    expect(skipped / frames).toBeGreaterThan(0.6);
    expect(error).toBeLessThan(0.06);
    expect(error).toBeGreaterThan(0);
  });
});
