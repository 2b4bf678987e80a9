import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { inference } from '../../models/context.js';
import { defaultNeuron, type FullNeuronConfig } from '../../models/neurons/neuron.js';
import { neurons } from '../../models/neurons/registry.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../../models/neurons/spiking.js'; // prettier-ignore
import { flatten, Initialiser, unflatten, type ParameterTree } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';

const [features, tokens] = [6, 3];

/** What all neurons must do, those of `changes` from the defaults. */
export function describeNeuron(title: string, changes: Partial<FullNeuronConfig>): void {
  describe(title, () => {
    const config = { ...defaultNeuron, decayInput: false, ...changes };
    const { states } = neurons[config.kind];
    const input = (batch: number, time: number, seed: number): tf.Tensor =>
      tf.randomNormal([batch, time, tokens, features], 0.3, 1, 'float32', seed);
    /** Parameters away from their first values. */
    const draw = (): SpikingParameters => {
      const leaves = flatten(initialiseSpiking(new Initialiser(1), features, config) as unknown as ParameterTree); // prettier-ignore
      [...leaves].forEach(([path, value], i) => {
        if (!path.startsWith('inner')) return;
        leaves.set(path, tf.add(value, tf.randomNormal(value.shape, 0, 0.2, 'float32', i + 1)));
      });
      return unflatten(leaves) as unknown as SpikingParameters;
    };
    const fire = (
      x: tf.Tensor,
      membrane?: tf.Tensor,
      parameters = draw(),
    ): { spikes: tf.Tensor; membrane: tf.Tensor } =>
      spiking(parameters, x, membrane, config, inference);

    beforeAll(async () => {
      await selectBackend(bestBackend);
    });
    afterAll(() => {
      expect(tf.memory().numTensors).toBe(0);
    });
    const tidily = (name: string, run: () => void): void => it(name, () => void tf.tidy(run));

    tidily('fires spikes of 0 and 1, some of each', () => {
      const { spikes, membrane } = fire(input(2, 20, 1));
      const values = new Set(spikes.dataSync());
      expect([...values].sort()).toEqual([0, 1]);
      expect(membrane.shape).toEqual([2, tokens, states * features]);
    });

    it('goes on from its state: whole = chunks = steps', () => {
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 }),
          fc.integer({ min: 1, max: 99 }),
          (lengths, seed) => {
            tf.tidy(() => {
              const time = lengths.reduce((a, b) => a + b);
              const x = input(2, time, seed);
              const whole = fire(x);
              for (const parts of [lengths, Array.from({ length: time }, () => 1)]) {
                let membrane: tf.Tensor | undefined;
                let at = 0;
                const spikes = parts.map((length) => {
                  const result = fire(tf.slice(x, [0, at], [-1, length]), membrane);
                  membrane = result.membrane;
                  at += length;
                  return result.spikes;
                });
                expect(relativeDifference(tf.concat(spikes, 1), whole.spikes)).toBe(0);
                expect(relativeDifference(membrane!, whole.membrane)).toBeLessThan(1e-5);
              }
            });
          },
        ),
        { numRuns: 5 },
      );
    });

    tidily("doesn't let clips or tokens see each other, nor the past see the future", () => {
      const [own, mates] = [input(1, 9, 1), input(3, 9, 2)];
      const alone = fire(own).spikes;
      const together = fire(tf.concat([mates, own], 0)).spikes;
      expect(relativeDifference(tf.slice(together, [3], [1]), alone)).toBe(0);
      const otherToken = tf.concat([tf.slice(own, [0, 0, 0], [-1, -1, 1]), tf.slice(mates, [0, 0, 1], [1, -1, -1])], 2); // prettier-ignore
      expect(relativeDifference(tf.slice(fire(otherToken).spikes, [0, 0, 0], [-1, -1, 1]), tf.slice(alone, [0, 0, 0], [-1, -1, 1]))).toBe(0); // prettier-ignore
      const later = tf.concat([tf.slice(own, [0, 0], [-1, 5]), tf.slice(mates, [0, 5], [1, 4])], 1);
      expect(relativeDifference(tf.slice(fire(later).spikes, [0, 0], [-1, 5]), tf.slice(alone, [0, 0], [-1, 5]))).toBe(0); // prettier-ignore
      // Not because nothing ever changes:
      expect(relativeDifference(fire(later).spikes, alone)).toBe(1);
    });

    tidily('stays finite on blank, constant and large input', () => {
      const x = input(1, 8, 3);
      for (const some of [tf.zerosLike(x), tf.onesLike(x), tf.mul(x, 1e3), tf.mul(x, -1e3)]) {
        const { spikes, membrane } = fire(some);
        for (const tensor of [spikes, membrane]) {
          expect(tensor.dataSync().every(Number.isFinite)).toBe(true);
        }
        const gradient = tf.grad((y: tf.Tensor) => tf.sum(fire(y).spikes))(some);
        expect(gradient.dataSync().every(Number.isFinite)).toBe(true);
      }
      expect(tf.max(fire(tf.zerosLike(x)).spikes).dataSync()[0]).toBe(0);
    });

    tidily('has the gradient of its relaxed spikes, by finite differences', () => {
      const relaxed = { ...config, relaxed: true, detachReset: false };
      const leaves = flatten(draw() as unknown as ParameterTree);
      const learned = [...leaves.keys()].filter((path) => path.startsWith('inner'));
      const x = input(2, 5, 4);
      const before = tf.randomUniform([2, tokens, states * features], 0, 0.5, 'float32', 5);
      const weights = tf.randomNormal(x.shape, 0, 1, 'float32', 6);
      const ends = tf.randomNormal(before.shape, 0, 1, 'float32', 7);
      const start = [x, before, ...learned.map((path) => leaves.get(path)!)];
      const loss = (...values: tf.Tensor[]): tf.Scalar => {
        const all = new Map(leaves);
        learned.forEach((path, i) => all.set(path, values[2 + i]));
        const parameters = unflatten(all) as unknown as SpikingParameters;
        const { spikes, membrane } = spiking(parameters, values[0], values[1], relaxed, inference);
        return tf.add(tf.sum(tf.mul(spikes, weights)), tf.sum(tf.mul(membrane, ends))) as tf.Scalar;
      };
      const gradients = tf.grads(loss as (...xs: tf.Tensor[]) => tf.Scalar)(start);
      gradients.forEach((gradient, i) => {
        const name = ['x', 'state', ...learned][i];
        const slope = tf.norm(gradient).dataSync()[0];
        expect(slope, name).toBeGreaterThan(1e-4);
        const direction = tf.div(gradient, slope);
        const difference = (step: number): number => {
          const [above, below] = [step, -step].map((distance) => {
            const moved = [...start];
            moved[i] = tf.add(start[i], tf.mul(direction, distance));
            return loss(...moved).dataSync()[0];
          });
          return (above - below) / (2 * step);
        };
        const numeric = (4 * difference(5e-3) - difference(1e-2)) / 3;
        expect(Math.abs(numeric - slope), name).toBeLessThan(2e-3 + 0.02 * slope);
      });
    });
  });
}
