import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { readCheckpoint } from '../../models/checkpoints/checkpoint.js';
import { motionDisc } from '../../models/delays/motionDelay.js';
import type { Model } from '../../models/model.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { disposeTree, flatten, Initialiser } from '../../models/parameters.js';
import { pretrainingSchema } from '../../models/training/config.js';
import { initialLeaves } from '../../models/training/initialise.js';
import {
  motionLoss,
  motionVelocities,
  movingTextures,
  textureSizes,
} from '../../models/training/motionTextures.js';
import { pretrainMotions, type MotionOptions } from '../../models/training/pretrainMotions.js';
import { bestBackend } from '../engine/backends.js';

let folder: string;

beforeAll(async () => {
  await selectBackend(bestBackend);
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
});
afterAll(async () => {
  expect(tf.memory().numTensors).toBe(0);
  await rm(folder, { recursive: true });
});

/** One pixel a frame. */
const layer = { motions: 4, polarities: 2, size: 5, maxDelay: 2 };

describe('moving textures', () => {
  it('go in evenly spread directions, through half of the kernel within its delays', () => {
    const expected = [[0, 1], [1, 0], [0, -1], [-1, 0]]; // prettier-ignore
    motionVelocities(layer).forEach((velocity, motion) =>
      velocity.forEach((speed, i) => expect(speed).toBeCloseTo(expected[motion][i], 12)),
    );
    const [down, right] = motionVelocities({ ...layer, motions: 8, size: 9, maxDelay: 2 })[1];
    expect(Math.hypot(down, right)).toBeCloseTo(2, 12);
    expect(down).toBeCloseTo(right, 12);
  });

  it('are a function of the seed and their number, whatever the batch', () => {
    const whole = movingTextures(layer, 6, 3, 10);
    const parts = [movingTextures(layer, 2, 3, 10), movingTextures(layer, 4, 3, 12)];
    const values = parts.flatMap(({ inputs }) => Array.from(inputs));
    expect(values).toEqual(Array.from(whole.inputs));
    expect(Array.from(whole.labels)).toEqual([2, 3, 0, 1, 2, 3]);
    const { time, side } = textureSizes(layer);
    expect(whole.shape).toEqual([6, time, 2, side, side]);
    expect(values.every((count) => Number.isInteger(count) && count >= 0)).toBe(true);
    expect(movingTextures(layer, 6, 4, 10).inputs).not.toEqual(whole.inputs);
  });

  it('move as they say: events of a frame are found again where the motion takes them', () => {
    const { time, side } = textureSizes(layer);
    const { inputs, labels } = movingTextures(layer, 8, 5, 0);
    const velocities = motionVelocities(layer).map((v) => v.map(Math.round));
    const at = (clip: number, t: number, polarity: number, y: number, x: number): number =>
      inputs[(((clip * time + t) * 2 + polarity) * side + y) * side + x];
    /** Events that have one of the same polarity in the next frame, moved by a velocity. */
    const found = (clip: number, [down, right]: readonly number[]): number => {
      let sum = 0;
      for (let t = 0; t < time - 1; t++)
        for (let polarity = 0; polarity < 2; polarity++)
          for (let y = 1; y < side - 1; y++)
            for (let x = 1; x < side - 1; x++)
              if (at(clip, t, polarity, y, x) > 0 && at(clip, t + 1, polarity, y + down, x + right) > 0) sum++; // prettier-ignore
      return sum;
    };
    labels.forEach((motion, clip) => {
      const matches = velocities.map((velocity) => found(clip, velocity));
      expect(matches.indexOf(Math.max(...matches))).toBe(motion);
    });
  });
});

describe('the loss of motions', () => {
  it('has the gradients of kernel and bias, by finite differences', () => {
    tf.tidy(() => {
      const { inputs, labels, shape } = movingTextures(layer, 3, 1, 0);
      const [x, motions] = [tf.tensor(inputs, [...shape]), tf.tensor1d(labels, 'int32')];
      const { size, maxDelay } = layer;
      const start = [
        tf.randomNormal([maxDelay + 1, size, size, 2, layer.motions], 0, 0.3, 'float32', 2),
        tf.randomNormal([layer.motions], 0, 1, 'float32', 3),
      ];
      const loss = (kernel: tf.Tensor, bias: tf.Tensor): tf.Scalar =>
        motionLoss({ kernel, bias }, x, motions, layer).loss as tf.Scalar;
      const gradients = tf.grads(loss as (...xs: tf.Tensor[]) => tf.Scalar)(start);
      gradients.forEach((gradient, i) => {
        const slope = tf.norm(gradient).dataSync()[0];
        const at = (distance: number): number => {
          const moved = [...start];
          moved[i] = tf.add(start[i], tf.mul(gradient, distance / slope));
          return loss(moved[0], moved[1]).dataSync()[0];
        };
        expect(slope).toBeGreaterThan(0.05);
        expect(Math.abs((at(1e-2) - at(-1e-2)) / 2e-2 - slope)).toBeLessThan(0.02 * slope);
      });
    });
  });

  it('is ln 2 and chance where nothing is known', () => {
    tf.tidy(() => {
      const { inputs, labels, shape } = movingTextures(layer, 4, 1, 0);
      const { size, maxDelay, motions } = layer;
      const nothing = {
        kernel: tf.zeros([maxDelay + 1, size, size, 2, motions]),
        bias: tf.zeros([motions]),
      };
      const found = motionLoss(nothing, tf.tensor(inputs, [...shape]), tf.tensor1d(labels, 'int32'), layer); // prettier-ignore
      expect(found.loss.dataSync()[0]).toBeCloseTo(Math.LN2, 5);
      expect(found.events.dataSync()[0]).toBeGreaterThan(100);
    });
  });
});

describe('pretrainMotions', () => {
  const input = { bins: 4, channels: 2, height: 8, width: 8 };
  const config = { kind: 'spikformer', patch: 4, embedding: 8, feedForward: 8, stem: 'motion' }; // prettier-ignore
  const network = ({ motions, size, maxDelay } = layer, changes: object = {}, shape = input): Model =>
    createModel(modelSchema.parse({ ...config, delays: { motions, size, maxDelay }, ...changes }), shape, 3); // prettier-ignore
  const options = (name: string, changes: Partial<MotionOptions> = {}): MotionOptions => ({
    model: network(),
    config: pretrainingSchema.parse({
      task: 'motions',
      epochs: 2,
      batchSize: 8,
      texturesPerEpoch: 24,
      learningRate: 0.05,
    }),
    seed: 3,
    folder: join(folder, name),
    experiment: {},
    ...changes,
  });

  it('learns kernels whose taps follow their motion, at the path of the network’s own', async () => {
    const wide = { motions: 4, polarities: 2, size: 7, maxDelay: 3 };
    const settings = pretrainingSchema.parse({ task: 'motions', epochs: 2, batchSize: 8, texturesPerEpoch: 64, learningRate: 0.05 }); // prettier-ignore
    const learned = options('learned', { model: network(wide), config: settings });
    const { best, bestPath } = await pretrainMotions(learned);
    // Textures that it has not seen; chance is a quarter.
    expect(best!.accuracy).toBeGreaterThan(0.9);
    const { parameters } = await readCheckpoint(bestPath);
    const leaves = flatten(parameters);
    expect([...leaves.keys()].sort()).toEqual(['embedding.kernel', 'motion.bias']);
    tf.tidy(() => {
      const { size, maxDelay } = wide;
      // An event is evidence for motion where that takes it: the longer ago, the further along.
      const kernel = tf.sum(tf.mul(leaves.get('embedding.kernel')!, motionDisc(wide)), 3);
      const taps = kernel.arraySync() as number[][][][];
      const velocities = motionVelocities(wide);
      velocities.forEach((_, motion) => {
        const along = velocities.map(([down, right]) => {
          let sum = 0;
          for (let delay = 1; delay <= maxDelay; delay++)
            for (let row = 0; row < size; row++)
              for (let column = 0; column < size; column++)
                sum += taps[delay][row][column][motion] * ((row - 3) * down + (column - 3) * right);
          return sum;
        });
        expect(along.indexOf(Math.max(...along))).toBe(motion);
        expect(along[motion]).toBeGreaterThan(0);
      });
    });
    const fresh = flatten(network(wide).initialise(new Initialiser(9)));
    const { taken, unused } = initialLeaves(fresh, leaves);
    expect(taken).toEqual(['embedding.kernel']);
    expect(unused).toEqual(['motion.bias']);
    tf.dispose([...fresh.values()]);
    disposeTree(parameters);
  });

  it('resumes an interrupted run to the same weights', async () => {
    await pretrainMotions(options('whole'));
    const controller = new AbortController();
    const onStep = ({ step }: { step: number }): void => {
      if (step >= 4) controller.abort();
    };
    await expect(
      pretrainMotions(options('broken', { signal: controller.signal, onStep })),
    ).rejects.toMatchObject({ kind: 'interrupted' });
    await pretrainMotions(options('broken'));
    for (const name of ['last.safetensors', 'best.safetensors', 'metrics.jsonl']) {
      const [whole, broken] = ['whole', 'broken'].map((run) => readFile(join(folder, run, name)));
      expect((await broken).equals(await whole), name).toBe(true);
    }
  });

  it('refuses networks without motions, and frames that are no counts by polarity', async () => {
    const patches = options('patches', { model: network(layer, { stem: 'patch' }) });
    await expect(pretrainMotions(patches)).rejects.toMatchObject({
      kind: 'config',
      place: { field: 'model.stem' },
    });
    const linear = createModel(modelSchema.parse({ kind: 'linear' }), input, 3);
    await expect(pretrainMotions(options('linear', { model: linear }))).rejects.toMatchObject({
      place: { field: 'model.stem' },
    });
    const surfaces = options('surfaces', { model: network(layer, {}, { ...input, channels: 3 }) });
    await expect(pretrainMotions(surfaces)).rejects.toMatchObject({
      kind: 'config',
      place: { field: 'preprocess.representation' },
    });
  });
});
