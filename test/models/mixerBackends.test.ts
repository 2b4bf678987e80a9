import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { inference } from '../../models/context.js';
import { createMixer, mixers } from '../../models/mixers/registry.js';
import { flatten, Initialiser, isTrainable, unflatten } from '../../models/parameters.js';
import { testedBackends } from '../engine/backends.js';
import { defaultShape } from './mixerConformance.js';

/** A mixer's output and the gradients of a loss of it, as numbers by name. */
async function valuesOn(backend: string, name: string): Promise<Record<string, number[]>> {
  await selectBackend(backend);
  return tf.tidy(() => {
    const mixer = createMixer({ name }, defaultShape);
    const leaves = flatten(mixer.initialise(new Initialiser(1)));
    const trained = [...leaves.keys()].filter(isTrainable);
    const x = tf.randomNormal([2, 9, defaultShape.width], 0, 1, 'float32', 3);
    const output = (input: tf.Tensor, ...values: tf.Tensor[]): tf.Tensor => {
      const all = new Map(leaves);
      trained.forEach((path, i) => all.set(path, values[i]));
      return mixer.apply(unflatten(all), input, undefined, inference).output;
    };
    const start = [x, ...trained.map((path) => leaves.get(path)!)];
    const gradients = tf.grads((...xs: tf.Tensor[]) =>
      tf.sum(tf.square(output(xs[0], ...xs.slice(1)))),
    )(start);
    return Object.fromEntries(
      [output(x, ...start.slice(1)), ...gradients].map((tensor, i) => [
        ['output', 'x', ...trained][i],
        Array.from(tensor.dataSync()),
      ]),
    );
  });
}

describe('every mixer, on every backend', () => {
  it.each(mixers.map(({ name }) => name))('%s gives the same values', async (name) => {
    const [first, ...others] = testedBackends;
    const expected = await valuesOn(first, name);
    for (const backend of others) {
      for (const [path, values] of Object.entries(await valuesOn(backend, name))) {
        const wanted = expected[path];
        const scale = Math.max(1, ...wanted.map(Math.abs));
        const difference = Math.max(...values.map((value, i) => Math.abs(value - wanted[i])));
        expect(difference / scale, `${backend}: ${path}`).toBeLessThan(1e-3);
      }
    }
  });
});
