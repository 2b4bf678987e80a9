import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom, permutation } from '../../engine/support/random.js';
import { countOperations } from '../../models/analysis/operationCount.js';
import { inference, Recorder } from '../../models/context.js';
import type { Sizes } from '../../models/mixers/linear/slots.js';
import { createMixer, type MixerConfig } from '../../models/mixers/registry.js';
import type { MixerOptions, MixerShape, TokenMixer } from '../../models/mixers/tokenMixer.js';
import type { ClipState } from '../../models/model.js';
import {
  countParameters,
  flatten,
  Initialiser,
  isTrainable,
  unflatten,
  type ParameterTree,
} from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';

/** How a mixer is held to what `TokenMixer` says. */
export interface MixerCase {
  readonly config: MixerConfig;
  /** Two heads of 4 features, one token a frame, where nothing else is said. */
  readonly shape?: Partial<MixerShape>;
  /** The same with every step function replaced by a smooth one, for finite differences. */
  readonly smooth?: MixerConfig;
  /** Largest relative difference between forms, 1e-4 by default. */
  readonly tolerance?: number;
}

/** Frames of the sequences. */
const length = 19;

export interface MixerSubject {
  readonly mixer: TokenMixer;
  readonly parameters: ParameterTree;
}

export const defaultShape: MixerShape = { width: 8, heads: 2, rows: 1, columns: 1 };

export const tokensPerFrame = ({ rows, columns }: MixerShape): number => rows * columns;

/** What a slot of the linear cell is built for: heads of that width, one token a frame, causal. */
export const headSizes = (heads: number, width: number): Sizes => ({
  width: heads * width,
  heads,
  rows: 1,
  columns: 1,
  keyWidth: width,
  valueWidth: width,
  causal: true,
});

/** Standard normal tokens of whole frames, `[batch, frames · rows · columns, width]`. */
export function randomTokens(
  batch: number,
  frames: number,
  shape: MixerShape,
  seed: number,
): tf.Tensor {
  return tf.randomNormal(
    [batch, frames * tokensPerFrame(shape), shape.width],
    0,
    1,
    'float32',
    seed,
  );
}

/**
 * A mixer whose parameters have all moved away from their first values, so that none is at a special
 * place (zero gates, identity maps), and whose neurons are normalised to what comes in.
 */
export function createMixerSubject(
  config: MixerConfig,
  shape: Partial<MixerShape> = {},
  seed = 7,
): MixerSubject {
  const mixer = createMixer(config, { ...defaultShape, ...shape });
  const recorder = new Recorder();
  const parameters = tf.tidy(() => {
    const leaves = flatten(mixer.initialise(new Initialiser(seed)));
    [...leaves].forEach(([path, value], i) => {
      if (!isTrainable(path)) return;
      leaves.set(path, tf.add(value, tf.randomNormal(value.shape, 0, 0.1, 'float32', seed + i)));
    });
    const x = randomTokens(4, length, mixer.shape, seed);
    mixer.apply(unflatten(leaves), x, undefined, { training: true, recorder, path: '' });
    for (const [path, { mean, variance }] of recorder.statistics) {
      leaves.set(`${path}.runningMean`, tf.clone(mean));
      leaves.set(`${path}.runningVariance`, tf.clone(variance));
    }
    return unflatten(leaves);
  });
  recorder.dispose();
  return { mixer, parameters };
}

/** Tokens of whole frames. */
export function frames(x: tf.Tensor, from: number, count: number, shape: MixerShape): tf.Tensor {
  const tokens = tokensPerFrame(shape);
  return tf.slice(x, [0, from * tokens], [-1, count < 0 ? -1 : count * tokens]);
}

/** The largest difference, in units of the largest value of `b` (or of 1, where that is less). */
export function relativeDifference(a: tf.Tensor, b: tf.Tensor): number {
  expect(a.shape).toEqual(b.shape);
  const [x, y] = [a.dataSync(), b.dataSync()];
  let largest = 0;
  let scale = 1;
  for (let i = 0; i < x.length; i++) {
    if (!(Math.abs(x[i] - y[i]) <= largest)) largest = Math.abs(x[i] - y[i]);
    scale = Math.max(scale, Math.abs(y[i]));
  }
  return largest / scale;
}

export const run = (
  { mixer, parameters }: MixerSubject,
  x: tf.Tensor,
  options: MixerOptions = {},
  state?: ClipState,
): { output: tf.Tensor; state: ClipState } => mixer.apply(parameters, x, state, inference, options);

const isFinite = (x: tf.Tensor): boolean => (x.dataSync() as Float32Array).every(Number.isFinite);

/** What every mixer must do. */
export function describeMixer(
  title: string,
  { config, shape: changes = {}, smooth = config, tolerance = 1e-4 }: MixerCase,
): void {
  describe(title, () => {
    const shape = { ...defaultShape, ...changes };
    let subject: MixerSubject;
    beforeAll(async () => {
      await selectBackend(bestBackend);
      subject = createMixerSubject(config, shape);
    });
    afterAll(() => {
      for (const tensor of flatten(subject.parameters).values()) tensor.dispose();
      expect(tf.memory().numTensors).toBe(0);
    });
    const tidily = (name: string, body: () => void): void => it(name, () => void tf.tidy(body));

    /** Every form that the mixer has, chunked in several sizes. */
    const allForms = (count: number): MixerOptions[] =>
      subject.mixer.forms.flatMap((form): MixerOptions[] =>
        form === 'chunked' ? [1, 3, 16, count].map((chunk) => ({ form, chunk })) : [{ form }],
      );
    /** Each form once, chunks with a rest at the end. */
    const eachForm = (): MixerOptions[] =>
      subject.mixer.forms.map((form) => ({ form, ...(form === 'chunked' && { chunk: 5 }) }));
    const expectSameState = (actual: ClipState, expected: ClipState, what: string): void => {
      expect(actual.frame).toBe(expected.frame);
      const [a, b] = [actual, expected].map(({ layers }) => flatten(layers as ParameterTree));
      expect([...a.keys()]).toEqual([...b.keys()]);
      for (const [path, tensor] of b) {
        expect(relativeDifference(a.get(path)!, tensor), `${what}: ${path}`).toBeLessThan(
          10 * tolerance,
        );
      }
    };

    it('says whether its state grows', () => {
      const { mixer } = subject;
      const tokens = shape.rows * shape.columns;
      const [soon, late] = [64, 8192].map((count) => mixer.cost(count * tokens).stateBytes);
      expect(mixer.growingState ?? false).toBe(mixer.streaming && late > soon);
    });

    tidily('gives the same output and state in all its forms', () => {
      for (const count of [length, 1, 2]) {
        const x = randomTokens(2, count, shape, count);
        const [first, ...others] = allForms(count).map((options) => ({
          options,
          ...run(subject, x, options),
        }));
        expect(first.output.shape).toEqual(x.shape);
        expect(first.state.frame).toBe(count);
        for (const { options, output, state } of others) {
          const what = JSON.stringify(options);
          expect(relativeDifference(output, first.output), what).toBeLessThan(tolerance);
          expectSameState(state, first.state, what);
        }
      }
    });

    it('goes on from its state as though the sequence had never been cut, or refuses to', () => {
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.nat(20)), {
            minLength: 2,
            maxLength: 5,
          }),
          fc.integer({ min: 1, max: 99 }),
          (parts, seed) => {
            tf.tidy(() => {
              const count = parts.reduce((sum, [frameCount]) => sum + frameCount, 0);
              const x = randomTokens(2, count, shape, seed);
              const whole = run(subject, x);
              if (!subject.mixer.streaming) {
                expect(() => run(subject, x, {}, whole.state)).toThrow(/whole/);
                return;
              }
              const forms = allForms(count);
              let state: ClipState | undefined;
              let at = 0;
              const outputs = parts.map(([frameCount, choice]) => {
                const result = run(
                  subject,
                  frames(x, at, frameCount, shape),
                  forms[choice % forms.length],
                  state,
                );
                state = result.state;
                at += frameCount;
                return result.output;
              });
              expect(relativeDifference(tf.concat(outputs, 1), whole.output)).toBeLessThan(
                tolerance,
              );
              expectSameState(state!, whole.state, 'split');
            });
          },
        ),
        { numRuns: 4 },
      );
    });

    tidily('sees the past and present; the future only where it is not causal', () => {
      const x = randomTokens(1, length, shape, 4);
      for (const options of eachForm()) {
        const { output } = run(subject, x, options);
        let past = 0;
        let later = Infinity;
        for (const at of [1, 7, length - 1]) {
          // Large, so that whatever selects tokens selects others.
          const other = tf.mul(randomTokens(1, length - at, shape, 5 + at), 3);
          const changed = tf.concat([frames(x, 0, at, shape), other], 1);
          const perturbed = run(subject, changed, options).output;
          const difference = (from: number, count: number): number =>
            relativeDifference(
              frames(output, from, count, shape),
              frames(perturbed, from, count, shape),
            );
          past = Math.max(past, difference(0, at));
          later = Math.min(later, difference(at, -1));
        }
        expect(later).toBeGreaterThan(1e-4);
        if (subject.mixer.causal) expect(past).toBeLessThan(1e-6);
        else if (subject.mixer.mixesTokens) expect(past).toBeGreaterThan(1e-6);
      }
      if (subject.mixer.tokenCausal === true && tokensPerFrame(shape) > 1) {
        const last = length * tokensPerFrame(shape) - 1;
        const before = tf.slice(x, [0, 0], [-1, last]);
        const changed = tf.concat([before, tf.mul(tf.slice(x, [0, last]), -3)], 1);
        const [one, other] = [x, changed].map((y) =>
          tf.slice(run(subject, y).output, [0, 0], [-1, last]),
        );
        expect(relativeDifference(one, other)).toBeLessThan(1e-6);
      }
    });

    tidily("doesn't let a sequence see its batch-mates", () => {
      const [own, mates] = [1, 3].map((batch) => randomTokens(batch, length, shape, batch));
      for (const options of eachForm()) {
        const alone = run(subject, own, options).output;
        const together = run(subject, tf.concat([mates, own], 0), options).output;
        expect(relativeDifference(tf.slice(together, [3], [1]), alone)).toBeLessThan(1e-5);
      }
    });

    tidily('stays finite, gradients too, on blank, constant and large input', () => {
      const some = randomTokens(2, length, shape, 6);
      const blankLater = tf.concat(
        [frames(some, 0, 4, shape), tf.zerosLike(frames(some, 4, length - 4, shape))],
        1,
      );
      const inputs = [
        tf.zerosLike(some),
        blankLater,
        tf.onesLike(some),
        tf.mul(some, 30),
        tf.mul(some, 1e-6),
      ];
      for (const x of inputs) {
        for (const form of subject.mixer.forms) {
          const { output, state } = run(subject, x, { form });
          expect(isFinite(output)).toBe(true);
          for (const tensor of flatten(state.layers as ParameterTree).values()) {
            expect(isFinite(tensor)).toBe(true);
          }
        }
        const gradient = tf.grad((y: tf.Tensor) => tf.sum(run(subject, y).output))(x);
        expect(isFinite(gradient)).toBe(true);
      }
    });

    tidily('neither reads nor remembers padding', () => {
      const count = 7;
      const own = randomTokens(1, count, shape, 8);
      for (const options of eachForm()) {
        const alone = run(subject, own, options);
        const paddings = [0, 50].map((scale, i) =>
          tf.mul(randomTokens(1, length - count, shape, 9 + i), scale),
        );
        for (const padding of paddings) {
          const mate = randomTokens(1, length, shape, 12);
          const tokens = tokensPerFrame(shape);
          const mask = tf.tensor2d([
            Array.from({ length: length * tokens }, (_, i) => (i < count * tokens ? 1 : 0)),
            Array.from({ length: length * tokens }, () => 1),
          ]);
          const x = tf.concat([tf.concat([own, padding], 1), mate], 0);
          const { output } = run(subject, x, { ...options, mask });
          const [padded, full] = tf.split(output, 2);
          expect(relativeDifference(frames(padded, 0, count, shape), alone.output)).toBeLessThan(
            tolerance,
          );
          expect(tf.max(tf.abs(frames(padded, count, -1, shape))).dataSync()[0]).toBe(0);
          expect(relativeDifference(full, run(subject, mate, options).output)).toBeLessThan(
            tolerance,
          );
        }
      }
    });

    it('has the gradient of its output, by finite differences, in each form', () => {
      const tested = createMixerSubject(smooth, shape);
      tf.tidy(() => {
        const leaves = flatten(tested.parameters);
        const trained = [...leaves.keys()].filter(isTrainable);
        const x = randomTokens(2, 7, shape, 13);
        const weights = tf.randomNormal(x.shape, 0, 1, 'float32', 14);
        const start = [x, ...trained.map((path) => leaves.get(path)!)];
        const loss =
          (options: MixerOptions) =>
          (input: tf.Tensor, ...values: tf.Tensor[]): tf.Scalar => {
            const all = new Map(leaves);
            trained.forEach((path, i) => all.set(path, values[i]));
            const { output } = tested.mixer.apply(
              unflatten(all),
              input,
              undefined,
              inference,
              options,
            );
            return tf.sum(tf.mul(output, weights)) as tf.Scalar;
          };
        const gradientsOf = (options: MixerOptions): tf.Tensor[] =>
          tf.grads(loss(options) as (...xs: tf.Tensor[]) => tf.Scalar)(start);
        const gradients = gradientsOf({});
        for (const form of tested.mixer.forms) {
          gradientsOf({ form, chunk: 3 }).forEach((gradient, i) => {
            expect(
              relativeDifference(gradient, gradients[i]),
              `${form}: ${['x', ...trained][i]}`,
            ).toBeLessThan(10 * tolerance);
          });
        }
        ['x', ...trained].forEach((path, i) => {
          // Along its own gradient, a parameter's slope is the gradient's norm.
          const slope = tf.norm(gradients[i]).dataSync()[0];
          expect(slope, path).toBeGreaterThan(1e-5);
          const direction = tf.div(gradients[i], slope);
          const difference = (step: number): number => {
            const [above, below] = [step, -step].map((distance) =>
              tf.tidy(() => {
                const moved = [...start];
                moved[i] = tf.add(start[i], tf.mul(direction, distance));
                return loss({})(moved[0], ...moved.slice(1)).dataSync()[0];
              }),
            );
            return (above - below) / (2 * step);
          };
          // Richardson's extrapolation cancels the curvature's part of the error.
          const step = Math.min(5e-3, 0.05 / slope);
          const numeric = (4 * difference(step) - difference(2 * step)) / 3;
          expect(Math.abs(numeric - slope), path).toBeLessThan(2e-3 + 0.02 * slope);
        });
      });
      for (const tensor of flatten(tested.parameters).values()) tensor.dispose();
    });

    tidily('costs what it said it would', () => {
      for (const count of [1, length]) {
        const x = randomTokens(1, count, shape, 15);
        for (const options of allForms(count)) {
          const predicted = subject.mixer.cost(x.shape[1]!, options);
          const { result, count: counted } = countOperations(() => run(subject, x, options));
          const stateBytes = [...flatten(result.state.layers as ParameterTree).values()].reduce(
            (bytes, { size }) => bytes + 4 * size,
            0,
          );
          const parameters = countParameters(subject.parameters);
          expect({ ...predicted, ...options }).toEqual({
            ...options,
            parameters,
            macs: counted.macs,
            synapses: counted.synapses,
            stateBytes,
            trafficBytes: 4 * (parameters + 2 * x.size) + 2 * stateBytes,
          });
          expect(counted.additions).toBeLessThanOrEqual(counted.synapses);
        }
      }
    });

    tidily('sees the order or the neighbours of a token only if it says that it mixes', () => {
      const x = randomTokens(1, length, shape, 16);
      const { output } = run(subject, x);
      // The last token's output, with the others in another order and with others in their place.
      const last = x.shape[1]! - 1;
      const order = [...permutation(last, createRandom(17)), last];
      const permuted = run(subject, tf.gather(x, tf.tensor1d(order, 'int32'), 1)).output;
      const others = tf.concat(
        [tf.slice(randomTokens(1, length, shape, 18), [0, 0], [-1, last]), tf.slice(x, [0, last])],
        1,
      );
      const replaced = run(subject, others).output;
      const ofLast = (y: tf.Tensor): tf.Tensor => tf.slice(y, [0, last]);
      const change = relativeDifference(ofLast(replaced), ofLast(output));
      if (subject.mixer.mixesTokens) {
        expect(change).toBeGreaterThan(1e-4);
      } else {
        expect(change).toBeLessThan(1e-6);
        const back = tf.gather(output, tf.tensor1d(order, 'int32'), 1);
        expect(relativeDifference(permuted, back)).toBeLessThan(1e-6);
      }
    });
  });
}
