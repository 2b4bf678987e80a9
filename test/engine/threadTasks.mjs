// Tasks for computeThread.test.ts, in a thread of the build.
import process from 'node:process';
import { setTimeout } from 'node:timers/promises';

import * as tf from '@tensorflow/tfjs-core';

import { lif, linear, selectBackend } from '../../dist/engine/index.js';
import { SaccadeError } from '../../dist/engine/support/errors.js';

export default async function tasks({ backend, broken }) {
  if (broken) throw new SaccadeError('config', 'is broken', { field: 'broken' });
  await selectBackend(backend);
  return {
    gradient,
    /** Computes without a pause until the caller sets the flag; gives up after a while. */
    computeUntil(flag, { onMessage }) {
      onMessage('begun');
      const end = Date.now() + 60_000;
      let products = 0;
      do {
        if (Date.now() > end) throw new Error('the flag was never set');
        tf.tidy(() => tf.matMul(tf.ones([64, 64]), tf.ones([64, 64])).dataSync());
        products++;
      } while (Atomics.load(flag, 0) === 0);
      return { products, tensors: tf.memory().numTensors };
    },
    async wait(_, { signal, onProgress }) {
      onProgress({ done: 1 });
      while (!signal.aborted) await setTimeout(1);
      throw new SaccadeError('interrupted', 'was stopped on its way');
    },
    first: (values) => values[0],
    failing: () => {
      throw new SaccadeError('input', 'expected 3 rows', { file: 'a.csv', offset: 12 });
    },
    throwing: () => {
      throw new TypeError('not a function');
    },
    unsendable: () => () => 1,
    exit: () => process.exit(3),
  };
}

/** Gradient of a layer of spiking neurons with respect to its weights. */
export function gradient({ values, shape }) {
  return tf.tidy(() => {
    const x = tf.tensor(values, shape);
    const [batch, , inputs] = shape;
    const loss = (weight) => tf.sum(tf.square(lif(linear(x, weight), tf.zeros([batch, 5])).spikes));
    const weight = tf.tensor(
      Float32Array.from({ length: inputs * 5 }, (_, i) => Math.sin(i)),
      [inputs, 5],
    );
    return tf.grad(loss)(weight).dataSync().slice();
  });
}
