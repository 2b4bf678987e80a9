import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { splitState, stackStates, type StoredClipState } from '../../models/clipStates.js';
import { inference, Recorder, type Context } from '../../models/context.js';
import type { ClipState, InputShape, Model } from '../../models/model.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import {
  disposeTree,
  flatten,
  Initialiser,
  isTrainable,
  unflatten,
  type ParameterTree,
} from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';

export const classes = 3;
export const inputShape: InputShape = { bins: 5, channels: 2, height: 8, width: 8 };

/** A SpikMamba for input of `inputShape`. */
export const spikMamba = {
  kind: 'spikmamba',
  patch: 2,
  embedding: 8,
  heads: 2,
  stateChannels: 12,
  states: 3,
  deltaRank: 2,
  taps: 3,
  feedForward: 12,
};

/** A model with parameters whose running statistics fit its input, so that its neurons fire. */
export interface Subject {
  readonly model: Model;
  readonly parameters: ParameterTree;
}

/** Seeded sparse counts, `[batch, time, channels, height, width]`. */
export function randomClips(batch: number, time: number, seed: number): tf.Tensor {
  const random = createRandom(seed, 'clips');
  const shape = [batch, time, inputShape.channels, inputShape.height, inputShape.width];
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor(
    Float32Array.from({ length: size }, () => (random.uniform() < 0.3 ? random.integer(4) : 0)),
    shape,
  );
}

const frames = (x: tf.Tensor, from: number, count: number): tf.Tensor =>
  tf.slice(x, [0, from], [-1, count]);

const clips = (x: tf.Tensor, from: number, count: number): tf.Tensor =>
  tf.slice(x, [from], [count]);

function values(x: tf.Tensor): Float32Array {
  return x.dataSync() as Float32Array;
}

function largestDifference(a: tf.Tensor, b: tf.Tensor): number {
  expect(a.shape).toEqual(b.shape);
  const [x, y] = [values(a), values(b)];
  return x.reduce((largest, value, i) => Math.max(largest, Math.abs(value - y[i])), 0);
}

function logitsOf(
  { model, parameters }: Subject,
  input: tf.Tensor,
  context: Context = inference,
): tf.Tensor {
  return model.apply(parameters, input, undefined, context).logits;
}

/** Feeds a clip in chunks of the given lengths, the last one repeated until the clip's end. */
function streamed(
  { model, parameters }: Subject,
  input: tf.Tensor,
  lengths: readonly number[],
): { logits: tf.Tensor; state: ClipState } {
  const time = input.shape[1]!;
  const parts: tf.Tensor[] = [];
  let state: ClipState | undefined;
  for (let at = 0, i = 0; at < time; i++) {
    const length = Math.min(lengths[Math.min(i, lengths.length - 1)], time - at);
    const result = model.apply(parameters, frames(input, at, length), state, inference);
    expect(result.state.frame).toBe(at + length);
    parts.push(result.logits);
    state = result.state;
    at += length;
  }
  return { logits: tf.concat(parts, 1), state: state! };
}

/** Folds one training batch's statistics into the running ones. */
export function createSubject(config: unknown, seed: number): Subject {
  const model = createModel(modelSchema.parse(config), inputShape, classes);
  const recorder = new Recorder();
  const parameters = tf.tidy(() => {
    const leaves = flatten(model.initialise(new Initialiser(seed)));
    const context = { training: true, recorder, path: '' };
    model.apply(unflatten(leaves), randomClips(4, inputShape.bins, seed), undefined, context);
    for (const [path, { mean, variance }] of recorder.statistics) {
      leaves.set(`${path}.runningMean`, tf.clone(mean));
      leaves.set(`${path}.runningVariance`, tf.clone(variance));
    }
    return unflatten(leaves);
  });
  recorder.dispose();
  return { model, parameters };
}

/** What every model must do; `config` is one of `modelSchema`, for input of `inputShape`. */
export function describeConformance(title: string, config: unknown): void {
  describe(title, () => {
    let subject: Subject;
    beforeAll(async () => {
      await selectBackend(bestBackend);
      subject = createSubject(config, 7);
    });
    afterAll(() => {
      disposeTree(subject.parameters);
      expect(tf.memory().numTensors).toBe(0);
    });
    const tidily = (name: string, run: () => void): void => it(name, () => void tf.tidy(run));

    tidily('gives logits for each frame, the same ones for the same seed', () => {
      const input = randomClips(2, inputShape.bins, 1);
      const logits = logitsOf(subject, input);
      expect(logits.shape).toEqual([2, inputShape.bins, classes]);
      const again = createSubject(config, 7);
      expect(values(logitsOf(again, input))).toEqual(values(logits));
      const [one, same, other] = [7, 7, 8].map((seed) =>
        flatten(subject.model.initialise(new Initialiser(seed))),
      );
      expect([...one.keys()]).toEqual([...same.keys()]);
      for (const [path, tensor] of one) expect(values(same.get(path)!)).toEqual(values(tensor));
      const differs = [...one].filter(
        ([path, tensor]) => tensor.rank > 1 && largestDifference(tensor, other.get(path)!) > 0,
      );
      expect(differs.length).toBeGreaterThan(0);
    });

    tidily('stays finite on empty, blank, constant and large input', () => {
      const some = randomClips(2, inputShape.bins, 2);
      const blankAfterwards = tf.concat(
        [frames(some, 0, 2), tf.zerosLike(frames(some, 2, inputShape.bins - 2))],
        1,
      );
      const inputs = [
        tf.zerosLike(some),
        blankAfterwards,
        tf.fill(some.shape, 3),
        tf.mul(some, 1e3),
      ];
      for (const training of [false, true]) {
        for (const input of inputs) {
          const logits = values(logitsOf(subject, input, { training, path: '' }));
          expect(logits.every(Number.isFinite)).toBe(true);
        }
      }
    });

    tidily("doesn't let a clip see its batch-mates", () => {
      const [own, mates, otherMates] = [1, 2, 3].map((seed) =>
        randomClips(seed === 1 ? 1 : 3, inputShape.bins, seed),
      );
      const alone = logitsOf(subject, own);
      for (const others of [mates, otherMates]) {
        const after = logitsOf(subject, tf.concat([others, own], 0));
        expect(largestDifference(clips(after, 3, 1), alone)).toBeLessThan(1e-6);
        const before = logitsOf(subject, tf.concat([own, others], 0));
        expect(largestDifference(clips(before, 0, 1), alone)).toBeLessThan(1e-6);
      }
      // Not because it sees nothing at all:
      expect(largestDifference(clips(logitsOf(subject, mates), 0, 1), alone)).toBeGreaterThan(1e-4);
    });

    tidily('sees the past and present; the future only where it does not stream', () => {
      const time = inputShape.bins;
      const input = randomClips(2, time, 4);
      const logits = logitsOf(subject, input);
      let leastLater = Infinity;
      let mostPast = 0;
      for (let seed = 5; seed < 20; seed++) {
        const t = 1 + (seed % (time - 1));
        const other = randomClips(2, time, seed);
        const changed = tf.concat([frames(input, 0, t), frames(other, t, -1)], 1);
        const perturbed = logitsOf(subject, changed);
        const difference = (from: number, count: number): number =>
          largestDifference(frames(logits, from, count), frames(perturbed, from, count));
        mostPast = Math.max(mostPast, difference(0, t));
        leastLater = Math.min(leastLater, difference(t, -1));
      }
      expect(leastLater).toBeGreaterThan(1e-4);
      if (subject.model.streaming) expect(mostPast).toBe(0);
      else expect(mostPast).toBeGreaterThan(1e-4);
    });

    it('gives a whole clip, its chunks and its frames the same logits, or refuses to', () => {
      const time = inputShape.bins + 4;
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 1, max: time }), { minLength: 1, maxLength: time }),
          fc.integer({ min: 1, max: 100 }),
          (lengths, seed) => {
            tf.tidy(() => {
              if (!subject.model.streaming) {
                const { state } = subject.model.apply(
                  subject.parameters,
                  randomClips(1, 2, seed),
                  undefined,
                  inference,
                );
                expect(() =>
                  subject.model.apply(
                    subject.parameters,
                    randomClips(1, 2, seed),
                    state,
                    inference,
                  ),
                ).toThrow(/whole clip/);
                return;
              }
              const input = randomClips(2, time, seed);
              const whole = streamed(subject, input, [time]);
              const states = flatten(whole.state.layers as ParameterTree);
              for (const chunked of [
                streamed(subject, input, lengths),
                streamed(subject, input, [1]),
              ]) {
                expect(largestDifference(chunked.logits, whole.logits)).toBeLessThan(1e-4);
                // Spikes can hide a lost state from the logits; the state itself shows it.
                const carried = flatten(chunked.state.layers as ParameterTree);
                expect([...carried.keys()]).toEqual([...states.keys()]);
                for (const [path, tensor] of states) {
                  expect(largestDifference(carried.get(path)!, tensor), path).toBeLessThan(1e-3);
                }
              }
            });
          },
        ),
        { numRuns: 6 },
      );
    });

    tidily('keeps the shapes of its state, unless it says that the state grows', () => {
      const { model } = subject;
      if (!model.streaming) return;
      // Whole windows both: the memory of one that is open is there or not.
      const shapes = [8, 12].map((time) =>
        [...splitState(streamed(subject, randomClips(1, time, 13), [time]).state, 1)[0].leaves]
          .map(([path, { shape }]) => `${path} ${shape.join()}`)
          .join(),
      );
      expect(shapes[0] === shapes[1]).toBe(model.growingState !== true);
    });

    tidily('takes clips that began at different times as one batch', () => {
      const { model, parameters } = subject;
      if (!model.streaming || model.growingState === true) return;
      const starts = [4, 0, 3, 7];
      const time = 3;
      const input = randomClips(starts.length, 7 + time, 12);
      const own = (i: number, from: number, count: number): tf.Tensor =>
        frames(clips(input, i, 1), from, count);
      const stored = starts.map((start, i): StoredClipState | undefined => {
        if (start === 0) return undefined;
        return splitState(streamed(subject, own(i, 0, start), [start]).state, 1)[0];
      });
      const chunk = tf.concat(starts.map((start, i) => own(i, start, time)));
      for (const lengths of [[time], [1, 1, 1]]) {
        let states: (StoredClipState | undefined)[] = stored;
        const parts: tf.Tensor[] = [];
        let at = 0;
        for (const length of lengths) {
          const before = stackStates(states);
          const result = model.apply(parameters, frames(chunk, at, length), before, inference);
          states = splitState(result.state, starts.length);
          parts.push(result.logits);
          at += length;
        }
        const together = tf.concat(parts, 1);
        starts.forEach((start, i) => {
          const alone = streamed(subject, own(i, 0, start + time), [start + time]);
          const expected = frames(alone.logits, start, time);
          expect(largestDifference(clips(together, i, 1), expected)).toBeLessThan(1e-4);
          expect(states[i]!.frame).toBe(start + time);
          for (const [path, { shape, data }] of splitState(alone.state, 1)[0].leaves) {
            const leaf = states[i]!.leaves.get(path)!;
            expect(leaf.shape).toEqual(shape);
            const differences = data.map((value, k) => Math.abs(value - leaf.data[k]));
            expect(Math.max(...differences), path).toBeLessThan(1e-3);
          }
        });
      }
    });

    tidily('gives every trained parameter a finite gradient that is not all zero', () => {
      const leaves = flatten(subject.parameters);
      const trained = [...leaves.keys()].filter(isTrainable);
      const weights = tf.randomNormal([3, inputShape.bins, classes], 0, 1, 'float32', 1);
      const loss = (...tensors: tf.Tensor[]): tf.Scalar => {
        const all = new Map(leaves);
        trained.forEach((path, i) => all.set(path, tensors[i]));
        const { logits } = subject.model.apply(
          unflatten(all),
          randomClips(3, inputShape.bins, 6),
          undefined,
          { training: true, path: '' },
        );
        return tf.sum(tf.mul(logits, weights)) as tf.Scalar;
      };
      const gradients = tf.grads(loss)(trained.map((path) => leaves.get(path)!));
      const faults = trained.filter((_, i) => {
        const gradient = values(gradients[i]);
        return !gradient.every(Number.isFinite) || Math.max(...gradient.map(Math.abs)) < 1e-7;
      });
      expect(faults).toEqual([]);
      trained.forEach((path, i) => expect(gradients[i].shape).toEqual(leaves.get(path)!.shape));
    });

    it('records statistics and firing rates under the paths of their parameters', () => {
      const recorder = new Recorder();
      tf.tidy(() => {
        logitsOf(subject, randomClips(2, inputShape.bins, 7), {
          training: true,
          recorder,
          path: '',
        });
      });
      const leaves = flatten(subject.parameters);
      const normalised = [...leaves.keys()]
        .filter((path) => path.endsWith('.runningMean'))
        .map((path) => path.slice(0, -'.runningMean'.length));
      expect([...recorder.statistics.keys()].sort()).toEqual(normalised);
      // Centroids are running means as well, but not of neurons.
      const spiking = normalised.filter((path) => !path.endsWith('.centroids'));
      expect([...recorder.firingRates.keys()].sort()).toEqual(spiking);
      for (const [path, { mean, variance }] of recorder.statistics) {
        expect(mean.shape).toEqual(leaves.get(`${path}.runningMean`)!.shape);
        expect(variance.shape).toEqual(leaves.get(`${path}.runningVariance`)!.shape);
      }
      for (const rate of recorder.firingRates.values()) {
        expect(values(rate)[0]).toBeGreaterThan(0);
        expect(values(rate)[0]).toBeLessThan(1);
      }
      recorder.dispose();
    });

    it('leaves no tensor behind but its result', () => {
      const input = randomClips(2, 3, 8);
      const before = tf.memory().numTensors;
      for (const training of [false, true]) {
        const recorder = new Recorder();
        const context = { training, recorder, path: '' };
        // As callers do it: a tidy keeps the logits and the state, and the recorder keeps its own.
        const result = tf.tidy(
          () =>
            subject.model.apply(
              subject.parameters,
              input,
              undefined,
              context,
            ) as unknown as tf.TensorContainerObject,
        );
        recorder.dispose();
        tf.dispose(result);
        expect(tf.memory().numTensors).toBe(before);
      }
      input.dispose();
    });
  });
}
