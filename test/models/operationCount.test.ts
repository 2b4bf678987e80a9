import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { causalConv1d } from '../../engine/ops/causalConv1d.js';
import { defaultLif, lif } from '../../engine/ops/lif.js';
import { linear } from '../../engine/ops/linear.js';
import { spikeMatMul } from '../../engine/ops/spikes.js';
import { countOperations } from '../../models/analysis/operationCount.js';
import { bestBackend } from '../engine/backends.js';

describe('countOperations', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });

  it('counts the products of matrices and convolutions', () => {
    tf.tidy(() => {
      const [a, b] = [tf.ones([2, 3, 4]), tf.ones([2, 4, 5])];
      const { result, count } = countOperations(() => tf.matMul(a, b));
      expect(result.shape).toEqual([2, 3, 5]);
      expect(count).toEqual({
        macs: 2 * 3 * 4 * 5,
        synapses: 0,
        additions: 0,
        elementwise: 0,
        trafficBytes: 4 * (24 + 40 + 30),
        readBytes: 4 * (24 + 40),
        weightBytes: 0,
        spikeBytes: 0,
      });
      const transposed = countOperations(() =>
        tf.matMul(tf.ones([4, 3]), tf.ones([5, 4]), true, true),
      );
      expect(transposed.count.macs).toBe(3 * 4 * 5);
      const convolved = countOperations(() =>
        causalConv1d(tf.ones([2, 7, 3]), tf.ones([4, 3]), tf.zeros([3]), tf.zeros([2, 3, 3])),
      );
      expect(convolved.count.macs).toBe(2 * 7 * 3 * 4);
    });
  });

  it('counts additions by the spikes that came in, whatever shape they took', () => {
    tf.tidy(() => {
      // Inputs of 0 or far above the threshold: a third of the neurons fires at every step.
      const drive = tf.tile(tf.tensor1d([9, 0, 0, 9, 0, 0]), [4]).reshape([1, 4, 6]);
      const weight = tf.ones([6, 5]);
      const { count } = countOperations(() => {
        const { spikes } = lif(drive, tf.zeros([1, 6]), { ...defaultLif, decayInput: false });
        return linear(tf.reshape(tf.transpose(spikes, [1, 0, 2]), [4, 1, 6]), weight);
      });
      const { count: fused } = countOperations(() => {
        const { spikes } = lif(drive, tf.zeros([1, 6]), { ...defaultLif, decayInput: false });
        return spikeMatMul(spikes, weight);
      });
      for (const { macs, synapses, additions } of [count, fused]) {
        expect(macs).toBe(0);
        expect(synapses).toBe(4 * 6 * 5);
        expect(additions).toBe((4 * 6 * 5) / 3);
      }
    });
  });

  it('stops counting, also when what it runs throws', () => {
    const { runKernel } = tf.engine();
    const outside = (): void => void tf.tidy(() => tf.matMul(tf.ones([2, 2]), tf.ones([2, 2])));
    const { count } = countOperations(outside);
    outside();
    expect(count.macs).toBe(8);
    expect(() =>
      countOperations(() => {
        throw new Error('no');
      }),
    ).toThrow('no');
    outside();
    expect(count.macs).toBe(8);
    expect(Object.is(tf.engine().runKernel, runKernel)).toBe(true);
  });
});
