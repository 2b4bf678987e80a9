import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { spikeConv2d, spikeDensity, spikeMatMul } from '../../engine/ops/spikes.js';
import { createRandom } from '../../engine/support/random.js';
import { testedBackends } from './backends.js';

const extent = (max: number) => fc.integer({ min: 1, max });

function draw(shape: number[], density: number, graded: boolean, seed: number): tf.Tensor {
  const random = createRandom(seed, 'spikes');
  const size = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: size }, () =>
    random.uniform() < density ? (graded ? random.normal() : 1) : 0,
  );
  return tf.tensor(values, shape);
}

function expectClose(actual: tf.Tensor, expected: tf.Tensor): void {
  expect(actual.shape).toEqual(expected.shape);
  const difference = tf.max(tf.abs(tf.sub(actual, expected))).dataSync()[0];
  expect(difference).toBeLessThan(1e-3);
}

describe.each(testedBackends)('products with spikes on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  // From silent to all firing: both sides of the choice between sparse and dense.
  const densities = fc.constantFrom(0, 0.05, 0.2, 0.6, 1);

  it('equals the dense product, outputs and gradients', () => {
    fc.assert(
      fc.property(
        fc.tuple(extent(3), extent(9), extent(40), extent(40)),
        densities,
        fc.boolean(),
        fc.integer(),
        ([batch, rows, inputs, outputs], density, graded, seed) => {
          tf.tidy(() => {
            const x = draw([batch, rows, inputs], density, graded, seed);
            const weight = draw([inputs, outputs], 1, true, seed + 1);
            const dense = (a: tf.Tensor, w: tf.Tensor): tf.Tensor =>
              tf.reshape(tf.matMul(tf.reshape(a, [batch * rows, inputs]), w as tf.Tensor2D), [
                batch,
                rows,
                outputs,
              ]);
            expectClose(spikeMatMul(x, weight), dense(x, weight));
            const dy = draw([batch, rows, outputs], 1, true, seed + 2);
            const actual = tf.grads(spikeMatMul)([x, weight], dy);
            const expected = tf.grads(dense)([x, weight], dy);
            actual.forEach((gradient, i) => expectClose(gradient, expected[i]));
          });
        },
      ),
      { numRuns: 15 },
    );
  });

  it.runIf(backend === 'native')('gives the dense product to the last bit', () => {
    fc.assert(
      fc.property(
        fc.tuple(extent(70), extent(1400), extent(150)),
        fc.constantFrom(0.002, 0.02, 0.15),
        fc.boolean(),
        fc.integer(),
        ([rows, inputs, outputs], density, graded, seed) => {
          tf.tidy(() => {
            const x = draw([rows, inputs], density, graded, seed);
            const weight = draw([inputs, outputs], 1, true, seed + 1);
            const dense = tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D);
            expect(spikeMatMul(x, weight).dataSync()).toEqual(dense.dataSync());
          });
        },
      ),
      { numRuns: 15 },
    );
  });

  it('convolves as the dense convolution does', () => {
    fc.assert(
      fc.property(
        fc.tuple(extent(2), fc.integer({ min: 3, max: 8 }), extent(6), extent(20)),
        fc.constantFrom(1, 2),
        fc.constantFrom<'same' | 'valid'>('same', 'valid'),
        densities,
        fc.integer(),
        ([batch, size, inputs, outputs], stride, padding, density, seed) => {
          tf.tidy(() => {
            const x = draw([batch, size, size + 1, inputs], density, false, seed);
            const weight = draw([3, 3, inputs, outputs], 1, true, seed + 1);
            const spiking = (a: tf.Tensor, w: tf.Tensor): tf.Tensor =>
              spikeConv2d(a, w, { stride, padding });
            const dense = (a: tf.Tensor, w: tf.Tensor): tf.Tensor =>
              tf.conv2d(a as tf.Tensor4D, w as tf.Tensor4D, stride, padding);
            const expected = dense(x, weight);
            expectClose(spiking(x, weight), expected);
            // The `wasm` backend can't differentiate convolutions.
            if (tf.getKernel('Conv2DBackpropFilter', backend) === undefined) return;
            const dy = draw(expected.shape, 1, true, seed + 2);
            const gradients = tf.grads(dense)([x, weight], dy);
            tf.grads(spiking)([x, weight], dy).forEach((gradient, i) => {
              expectClose(gradient, gradients[i]);
            });
          });
        },
      ),
      { numRuns: 15 },
    );
  });

  it('measures how many fired and whether all did so by 1', () => {
    tf.tidy(() => {
      expect(spikeDensity(tf.tensor1d([0, 1, 0, 1]))).toEqual({ density: 0.5, binary: true });
      expect(spikeDensity(tf.tensor1d([0, 2, 0, 0]))).toEqual({ density: 0.25, binary: false });
      expect(spikeDensity(tf.zeros([0, 3]))).toEqual({ density: 0, binary: true });
    });
  });
});
