import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';

describe('gradients of sums and means', () => {
  beforeAll(async () => {
    await selectBackend('native');
  });

  it('give every value its share, over any axes', () => {
    const axes = fc.constantFrom(undefined, 0, -1, [0, 2], [1], [0, 1, 2]);
    fc.assert(
      fc.property(axes, fc.boolean(), fc.boolean(), fc.nat(99), (axis, mean, keep, seed) => {
        tf.tidy(() => {
          const x = tf.randomNormal([2, 3, 4], 0, 1, 'float32', seed);
          const reduce = mean ? tf.mean : tf.sum;
          const y = reduce(x, axis, keep);
          const dy = tf.randomNormal(y.shape, 0, 1, 'float32', seed + 1);
          const found = tf.grad((input: tf.Tensor) => reduce(input, axis, keep))(x, dy);
          const whole = reduce(x, axis, true).shape;
          const share = tf.div(tf.reshape(dy, whole), mean ? x.size / y.size : 1);
          const expected = tf.add(tf.zeros(x.shape), share);
          expect([...found.dataSync()]).toEqual([...expected.dataSync()]);
        });
      }),
    );
  });
});
