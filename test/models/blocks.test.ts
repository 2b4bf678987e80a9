import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { defaultLif } from '../../engine/ops/lif.js';
import { gelu } from '../../engine/ops/gelu.js';
import { head } from '../../models/blocks/head.js';
import { layerNorm } from '../../models/blocks/layerNorm.js';
import { initialisePatchEmbedding, patchEmbedding } from '../../models/blocks/patchEmbedding.js';
import { framePositions } from '../../models/blocks/positions.js';
import { simpleGatedUnit } from '../../models/blocks/simpleGatedUnit.js';
import { inference } from '../../models/context.js';
import { spiking } from '../../models/neurons/spiking.js';
import { Initialiser } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';

const closeTo = (values: readonly number[], digits = 5): unknown[] =>
  values.map((value) => expect.closeTo(value, digits));

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});

describe('patchEmbedding', () => {
  it.each([1, 2, 3])('is a strided convolution that looks back %i frames', (kernelFrames) => {
    tf.tidy(() => {
      const [time, channels, height, width, patch, embedding] = [4, 2, 4, 6, 2, 3];
      const neuron = { ...defaultLif, decayInput: false };
      const config = { channels, height, width, patch, kernelFrames, embedding, neuron };
      const parameters = initialisePatchEmbedding(new Initialiser(1), config);
      const x = tf.randomNormal([1, time, channels, height, width], 0, 2, 'float32', 1);
      const { output, state } = patchEmbedding(parameters, x, undefined, config, inference);
      expect(output.shape).toEqual([1, time, 6, embedding]);

      // The kernel's frames as channels of one 2-D convolution, blank frames before the clip.
      const kernel = tf.transpose(
        tf.reshape(parameters.projection, [kernelFrames * channels, patch, patch, embedding]),
        [1, 2, 0, 3],
      );
      const padded = tf.concat([tf.zeros([1, kernelFrames - 1, channels, height, width]), x], 1);
      const steps = Array.from({ length: time }, (_, t) => {
        const volume = tf.reshape(tf.slice(padded, [0, t], [1, kernelFrames]), [
          1,
          kernelFrames * channels,
          height,
          width,
        ]);
        const image = tf.transpose(volume, [0, 2, 3, 1]) as tf.Tensor4D;
        const convolved = tf.conv2d(image, kernel as tf.Tensor4D, patch, 'valid');
        return tf.reshape(convolved, [1, 1, 6, embedding]);
      });
      const expected = spiking(
        parameters.neurons,
        tf.concat(steps, 1),
        undefined,
        neuron,
        inference,
      );
      expect(tf.mean(output).dataSync()[0]).toBeGreaterThan(0.05);
      expect(output.dataSync()).toEqual(expected.spikes.dataSync());
      expect(Array.from(state.membrane.dataSync())).toEqual(
        closeTo(Array.from(expected.membrane.dataSync()), 4),
      );
    });
  });
});

describe('head', () => {
  it('averages over the frames so far, from chunk to chunk', () => {
    tf.tidy(() => {
      const parameters = { weight: tf.tensor([2], [1, 1]), bias: tf.tensor([1]) };
      const x = tf.tensor([1, 3, 8], [1, 3, 1]);
      const whole = head(parameters, x, undefined, 0);
      // 2 · mean + 1 of (1), (1, 3), (1, 3, 8).
      expect(Array.from(whole.logits.dataSync())).toEqual(closeTo([3, 5, 9]));
      const first = head(parameters, tf.slice(x, [0, 0], [1, 2]), undefined, 0);
      const second = head(parameters, tf.slice(x, [0, 2], [1, 1]), first.state, 2);
      expect(Array.from(second.logits.dataSync())).toEqual(closeTo([9]));
    });
  });
});

describe('framePositions', () => {
  it('starts over after the last frame of the table', () => {
    tf.tidy(() => {
      const table = tf.tensor([10, 11, 12], [3, 1]);
      const positions = (frame: number, time: number): number[] =>
        Array.from(framePositions(table, frame, time).dataSync());
      expect(positions(0, 3)).toEqual([10, 11, 12]);
      expect(positions(2, 5)).toEqual([12, 10, 11, 12, 10]);
      expect(positions(7, 1)).toEqual([11]);
    });
  });
});

describe('layerNorm', () => {
  it('gives each token mean 0 and variance 1, then scales and shifts features', () => {
    tf.tidy(() => {
      const x = tf.tensor([1, 3, 5, 7, -2, -2, 2, 2], [2, 4]);
      const parameters = { scale: tf.tensor([1, 2, 1, 1]), shift: tf.tensor([0, 0, 0, 5]) };
      const r = 1 / Math.sqrt(5);
      expect(Array.from(layerNorm(parameters, x).dataSync())).toEqual(
        closeTo([-3 * r, -2 * r, r, 5 + 3 * r, -1, -2, 1, 6], 4),
      );
    });
  });
});

describe('gelu', () => {
  it('is x Φ(x), with its derivative Φ(x) + x φ(x)', () => {
    tf.tidy(() => {
      // Φ(1) = 0.8413447461, φ(1) = 0.2419707245; Φ(2) = 0.9772498681, φ(2) = 0.0539909665.
      const x = tf.tensor([-2, -1, 0, 1, 2]);
      expect(Array.from(gelu(x).dataSync())).toEqual(
        closeTo([-0.0455003, -0.1586553, 0, 0.8413447, 1.9544997]),
      );
      const slope = tf.grad((y: tf.Tensor) => tf.sum(gelu(y)))(x);
      expect(Array.from(slope.dataSync())).toEqual(
        closeTo([-0.0852318, -0.0833155, 0.5, 1.0833155, 1.0852318]),
      );
    });
  });
});

describe('simpleGatedUnit', () => {
  it('multiplies two projections and projects the product', () => {
    tf.tidy(() => {
      const parameters = {
        gate: tf.tensor2d([2, 0, 0, 1], [2, 2]),
        value: tf.tensor2d([1, 1, 1, -1], [2, 2]),
        output: tf.tensor2d([1, 10, 100, 1000], [2, 2]),
      };
      // x W_g = [6, 5], x W_v = [8, -2], their product [48, -10].
      const y = simpleGatedUnit(parameters, tf.tensor2d([3, 5], [1, 2]));
      expect(Array.from(y.dataSync())).toEqual([48 - 1000, 480 - 10_000]);
    });
  });
});
