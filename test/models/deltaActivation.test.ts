import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { deltaActivation } from '../../models/blocks/deltaActivation.js';
import { inference, Recorder } from '../../models/context.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { flatten, Initialiser, unflatten } from '../../models/parameters.js';
import { deltaModel } from '../../models/runtime/deltaModel.js';
import { disposeTraining, startTraining, trainingStep } from '../../models/training/step.js';
import { bestBackend } from '../engine/backends.js';
import { movingDots, movingDotsInput } from './movingDots.js';
import { createSubject, inputShape, randomClips, spikMamba } from './networkConformance.js';

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});

describe('a layer of delta activations', () => {
  it('rounds, and costs in training what changes, in steps: a longer step costs less', () => {
    tf.tidy(() => {
      const x = tf.tensor([0.1, 0.7, 0.8, 2.1], [1, 4, 1, 1]);
      const logStep = tf.tensor1d([Math.log(0.5)]);
      const losses: tf.Tensor[] = [];
      const context = { training: true, losses, path: '' };
      const y = deltaActivation({ logStep }, x, { step: 0.5, rate: 0.1 }, 10, context);
      // Steps 0, 1, 2, 4: by turns 0, 1, 1, 2 away from the frame before.
      Array.from(y.dataSync()).forEach((value, t) => expect(value).toBeCloseTo([0, 0.5, 1, 2][t], 6)); // prettier-ignore
      expect(losses).toHaveLength(1);
      expect(losses[0].dataSync()[0]).toBeCloseTo(10 * 0.1 * (4 / 4), 6);
      deltaActivation({ logStep }, x, { step: 0.5, rate: 0.1 }, 10, { ...inference, losses });
      deltaActivation({ logStep }, x, { step: 0.5, rate: 0 }, 10, context);
      expect(losses).toHaveLength(1);

      const cost = (log: tf.Tensor): tf.Scalar => {
        const own: tf.Tensor[] = [];
        deltaActivation({ logStep: log }, x, { step: 0.5, rate: 0.1 }, 10, { ...context, losses: own }); // prettier-ignore
        return tf.sum(own[0]) as tf.Scalar;
      };
      // d/d(ln s) of |x[t] - x[t-1]| / s, summed where a step was taken: -(0.6 + 0.1 + 1.3) / 0.5 / 4.
      expect(tf.grad(cost)(logStep).dataSync()[0]).toBeCloseTo(-1, 5);
    });
  });

  it('stands before each part of a block, and counts in the loss of a training step', () => {
    const config = { ...spikMamba, depth: 2 };
    const lossOf = (rate: number): number =>
      tf.tidy(() => {
        const model = createModel(modelSchema.parse({ ...config, delta: { rate } }), inputShape, 3);
        const { parameters } = createSubject({ ...config, delta: { rate } }, 7);
        const losses: tf.Tensor[] = [];
        model.apply(parameters, randomClips(2, 5, 1), undefined, { training: true, losses, path: '' }); // prettier-ignore
        expect(losses).toHaveLength(rate === 0 ? 0 : 6);
        const target = tf.tensor([1, 0, 0, 0, 1, 0], [2, 3]);
        const step = { learningRate: 0, weightDecay: 0, gradientClip: 0, perStepLoss: 0, statisticsMomentum: 1 }; // prettier-ignore
        const state = startTraining(flatten(parameters));
        const result = trainingStep(model, state, randomClips(2, 5, 1), target, step);
        const own = losses.reduce((sum, loss) => sum + loss.dataSync()[0], 0);
        disposeTraining(result.state);
        return result.loss - own;
      });
    expect(lossOf(0.01)).toBeCloseTo(lossOf(0), 4);
  });

  it('trades products for nothing or little: half of them, at the accuracy that the network had', () => {
    const steps = 150;
    const trained = (delta: object | undefined): { accuracy: number; share: number } => {
      const config = { kind: 'spikmamba', patch: 4, embedding: 16, heads: 2, stateChannels: 16, states: 4, feedForward: 32, ...(delta && { delta }) }; // prettier-ignore
      const model = createModel(modelSchema.parse(config), movingDotsInput, 2);
      let state = startTraining(flatten(model.initialise(new Initialiser(1))));
      for (let step = 0; step < steps; step++) {
        const { inputs, shape, labels } = movingDots(16, step);
        const [x, y] = tf.tidy(() => [
          tf.tensor(inputs, [...shape]),
          tf.cast(tf.oneHot(tf.tensor1d(labels, 'int32'), 2), 'float32'),
        ]);
        const learningRate = 1e-2 * (1 - step / steps);
        const settings = { learningRate, weightDecay: 0.01, gradientClip: 1, perStepLoss: 0, statisticsMomentum: 0.9 }; // prettier-ignore
        ({ state } = trainingStep(model, state, x, y, settings));
        tf.dispose([x, y]);
      }
      const { inputs, shape, labels } = movingDots(256, 999);
      const recorder = new Recorder();
      const right = tf.tidy(() => {
        const stream = deltaModel(model, { unit: 'value' });
        const x = tf.tensor(inputs, [...shape]);
        const { logits } = stream.apply(unflatten(state.leaves), x, undefined, { ...inference, recorder }); // prettier-ignore
        const last = tf.reshape(tf.slice(logits, [0, shape[1] - 1], [-1, 1]), [-1, 2]);
        return tf.argMax(last, 1).dataSync().filter((label, i) => label === labels[i]).length; // prettier-ignore
      });
      const work = [...recorder.work.values()];
      const share = work.reduce((sum, { macs }) => sum + macs, 0) / work.reduce((sum, { denseMacs }) => sum + denseMacs, 0); // prettier-ignore
      recorder.dispose();
      disposeTraining(state);
      return { accuracy: right / labels.length, share };
    };
    const plain = trained(undefined);
    const sparse = trained({ rate: 1e-3 });
    // Chance is a half; what rounding of another machine makes of the training moves either by a few clips of a hundred.
    expect(plain.accuracy).toBeGreaterThan(0.75);
    expect(sparse.accuracy).toBeGreaterThan(plain.accuracy - 0.1);
    expect(sparse.share).toBeLessThan(0.65 * plain.share);
  });
});
