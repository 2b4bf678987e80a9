import { Worker } from 'node:worker_threads';

import * as tf from '@tensorflow/tfjs-core';
import { beforeEach, describe, expect, it } from 'vitest';

import { selectBackend } from '../../../engine/index.js';
import { loadAddon } from '../../../engine/native/addon.js';
import type { NativeBackend } from '../../../engine/native/backend.js';
import { BufferPool } from '../../../engine/native/pool.js';
import { spikMambaPresets } from '../../../models/networks/presets.js';
import { createSpikMamba } from '../../../models/networks/spikMamba.js';
import { flatten, Initialiser } from '../../../models/parameters.js';
import { disposeTraining, startTraining, trainingStep } from '../../../models/training/step.js';

const live = await selectBackend('native').then(
  () => true,
  () => false,
);
if (!live) console.warn('native backend not built: its tests are skipped');

const native = (): NativeBackend => tf.backend() as NativeBackend;

describe.skipIf(!live)('native backend', () => {
  beforeEach(async () => {
    await selectBackend('native');
  });

  it('gives a reader values that later tensors do not overwrite', () => {
    const y = tf.add([1, 2, 3], 1);
    const read = y.dataSync();
    y.dispose();
    tf.tidy(() => tf.mul([9, 9, 9], 9));
    expect([...read]).toEqual([2, 3, 4]);
  });

  it('leaves arrays that a user made tensors of alone', () => {
    const values = Float32Array.of(1, 2, 3);
    tf.tensor(values).dispose();
    tf.tidy(() => tf.mul([9, 9, 9], 9));
    expect([...values]).toEqual([1, 2, 3]);
  });

  it('keeps what a slice, a reshape or a cpu kernel took from a disposed tensor', () => {
    const x = tf.mul(tf.range(0, 12), 1);
    const rows = tf.reshape(x, [3, 4]);
    const part = tf.slice(rows, [1, 0], [2, 4]);
    const whole = tf.slice(rows, [0, 0], [3, 4]);
    const [largest] = Object.values(tf.topk(rows, 2));
    x.dispose();
    rows.dispose();
    for (let i = 0; i < 4; i++) tf.tidy(() => tf.mul(tf.ones([12]), -1));
    expect([...part.dataSync()]).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...whole.dataSync()]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...largest.dataSync()]).toEqual([3, 2, 7, 6, 11, 10]);
    tf.dispose([part, whole, largest]);
  });

  it('gives the same values whatever the number of threads', () => {
    const addon = loadAddon();
    const threads = addon.threads();
    const run = (count: number): number[] => {
      addon.setThreads(count);
      return tf.tidy(() => {
        const a = tf.randomNormal([300, 700], 0, 1, 'float32', 7);
        const b = tf.randomNormal([700, 200], 0, 1, 'float32', 8);
        const y = tf.matMul(a, b);
        return [y, tf.sum(a), tf.sum(a, 0), tf.mean(y, 1)].flatMap((t) => [...t.dataSync()]);
      });
    };
    const alone = run(1);
    for (const count of [2, 3, 8]) expect(run(count)).toEqual(alone);
    addon.setThreads(threads);
  });

  it('computes in a worker thread beside the main one', async () => {
    const expected = tf.tidy(
      () => tf.sum(tf.matMul(tf.ones([200, 300]), tf.ones([300, 100]))).dataSync()[0],
    );
    const path = loadAddon().path;
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       const addon = require(workerData);
       const a = new Float32Array(200 * 300).fill(1), b = new Float32Array(300 * 100).fill(1);
       const c = new Float32Array(200 * 100);
       for (let i = 0; i < 50; i++) addon.matMul(a, b, c, 1, 0, 0, 200, 100, 300, false, false, false);
       parentPort.postMessage(c.reduce((x, y) => x + y, 0));`,
      { eval: true, workerData: path },
    );
    const received = new Promise<number>((resolve, reject) => {
      worker.on('message', resolve);
      worker.on('error', reject);
    });
    for (let i = 0; i < 50; i++) tf.tidy(() => tf.matMul(tf.ones([200, 300]), tf.ones([300, 100])));
    expect(await received).toBe(expected);
    await worker.terminate();
  });

  it('throws, and lives on, when a kernel gets what it does not take', () => {
    const { kernels } = loadAddon();
    expect(() => kernels.Exp(new Int32Array(3), new Float32Array(3), 0, 0)).toThrow(
      'argument 0: expected Float32Array',
    );
    expect(() => kernels.Exp()).toThrow('expected Float32Array');
    expect([...tf.exp([0]).dataSync()]).toEqual([1]);
  });

  it('trains 500 steps without leaking tensors or allocating anew', { timeout: 600_000 }, () => {
    const input = { bins: 2, channels: 2, height: 16, width: 16 };
    const model = createSpikMamba(
      { ...spikMambaPresets.nano, embedding: 16, stateChannels: 16 },
      input,
      3,
    );
    let state = startTraining(flatten(model.initialise(new Initialiser(1))));
    const x = tf.randomUniform([2, 2, 2, 16, 16], 0, 1, 'float32', 3);
    const targets = tf.tensor2d([1, 0, 0, 0, 1, 0], [2, 3]);
    const config = {
      learningRate: 1e-3,
      weightDecay: 0.01,
      gradientClip: 1,
      perStepLoss: 0.5,
      statisticsMomentum: 0.9,
    };
    const losses: number[] = [];
    const step = (): void => {
      const result = trainingStep(model, state, x, targets, config);
      state = result.state;
      losses.push(result.loss);
    };
    for (let i = 0; i < 20; i++) step();
    const { numTensors, numBytes } = tf.memory();
    const allocated = native().pool.allocatedBytes;
    for (let i = 0; i < 480; i++) step();
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(tf.memory().numBytes).toBe(numBytes);
    expect(native().pool.allocatedBytes).toBe(allocated);
    expect(losses[499]).toBeLessThan(losses[0] * 0.5);
    disposeTraining(state);
    tf.dispose([x, targets]);
  });
});

describe('buffer pool', () => {
  const make = (limit: number): BufferPool =>
    new BufferPool({ allocate: (bytes) => new ArrayBuffer(bytes) }, limit);

  it('gives freed memory to the next tensor of about the size', () => {
    const pool = make(1e6);
    const a = pool.allocate(Float32Array, 1000);
    expect(a.length).toBe(1000);
    pool.release(a);
    expect(pool.allocate(Float32Array, 1000)).toBe(a);
    pool.release(a);
    const b = pool.allocate(Int32Array, 990);
    expect(b.buffer).toBe(a.buffer);
    expect(b).toBeInstanceOf(Int32Array);
    expect(b.length).toBe(990);
    expect(pool.allocate(Float32Array, 1000).buffer).not.toBe(b.buffer);
  });

  it('wastes at most a quarter and keeps no more than its limit', () => {
    const pool = make(100_000);
    for (const length of [1, 63, 64, 65, 1000, 1025, 12_345]) {
      const before = pool.allocatedBytes;
      const array = pool.allocate(Float32Array, length);
      const size = pool.allocatedBytes - before;
      expect(size).toBeGreaterThanOrEqual(array.byteLength);
      expect(size).toBeLessThanOrEqual(Math.max(256, array.byteLength * 1.25 + 4));
    }
    const large = Array.from({ length: 8 }, () => pool.allocate(Float32Array, 10_000));
    for (const array of large) pool.release(array);
    const before = pool.allocatedBytes;
    for (let i = 0; i < 8; i++) pool.allocate(Float32Array, 10_000);
    expect(pool.allocatedBytes).toBeGreaterThan(before);
  });

  it('ignores arrays that are not its own', () => {
    const pool = make(1e6);
    const foreign = new Float32Array(1000);
    expect(pool.owns(foreign)).toBe(false);
    pool.release(foreign);
    expect(pool.allocate(Float32Array, 1000)).not.toBe(foreign);
  });
});
