import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { inference } from '../../models/context.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { createSpikformerEncoder } from '../../models/networks/spikformer.js';
import { baselines } from '../../models/networks/presets.js';
import { flatten, Initialiser, type ParameterTree } from '../../models/parameters.js';
import { convolution3 } from '../../models/blocks/convolution.js';
import {
  drawTokenMask,
  eventTargets,
  hideTokens,
  initialiseReconstruction,
  maskedEventLoss,
  pretrainingStep,
} from '../../models/training/maskedEvents.js';
import { initialLeaves } from '../../models/training/initialise.js';
import { disposeTraining, startTraining } from '../../models/training/step.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';
import { inputShape, randomClips } from './networkConformance.js';

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});
const tidily = (name: string, run: () => void): void => it(name, () => void tf.tidy(run));

describe('convolution3', () => {
  tidily('is the convolution that TensorFlow.js computes', () => {
    const x = tf.randomNormal([2, 4, 5, 3], 0, 1, 'float32', 1);
    const weight = tf.randomNormal([3, 3, 3, 6], 0, 1, 'float32', 2);
    const expected = tf.conv2d(x as tf.Tensor4D, weight as tf.Tensor4D, 1, 'same');
    expect(relativeDifference(convolution3(x, tf.reshape(weight, [27, 6])), expected)).toBeLessThan(1e-5); // prettier-ignore
  });

  tidily('with stride 2 leaves every second pixel, that of even rows and columns', () => {
    const x = tf.randomNormal([2, 4, 6, 3], 0, 1, 'float32', 1);
    const weight = tf.randomNormal([27, 5], 0, 1, 'float32', 2);
    const half = convolution3(x, weight, { stride: 2 });
    expect(half.shape).toEqual([2, 2, 3, 5]);
    const expected = tf.stridedSlice(convolution3(x, weight), [0, 0, 0, 0], [2, 4, 6, 5], [1, 2, 2, 1]); // prettier-ignore
    expect(relativeDifference(half, expected)).toBeLessThan(1e-6);
  });
});

describe('masked event modelling', () => {
  const patch = 4;
  const tokens = 4;

  tidily('hides the same share of each clip, and all events of what it hides', () => {
    const mask = drawTokenMask([3, 5, tokens], 0.6, createRandom(1));
    expect(Array.from(tf.sum(mask, [1, 2]).dataSync())).toEqual([12, 12, 12]);
    const other = drawTokenMask([3, 5, tokens], 0.6, createRandom(2));
    expect(relativeDifference(mask, other)).toBe(1);
    const x = randomClips(3, 5, 1);
    const counts = tf.sub(tf.exp(eventTargets(x, patch)), 1);
    expect(tf.sum(counts).dataSync()[0]).toBeCloseTo(tf.sum(x).dataSync()[0], 1);
    const left = tf.sub(tf.exp(eventTargets(hideTokens(x, mask, patch), patch)), 1);
    const kept = tf.mul(counts, tf.expandDims(tf.sub(1, mask), 3));
    expect(relativeDifference(left, kept)).toBeLessThan(1e-5);
  });

  tidily('asks for nothing that can be seen: hidden events change targets, not predictions', () => {
    const config = { ...baselines.spikformer, patch, embedding: 8, feedForward: 8, heads: 2 };
    const encoder = createSpikformerEncoder(config, inputShape);
    const parameters = encoder.initialise(new Initialiser(1));
    const mask = drawTokenMask([2, 5, tokens], 0.5, createRandom(3));
    const [x, other] = [randomClips(2, 5, 1), randomClips(2, 5, 2)];
    const mixed = tf.add(hideTokens(x, mask, patch), hideTokens(other, tf.sub(1, mask), patch));
    const encode = (y: tf.Tensor): tf.Tensor =>
      encoder.apply(parameters, hideTokens(y, mask, patch), undefined, inference).output;
    expect(relativeDifference(encode(x), encode(mixed))).toBe(0);
    expect(relativeDifference(eventTargets(x, patch), eventTargets(mixed, patch))).toBeGreaterThan(0.1); // prettier-ignore
    const layer = initialiseReconstruction(new Initialiser(2), 8, 2);
    const loss = (y: tf.Tensor, hidden: tf.Tensor): number =>
      maskedEventLoss(layer, encode(x), eventTargets(y, patch), hidden).dataSync()[0];
    expect(loss(x, mask)).not.toBe(loss(mixed, mask));
    // What is seen has no part in the loss.
    expect(loss(x, tf.sub(1, mask))).toBeCloseTo(loss(mixed, tf.sub(1, mask)), 6);
    expect(loss(x, tf.zerosLike(mask))).toBe(0);
  });

  it('learns where hidden events are from those around them', () => {
    const changes = {
      stem: 'convolutional' as const,
      patch,
      embedding: 12,
      feedForward: 12,
      heads: 2,
    };
    const model = createModel(modelSchema.parse({ ...changes, kind: 'spikformer' }), inputShape, 3);
    // One corner of the sensor is busy in each clip, and stays so.
    const clip = (seed: number): tf.Tensor => {
      const random = createRandom(seed, 'corners');
      const corner = random.integer(4);
      const shape = [1, inputShape.bins, 2, 8, 8];
      return tf.tensor(Float32Array.from({ length: inputShape.bins * 128 }, (_, at) => {
        const [row, column] = [Math.floor(at / 8) % 8, at % 8];
        const busy = 2 * Math.floor(row / 4) + Math.floor(column / 4) === corner;
        return random.uniform() < (busy ? 0.6 : 0.02) ? 1 : 0;
      }), shape); // prettier-ignore
    };
    tf.tidy(() => {
      const x = tf.concat(Array.from({ length: 16 }, (_, i) => clip(i)));
      const targets = eventTargets(x, patch);
      const body = { ...model.initialise(new Initialiser(1)) };
      delete body.head;
      let state = startTraining(
        flatten({
          ...body,
          reconstruction: initialiseReconstruction(new Initialiser(2), 12, 2) as unknown as ParameterTree, // prettier-ignore
        }),
      );
      const losses: number[] = [];
      for (let step = 0; step < 60; step++) {
        const mask = drawTokenMask([16, inputShape.bins, tokens], 0.5, createRandom(step));
        const config = {
          learningRate: 0.02,
          weightDecay: 0,
          gradientClip: 0,
          statisticsMomentum: 0.9,
        };
        const result = pretrainingStep(model.encoder!, state, x, mask, config);
        state = result.state;
        losses.push(result.loss);
      }
      // A network takes all but its head from there, statistics included.
      const fresh = flatten(model.initialise(new Initialiser(9)));
      const { leaves, fresh: kept, unused } = initialLeaves(fresh, state.leaves);
      expect(kept.map(({ path }) => path)).toEqual(['head.bias', 'head.weight']);
      expect(unused).toEqual(['reconstruction.bias', 'reconstruction.weight']);
      expect(relativeDifference(leaves.get('positionNeurons.runningMean')!, fresh.get('positionNeurons.runningMean')!)).toBeGreaterThan(0); // prettier-ignore
      disposeTraining(state);
      const mean = (from: number): number =>
        losses.slice(from, from + 5).reduce((a, b) => a + b) / 5;
      // Less than the best constant leaves.
      const constant = tf.mean(tf.square(tf.sub(targets, tf.mean(targets)))).dataSync()[0];
      expect(mean(55)).toBeLessThan(0.8 * constant);
    });
  });
});
