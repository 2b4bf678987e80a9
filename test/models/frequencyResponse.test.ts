import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { frequencyResponse } from '../../models/analysis/frequencyResponse.js';
import { defaultNeuron } from '../../models/neurons/neuron.js';
import { bestBackend } from '../engine/backends.js';

describe('frequencyResponse', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });

  it('of LIF neurons is 1 / |τ - (τ-1) e^(-iω)|: constant input passes, alternating input little', () => {
    const before = tf.memory().numTensors;
    for (const tau of [1, 2, 3]) {
      const neuron = { ...defaultNeuron, kind: 'lif', tau, decayInput: true } as const;
      const gains = frequencyResponse(neuron, 64);
      expect(gains).toHaveLength(33);
      gains.forEach((gain, bin) => {
        const omega = (2 * Math.PI * bin) / 64;
        const filter = Math.hypot(tau - (tau - 1) * Math.cos(omega), (tau - 1) * Math.sin(omega));
        expect(gain).toBeCloseTo(1 / filter, 5);
      });
      expect(gains[0]).toBeCloseTo(1, 5);
      expect(gains[32]).toBeCloseTo(1 / (2 * tau - 1), 5);
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  it('of IF neurons has no end, as they forget nothing, and is the same for all that leak', () => {
    const gains = (kind: 'if' | 'plif' | 'alif'): Float64Array =>
      frequencyResponse({ ...defaultNeuron, kind, tau: 2, decayInput: true }, 32);
    expect(gains('if')[0]).toBeCloseTo(32, 3);
    for (const kind of ['plif', 'alif'] as const) {
      expect(gains(kind)[16]).toBeCloseTo(1 / 3, 4);
    }
  });

  it('refuses neurons that fire at nothing', () => {
    const restless = { ...defaultNeuron, threshold: 1e-4 };
    expect(() => frequencyResponse(restless)).toThrow(/threshold/);
  });
});
