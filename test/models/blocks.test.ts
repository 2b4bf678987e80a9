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
import {
  initialiseSpikingReceptance,
  spikingReceptance,
  type SpikingReceptanceState,
} from '../../models/blocks/spikingReceptance.js';
import { inference } from '../../models/context.js';
import { createMixer } from '../../models/mixers/registry.js';
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

describe('spikingReceptance', () => {
  const [batch, time, tokens, width, hidden, layers] = [2, 7, 3, 4, 6, 3];
  const config = { width, hidden, neuron: { ...defaultLif, decayInput: false } };
  const randomX = (): tf.Tensor =>
    tf.randomNormal([batch, time, tokens, width], 0, 2, 'float32', 1);

  it('is σ(W_r x_r) ⊙ W_v relu(W_k x_k)², through neurons', () => {
    tf.tidy(() => {
      const parameters = initialiseSpikingReceptance(new Initialiser(1), config);
      const x = randomX();
      const { output, state } = spikingReceptance(parameters, x, undefined, config, inference);
      const [values, r, k, v, mr, mk] = [
        x,
        parameters.receptance,
        parameters.key,
        parameters.value,
        parameters.receptanceMix,
        parameters.keyMix,
      ].map((tensor) => tensor.arraySync()) as unknown as [
        number[][][][],
        number[][],
        number[][],
        number[][],
        number[],
        number[],
      ];
      const times = (row: readonly number[], weight: number[][]): number[] =>
        weight[0].map((_, j) => row.reduce((sum, value, i) => sum + value * weight[i][j], 0));
      const drive = values.map((clip) =>
        clip.map((frame, t) =>
          frame.map((token, place) => {
            const before = t === 0 ? token.map(() => 0) : clip[t - 1][place];
            const mixed = (mix: number[]): number[] =>
              token.map((now, i) => mix[i] * now + (1 - mix[i]) * before[i]);
            const gates = times(mixed(mr), r).map((y) => 1 / (1 + Math.exp(-y)));
            const squared = times(mixed(mk), k).map((y) => Math.max(0, y) ** 2);
            return times(squared, v).map((y, i) => gates[i] * y);
          }),
        ),
      );
      const expected = spiking(
        parameters.neurons,
        tf.tensor4d(drive),
        undefined,
        config.neuron,
        inference,
      );
      expect(tf.mean(output).dataSync()[0]).toBeGreaterThan(0.05);
      expect(output.dataSync()).toEqual(expected.spikes.dataSync());
      expect(Array.from(state.membrane.dataSync())).toEqual(
        closeTo(Array.from(expected.membrane.dataSync()), 4),
      );
    });
  });

  it('goes on from its state, in chunks and step by step', () => {
    tf.tidy(() => {
      const parameters = initialiseSpikingReceptance(new Initialiser(1), config);
      const x = randomX();
      const whole = spikingReceptance(parameters, x, undefined, config, inference);
      for (const size of [1, 3]) {
        let state: SpikingReceptanceState | undefined;
        const outputs: tf.Tensor[] = [];
        for (let t = 0; t < time; t += size) {
          const part = tf.slice(x, [0, t], [batch, Math.min(size, time - t)]);
          const result = spikingReceptance(parameters, part, state, config, inference);
          outputs.push(result.output);
          state = result.state;
        }
        expect(tf.concat(outputs, 1).dataSync()).toEqual(whole.output.dataSync());
        expect(state!.last.dataSync()).toEqual(whole.state.last.dataSync());
        expect(Array.from(state!.membrane.dataSync())).toEqual(
          closeTo(Array.from(whole.state.membrane.dataSync()), 4),
        );
      }
    });
  });

  it('keeps a residual stream of spikes whole, of no more than 1 + 2 L in L blocks', () => {
    tf.tidy(() => {
      const shape = { width, heads: 2, rows: 1, columns: 1 };
      let stream: tf.Tensor = tf.cast(tf.greater(tf.randomUniform([batch, 64, 1, width], 0, 1, 'float32', 3), 0.6), 'float32'); // prettier-ignore
      for (let layer = 0; layer < layers; layer++) {
        const mixer = createMixer({ name: 'spikeGpt' }, shape);
        const mixed = mixer.apply(
          mixer.initialise(new Initialiser(layer)),
          tf.reshape(stream, [batch, 64, width]),
          undefined,
          { training: true, path: '' },
        );
        stream = tf.add(stream, tf.reshape(mixed.output, stream.shape));
        const parameters = initialiseSpikingReceptance(new Initialiser(9 + layer), config);
        const fed = spikingReceptance(parameters, stream, undefined, config, {
          training: true,
          path: '',
        });
        stream = tf.add(stream, fed.output);
      }
      const counts = Array.from(stream.dataSync());
      expect(counts.every((count) => Number.isInteger(count) && count >= 0)).toBe(true);
      expect(Math.max(...counts)).toBeLessThanOrEqual(1 + 2 * layers);
      // Far from binary, as the paper's claim of spikes would have it.
      expect(counts.filter((count) => count > 1).length / counts.length).toBeGreaterThan(0.1);
    });
  });
});
