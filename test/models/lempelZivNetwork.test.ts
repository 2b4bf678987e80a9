import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { lempelZivComplexity } from '../../models/analysis/lempelZiv.js';
import { inference } from '../../models/context.js';
import { createLempelZiv } from '../../models/networks/lempelZiv.js';
import { flatten, Initialiser, unflatten, type ParameterTree } from '../../models/parameters.js';
import { disposeTraining, startTraining, trainingStep } from '../../models/training/step.js';
import { bestBackend } from '../engine/backends.js';

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});

const input = { bins: 24, channels: 2, height: 4, width: 4 };

/** Events on one pixel of each patch and channel: at random (class 0), or every second frame (class 1). As many of both. */
function clips(count: number, seed: number): { x: tf.Tensor; labels: number[] } {
  const random = createRandom(seed, 'trains');
  const { bins, channels, height, width } = input;
  const buffer = tf.buffer([count, bins, channels, height, width]);
  const labels = Array.from({ length: count }, (_, clip) => clip % 2);
  for (const [clip, label] of labels.entries()) {
    for (let c = 0; c < channels; c++) {
      for (const [row, column] of [
        [0, 0],
        [0, 2],
        [2, 0],
        [2, 2],
      ]) {
        const order = Array.from({ length: bins }, (_, t) => t);
        if (label === 0) order.sort(() => random.uniform() - 0.5);
        const phase = random.integer(2);
        order.forEach((at, t) => {
          if ((at + phase) % 2 === 0) buffer.set(1, clip, t, c, row + random.integer(2), column + random.integer(2)); // prettier-ignore
        });
      }
    }
  }
  return { x: buffer.toTensor(), labels };
}

describe('the classifier of complexities', () => {
  const model = createLempelZiv({ patch: 2, window: 0 }, input, 16);

  it('reads the complexity and entropy of each patch and channel, up to each frame', () => {
    tf.tidy(() => {
      const { x } = clips(2, 3);
      // One class for each feature, which is its logit.
      const parameters = { head: { weight: tf.eye(16), bias: tf.zeros([16]) } } as ParameterTree;
      const { logits } = model.apply(parameters, x, undefined, inference);
      const found = logits.arraySync() as number[][][];
      const frames = x.arraySync() as number[][][][][];
      frames.forEach((clip, i) => {
        for (let train = 0; train < 8; train++) {
          const [channel, top, left] = [train >> 2, 2 * ((train >> 1) & 1), 2 * (train & 1)];
          const spikes = clip.map((frame) => {
            const rows = frame[channel].slice(top, top + 2);
            return Number(rows.some((row) => row.slice(left, left + 2).some((value) => value > 0)));
          });
          for (const t of [0, 1, 9, input.bins - 1]) {
            const past = spikes.slice(0, t + 1);
            expect(found[i][t][train]).toBeCloseTo(lempelZivComplexity(past), 5);
            const rate = past.reduce((a, b) => a + b) / past.length;
            const expected = rate === 0 || rate === 1 ? 0 : -rate * Math.log2(rate) - (1 - rate) * Math.log2(1 - rate); // prettier-ignore
            expect(found[i][t][train + 8]).toBeCloseTo(expected, 5);
          }
        }
      });
    });
  });

  it('learns to tell regular trains from random ones of the same rate', () => {
    const two = createLempelZiv({ patch: 2, window: 0 }, input, 2);
    let state = startTraining(flatten(two.initialise(new Initialiser(1))));
    const { x, labels } = clips(32, 1);
    const targets = tf.tidy(() => tf.cast(tf.oneHot(tf.tensor1d(labels, 'int32'), 2), 'float32'));
    const settings = { learningRate: 0.1, weightDecay: 0, gradientClip: 1, perStepLoss: 0, statisticsMomentum: 0.9 }; // prettier-ignore
    for (let step = 0; step < 40; step++) {
      ({ state } = trainingStep(two, state, x, targets, settings));
    }
    tf.dispose([x, targets]);
    tf.tidy(() => {
      const test = clips(40, 2);
      const { logits } = two.apply(unflatten(state.leaves), test.x, undefined, inference);
      const last = tf.reshape(tf.slice(logits, [0, input.bins - 1], [-1, 1]), [-1, 2]);
      const guessed = tf.argMax(last, 1).dataSync();
      const right = guessed.filter((label, i) => label === test.labels[i]).length;
      expect(right / test.labels.length).toBeGreaterThan(0.9);
    });
    disposeTraining(state);
  });
});
