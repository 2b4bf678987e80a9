import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { delayedStem, type DelayedStemParameters } from '../../models/blocks/delayedStem.js';
import { initialiseMotionStem, motionStem, type MotionStemConfig, type MotionStemParameters } from '../../models/blocks/motionStem.js'; // prettier-ignore
import { splitState, stackStates } from '../../models/clipStates.js';
import { inference, Recorder } from '../../models/context.js';
import { roundDelays } from '../../models/delays/delaySynapse.js';
import { motionDisc } from '../../models/delays/motionDelay.js';
import type { ClipState } from '../../models/model.js';
import { defaultNeuron } from '../../models/neurons/neuron.js';
import { disposeTree, flatten, Initialiser, unflatten } from '../../models/parameters.js';
import { delayLineModel } from '../../models/runtime/delayLineModel.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';
import { createSubject, randomClips, spikMamba } from './networkConformance.js';

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});
const tidily = (name: string, run: () => void): void => it(name, () => void tf.tidy(run));

const delays = { maxDelay: 3, motions: 4, size: 3 };

describe.each(['delayed', 'motion'])('a network with a stem of the kind %s', (stem) => {
  tidily(
    'is the same as lines of whole frames, event by event, at a cost of events × lines',
    () => {
      const { model, parameters } = createSubject({ ...spikMamba, stem, delays }, 7);
      const time = 9;
      const input = randomClips(2, time, 3);
      const whole = model.apply(parameters, input, undefined, inference);
      const lines = delayLineModel(model);
      for (const lengths of [[time], [2, 1, 6], Array.from({ length: time }, () => 1)]) {
        let state: ClipState | undefined;
        let at = 0;
        let [macs, denseMacs] = [0, 0];
        const parts = lengths.map((length) => {
          const recorder = new Recorder();
          const chunk = tf.slice(input, [0, at], [-1, length]);
          const result = lines.apply(parameters, chunk, state, { ...inference, recorder });
          for (const work of recorder.work.values()) {
            macs += work.macs;
            denseMacs += work.denseMacs;
          }
          recorder.dispose();
          at += length;
          state = result.state;
          return result.logits;
        });
        expect(relativeDifference(tf.concat(parts, 1), whole.logits)).toBeLessThan(1e-4);
        const events = tf.sum(tf.sign(input)).dataSync()[0];
        if (stem === 'delayed') {
          expect(macs).toBe(events * 8);
          expect(denseMacs).toBe(input.size * 8);
        } else {
          const fanOut = 4 * tf.sum(motionDisc({ ...delays, polarities: 2 })).dataSync()[0];
          expect(macs).toBeLessThan(events * fanOut);
          expect(macs).toBeGreaterThan(0.5 * events * fanOut);
        }
      }
      disposeTree(parameters);
    },
  );

  tidily('takes clips that began at different times as one batch of lines', () => {
    const { model, parameters } = createSubject({ ...spikMamba, stem, delays }, 7);
    const lines = delayLineModel(model);
    const input = randomClips(2, 7, 3);
    const clip = (i: number, from: number, count: number): tf.Tensor =>
      tf.slice(input, [i, from], [1, count]);
    const ahead = lines.apply(parameters, clip(0, 0, 3), undefined, inference).state;
    const state = stackStates([splitState(ahead, 1)[0], undefined]);
    const both = tf.concat([clip(0, 3, 4), clip(1, 0, 4)]);
    const { logits } = lines.apply(parameters, both, state, inference);
    const whole = model.apply(parameters, input, undefined, inference).logits;
    const expected = tf.concat([tf.slice(whole, [0, 3], [1, 4]), tf.slice(whole, [1, 0], [1, 4])]);
    expect(relativeDifference(logits, expected)).toBeLessThan(1e-4);
    disposeTree(parameters);
  });
});

describe('the stem with delays', () => {
  tidily('narrows them by the progress of training, and rounds them otherwise', () => {
    const { model, parameters } = createSubject({ ...spikMamba, stem: 'delayed', delays }, 7);
    const input = randomClips(2, 6, 3);
    const leaves = flatten(parameters);
    const [weight, delay] = ['weight', 'delay'].map((name) => leaves.get(`embedding.synapses.${name}`)!); // prettier-ignore
    const rounded = unflatten(new Map(leaves).set('embedding.synapses.delay', roundDelays({ weight, delay }, 3).delay)); // prettier-ignore
    const logits = (tree: typeof parameters, training: boolean, progress?: number): tf.Tensor =>
      model.apply(tree, input, undefined, { training, progress, path: '' }).logits;
    expect(relativeDifference(logits(parameters, false), logits(rounded, false))).toBe(0);
    expect(relativeDifference(logits(parameters, true), logits(rounded, true))).toBeGreaterThan(
      1e-3,
    );
    const [start, quarter, end] = [0, 0.25, undefined].map((progress) => logits(parameters, true, progress)); // prettier-ignore
    expect(relativeDifference(start, end)).toBeGreaterThan(1e-3);
    expect(relativeDifference(quarter, end)).toBeLessThan(1e-6);
    disposeTree(parameters);
  });

  tidily('lets a pixel count as late as its delay says, and never again', () => {
    // One patch of 1 × 1 pixel, one feature; neurons without a leak show what has come so far.
    const config = {
      channels: 1,
      height: 1,
      width: 1,
      patch: 1,
      kernelFrames: 1,
      embedding: 1,
      delays: { maxDelay: 5 },
      neuron: { ...defaultNeuron, kind: 'lif' as const, tau: Infinity, decayInput: false, threshold: 1, reset: 'soft' as const }, // prettier-ignore
    };
    const one = tf.ones([1]);
    for (const delay of [0, 1.4, 3.6, 5]) {
      const parameters: DelayedStemParameters = {
        synapses: { weight: tf.fill([1, 1], 1.01), delay: tf.fill([1, 1], delay) },
        neurons: { scale: one, shift: tf.zeros([1]), runningMean: tf.zeros([1]), runningVariance: one }, // prettier-ignore
      };
      const input = tf.reshape(tf.oneHot(tf.tensor1d([2], 'int32'), 9), [1, 9, 1, 1, 1]);
      const { output } = delayedStem(parameters, tf.cast(input, 'float32'), undefined, config, inference); // prettier-ignore
      const spikes = Array.from(output.dataSync());
      expect(spikes.indexOf(1)).toBe(2 + Math.round(delay));
      expect(spikes.filter((s) => s === 1)).toHaveLength(1);
    }
  });
});

describe('the stem of motions', () => {
  tidily('has the gradients of its kernel, by finite differences', () => {
    const config: MotionStemConfig = {
      channels: 2,
      height: 4,
      width: 4,
      patch: 2,
      kernelFrames: 1,
      embedding: 4,
      delays: { maxDelay: 2, motions: 3, size: 3 },
      neuron: { ...defaultNeuron, decayInput: false, detachReset: false, relaxed: true },
    };
    const parameters = initialiseMotionStem(new Initialiser(2), config);
    const input = tf.cast(tf.greater(tf.randomUniform([2, 4, 2, 4, 4], 0, 1, 'float32', 3), 0.6), 'float32'); // prettier-ignore
    const target = tf.randomNormal([2, 4, 4, 4], 0, 1, 'float32', 4);
    for (const training of [false, true]) {
      const loss = (kernel: tf.Tensor): tf.Scalar => {
        const moved: MotionStemParameters = { ...parameters, kernel };
        const { output } = motionStem(moved, input, undefined, config, { training, path: '' });
        return tf.sum(tf.mul(output, target)) as tf.Scalar;
      };
      const gradient = tf.grad(loss)(parameters.kernel);
      const slope = tf.norm(gradient).dataSync()[0];
      const at = (distance: number): number =>
        loss(tf.add(parameters.kernel, tf.mul(gradient, distance / slope))).dataSync()[0];
      const difference = (step: number): number => (at(step) - at(-step)) / (2 * step);
      expect(slope).toBeGreaterThan(0.1);
      const numeric = (4 * difference(4e-3) - difference(8e-3)) / 3;
      expect(Math.abs(numeric - slope)).toBeLessThan(0.02 * slope);
    }
  });
});
