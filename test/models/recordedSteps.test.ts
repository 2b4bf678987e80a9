import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { createModel } from '../../models/networks/index.js';
import { modelSchema } from '../../models/networks/schema.js';
import { flatten, Initialiser } from '../../models/parameters.js';
import { smoothTargets } from '../../models/training/loss.js';
import {
  createTrainingStep,
  disposeTraining,
  startTraining,
  trainingStep,
  type TrainingState,
} from '../../models/training/step.js';
import { withRecording } from './recordingBackend.js';

const size = 16;
const bins = 4;
const settings = {
  weightDecay: 0.01,
  gradientClip: 1,
  perStepLoss: 0.5,
  statisticsMomentum: 0.9,
};

function setUp(more: object = {}) {
  const input = { bins, channels: 2, height: size, width: size };
  const model = createModel(
    modelSchema.parse({ kind: 'spikmamba', preset: 'nano', classToken: true, ...more }),
    input as never,
    4,
  );
  return { model, state: startTraining(flatten(model.initialise(new Initialiser(3)))) };
}

function batch(clips: number, seed: number): { x: tf.Tensor; targets: tf.Tensor } {
  const random = createRandom(seed, 'batch');
  const shape = [clips, bins, 2, size, size];
  const values = Float32Array.from({ length: clips * bins * 2 * size * size }, () =>
    random.uniform() < 0.2 ? 1 : 0,
  );
  const labels = Array.from({ length: clips }, () => random.integer(4));
  return {
    x: tf.tensor(values, shape),
    targets: tf.tensor(smoothTargets(labels, 4, 0.1), [clips, 4]),
  };
}

const valuesOf = ({ leaves, optimiser }: TrainingState): number[][] =>
  [leaves, optimiser.m, optimiser.v].flatMap((map) =>
    [...map.values()].map((tensor) => [...tensor.dataSync()]),
  );

/** Batch sizes of steps: two in a row are recorded, a smaller one comes between, another size twice. */
const clipCounts = [2, 2, 2, 1, 2, 2, 1, 1, 1, 2];

describe('recorded training steps', () => {
  beforeAll(async () => {
    await selectBackend('native');
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it.each([
    ['whatever the sizes of the batches', {}],
    ['with delays that narrow from step to step', { stem: 'delayed' }],
  ])('equal steps that are not recorded, %s', (_, more) => {
    const rate = (i: number): number => 1e-3 * (i + 1);
    const share = (i: number): number => i / (4 * clipCounts.length);
    const plain = setUp(more);
    let { state } = plain;
    const expected = clipCounts.map((clips, i) => {
      const { x, targets } = batch(clips, i);
      const result = trainingStep(plain.model, state, x, targets, {
        ...settings,
        learningRate: rate(i),
        progress: share(i),
      });
      ({ state } = result);
      tf.dispose([x, targets]);
      return [result.loss, result.gradientNorm];
    });
    withRecording((recorder) => {
      const { model, state: first } = setUp(more);
      let current = first;
      const stepper = createTrainingStep(model);
      const tensors: number[] = [];
      const found = clipCounts.map((clips, i) => {
        const { x, targets } = batch(clips, i);
        const changing = { learningRate: rate(i), progress: share(i) };
        const result = stepper.step(current, x, targets, { ...settings, ...changing });
        const { loss, gradientNorm } = result;
        current = result.state;
        tf.dispose([x, targets]);
        tensors.push(tf.memory().numTensors);
        return [loss, gradientNorm];
      });
      expect(stepper.notRecorded).toBeUndefined();
      expect(recorder).toEqual({ graphs: 2, replays: 2 + 2 + 2, live: 1 });
      expect(found).toEqual(expected);
      expect(valuesOf(current)).toEqual(valuesOf(state));
      expect(current.step).toBe(clipCounts.length);
      // The same tensors from the first recording on.
      expect(new Set(tensors.slice(1)).size).toBe(1);
      stepper.dispose();
      expect(recorder.live).toBe(0);
      disposeTraining(current);
    });
    disposeTraining(state);
  });

  it('call what is to be done meanwhile once a step, after its start', () => {
    withRecording((recorder) => {
      const { model, state } = setUp();
      const stepper = createTrainingStep(model);
      const { x, targets } = batch(2, 1);
      const replays: number[] = [];
      const config = { ...settings, learningRate: 1e-3 };
      for (let i = 0; i < 4; i++) {
        stepper.step(state, x, targets, config, () => void replays.push(recorder.replays));
      }
      expect(replays).toEqual([0, 1, 2, 3]);
      tf.dispose([x, targets]);
      stepper.dispose();
      disposeTraining(state);
    });
  });

  it('change nothing where a step is not finite, name the parameter, and go on', () => {
    withRecording(() => {
      const { model, state: first } = setUp();
      const stepper = createTrainingStep(model);
      const { x, targets } = batch(2, 1);
      let state = first;
      const step = (wanted: tf.Tensor): string | undefined => {
        const result = stepper.step(state, x, wanted, { ...settings, learningRate: 1e-3 });
        ({ state } = result);
        return result.notFinite;
      };
      for (let i = 0; i < 3; i++) step(targets);
      const before = valuesOf(state);
      const broken = tf.tidy(() => tf.mul(targets, Infinity));
      expect(step(broken)).toBeDefined();
      expect(valuesOf(state)).toEqual(before);
      expect(state.step).toBe(3);
      expect(step(targets)).toBeUndefined();
      tf.dispose([x, targets, broken]);
      stepper.dispose();
      disposeTraining(state);
    });
  });

  it('are recorded anew for another state', () => {
    withRecording((recorder) => {
      const { model, state: first } = setUp();
      const second = setUp().state;
      const stepper = createTrainingStep(model);
      const { x, targets } = batch(2, 1);
      const losses = [first, second].map((begin) => {
        let state = begin;
        return [1, 2, 3].map(() => {
          const result = stepper.step(state, x, targets, { ...settings, learningRate: 1e-3 });
          ({ state } = result);
          return result.loss;
        });
      });
      expect(losses[1]).toEqual(losses[0]);
      expect(recorder.graphs).toBe(2);
      tf.dispose([x, targets]);
      stepper.dispose();
      disposeTraining(first);
      disposeTraining(second);
    });
  });

  it('run as they come where recording fails, and say why', () => {
    withRecording(
      () => {
        const { model, state } = setUp();
        const stepper = createTrainingStep(model);
        const { x, targets } = batch(2, 1);
        const config = { ...settings, learningRate: 1e-3 };
        const losses = [1, 2, 3].map(() => stepper.step(state, x, targets, config).loss);
        expect(new Set(losses).size).toBe(3);
        expect(stepper.notRecorded).toBe('no room');
        tf.dispose([x, targets]);
        stepper.dispose();
        disposeTraining(state);
      },
      () => {
        throw new Error('no room');
      },
    );
  });
});
