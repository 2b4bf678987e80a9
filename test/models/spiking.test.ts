import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { defaultLif } from '../../engine/ops/lif.js';
import { inference, Recorder } from '../../models/context.js';
import {
  initialiseSpiking,
  spiking,
  type SpikingParameters,
} from '../../models/neurons/spiking.js';
import { Initialiser } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';

/** Parameters whose inference normalisation is y = factor · x + shift, but for the epsilon of 1e-5. */
function affine(factor: number[], shift: number[]): SpikingParameters {
  return {
    ...initialiseSpiking(new Initialiser(1), factor.length),
    scale: tf.tensor(factor),
    shift: tf.tensor(shift),
  };
}

describe('spiking', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it('normalises each feature, then runs neurons along the frames', () => {
    tf.tidy(() => {
      // τ = 2 and X = (4, 1): H = 2 fires at once; H = 0.5, 0.75, 0.875 never does.
      const x = tf.tile(tf.tensor([2, 2], [1, 1, 1, 2]), [1, 3, 1, 1]);
      const { spikes, membrane } = spiking(
        affine([2, 0.5], [0, 0]),
        x,
        undefined,
        defaultLif,
        inference,
      );
      expect(Array.from(spikes.dataSync())).toEqual([1, 0, 1, 0, 1, 0]);
      expect(membrane.shape).toEqual([1, 1, 2]);
      expect(Array.from(membrane.dataSync())).toEqual([0, expect.closeTo(0.875, 4)]);
    });
  });

  it('never lets a membrane leak into the next clip of a batch', () => {
    tf.tidy(() => {
      // 1.5 charges to 0.75 and fires on the second frame (1.125) if anything is left from before.
      const parameters = affine([1], [0]);
      const x = tf.fill([4, 1, 1, 1], 1.5);
      const { spikes, membrane } = spiking(parameters, x, undefined, defaultLif, inference);
      expect(Array.from(spikes.dataSync())).toEqual([0, 0, 0, 0]);
      const next = spiking(parameters, x, membrane, defaultLif, inference);
      expect(Array.from(next.spikes.dataSync())).toEqual([1, 1, 1, 1]);
    });
  });

  it('uses and records the statistics of the batch in training alone', () => {
    const recorder = new Recorder();
    tf.tidy(() => {
      const x = tf.tensor([2, 4, 6, 8], [2, 2, 1, 1]);
      const context = { training: true, recorder, path: 'layer' };
      const config = { ...defaultLif, decayInput: false };
      // Mean 5, variance 5: inputs -1.34, -0.45 and 0.45, 1.34; only the last reaches 1.
      const trained = spiking(affine([1], [0]), x, undefined, config, context);
      expect(Array.from(trained.spikes.dataSync())).toEqual([0, 0, 0, 1]);
      // Running mean 0 and variance 1: all of them do.
      const inferred = spiking(affine([1], [0]), x, undefined, config, inference);
      expect(Array.from(inferred.spikes.dataSync())).toEqual([1, 1, 1, 1]);
    });
    const { mean, variance } = recorder.statistics.get('layer')!;
    expect(mean.dataSync()[0]).toBe(5);
    expect(variance.dataSync()[0]).toBe(5);
    expect(recorder.firingRates.get('layer')!.dataSync()[0]).toBe(0.25);
    recorder.dispose();
  });
});
