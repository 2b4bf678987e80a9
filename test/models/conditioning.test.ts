import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import {
  conditioningProbe,
  memoryLearner,
  mixerLearner,
  recallError,
} from '../../models/analysis/conditioning.js';
import { delta } from '../../models/mixers/linear/memories/delta.js';
import { hebb } from '../../models/mixers/linear/memories/hebb.js';
import { bestBackend } from '../engine/backends.js';

describe('conditioning of a memory', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });

  it("tells Hebb's rule from the delta rule", () => {
    const before = tf.memory().numTensors;
    expect(conditioningProbe(memoryLearner(hebb))).toEqual({
      acquisition: [1],
      extinction: 1,
      overshadowing: 1,
      blocking: 1,
      reversal: [1, 1],
    });
    expect(conditioningProbe(memoryLearner(delta))).toEqual({
      acquisition: [1],
      extinction: 0,
      overshadowing: 1,
      blocking: 0,
      reversal: [0, 1],
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  it("knows a mixer's memory", () => {
    const blocking = (name: string): number | undefined => {
      const learner = mixerLearner({ name });
      return learner && conditioningProbe(learner).blocking;
    };
    expect(blocking('gatedLinearAttention')).toBe(1);
    expect(blocking('gatedDeltaNet')).toBe(0);
    expect(blocking('softmaxAttention')).toBeUndefined();
  });

  it('follows Rescorla and Wagner where it learns slowly', () => {
    const [beta, pairings] = [0.25, 30];
    const slow = conditioningProbe(memoryLearner(delta, beta), pairings);
    slow.acquisition.forEach((response, i) => {
      expect(response * beta).toBeCloseTo(1 - (1 - beta) ** (i + 1), 5);
    });
    // Two stimuli share what is to be predicted.
    expect(slow.overshadowing * beta).toBeCloseTo(0.5, 3);
    expect(slow.blocking * beta).toBeCloseTo(0, 3);
    expect(slow.extinction * beta).toBeCloseTo(0, 3);
    const adding = conditioningProbe(memoryLearner(hebb), pairings);
    expect(adding.acquisition[pairings - 1]).toBe(pairings);
    expect(adding.blocking).toBe(pairings);
  });

  it("has Hebb's capacity: an error of √((pairs - 1) / features)", () => {
    const features = 64;
    for (const pairs of [8, 32, 64, 128]) {
      const error = recallError(memoryLearner(hebb), features, pairs, 1);
      expect(error).toBeGreaterThan(0.9 * Math.sqrt((pairs - 1) / features));
      expect(error).toBeLessThan(1.1 * Math.sqrt((pairs - 1) / features));
    }
    // The delta rule keeps more of as many pairs.
    const kept = recallError(memoryLearner(delta), features, 32, 1);
    expect(kept).toBeLessThan(0.85 * recallError(memoryLearner(hebb), features, 32, 1));
  });
});
