import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { head } from '../../models/blocks/head.js';
import { readCheckpoint } from '../../models/checkpoints/checkpoint.js';
import { inference } from '../../models/context.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { disposeTree, flatten, Initialiser } from '../../models/parameters.js';
import { pretrainingSchema } from '../../models/training/config.js';
import { initialLeaves } from '../../models/training/initialise.js';
import { pretrain, type PretrainingOptions } from '../../models/training/pretrain.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';
import { movingDotsData, movingDotsInput } from './movingDots.js';
import { inputShape, randomClips } from './networkConformance.js';

let folder: string;

beforeAll(async () => {
  await selectBackend(bestBackend);
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
});
afterAll(async () => {
  expect(tf.memory().numTensors).toBe(0);
  await rm(folder, { recursive: true });
});

const small = { patch: 4, embedding: 8, heads: 2, feedForward: 8 };
const mamba = { ...small, kind: 'spikmamba', stateChannels: 8, states: 2 };

describe('encoders', () => {
  it.each([
    { ...mamba, preset: 'nano' },
    { ...mamba, mode: 'bidirectional' },
    { ...small, kind: 'spikformer' },
    { ...small, kind: 'published' },
    { kind: 'spikingConvNet', patch: 2, channels: [4, 8, 8] },
  ])('make the tokens that the head of $kind reads', (config) => {
    tf.tidy(() => {
      const model = createModel(modelSchema.parse(config), inputShape, 3);
      const parameters = model.initialise(new Initialiser(1));
      const x = randomClips(2, inputShape.bins, 1);
      const { patch, width, encode } = model.encoder!;
      const tokens = encode(parameters, x, inference);
      expect(tokens.shape).toEqual([2, inputShape.bins, (8 / patch) ** 2, width]);
      const { logits } = head(parameters.head as never, tf.mean(tokens, 2), undefined, 0);
      const expected = model.apply(parameters, x, undefined, inference).logits;
      expect(relativeDifference(logits, expected)).toBeLessThan(1e-6);
    });
  });

  it('leave the class token out', () => {
    tf.tidy(() => {
      const config = modelSchema.parse({ ...mamba, classToken: true });
      const model = createModel(config, inputShape, 3);
      const parameters = model.initialise(new Initialiser(1));
      const tokens = model.encoder!.encode(parameters, randomClips(1, 5, 1), inference);
      expect(tokens.shape).toEqual([1, 5, 4, 8]);
    });
  });
});

describe('initialLeaves', () => {
  it('takes what has the same path and shape, and names the rest', () => {
    tf.tidy(() => {
      const fresh = new Map([
        ['a.weight', tf.zeros([2, 3])],
        ['b.weight', tf.zeros([2, 3])],
        ['c', tf.zeros([4])],
      ]);
      const other = new Map([
        ['a.weight', tf.ones([2, 3])],
        ['b.weight', tf.ones([3, 2])],
        ['d', tf.ones([4])],
      ]);
      const { leaves, ...rest } = initialLeaves(fresh, other);
      expect([...leaves.values()]).toEqual([
        other.get('a.weight'),
        fresh.get('b.weight'),
        fresh.get('c'),
      ]);
      expect(rest).toEqual({
        taken: ['a.weight'],
        fresh: [{ path: 'b.weight', found: [3, 2] }, { path: 'c' }],
        unused: ['d'],
      });
    });
  });
});

describe('pretrain', () => {
  const options = (name: string, changes: Partial<PretrainingOptions> = {}): PretrainingOptions => {
    return {
      model: createModel(modelSchema.parse(mamba), movingDotsInput, 2),
      data: movingDotsData(6),
      config: pretrainingSchema.parse({ epochs: 3, batchSize: 8, learningRate: 0.01 }),
      seed: 3,
      folder: join(folder, name),
      experiment: {},
      ...changes,
    };
  };

  it('learns of hidden events, and leaves the network’s own weights without a head', async () => {
    const lines: number[] = [];
    const config = pretrainingSchema.parse({ epochs: 6, batchSize: 8, learningRate: 0.02 });
    const result = await pretrain(
      options('learned', { config, onEpoch: ({ validationLoss }) => lines.push(validationLoss) }),
    );
    expect(lines).toHaveLength(6);
    expect(result.best!.loss).toBe(Math.min(...lines));
    expect(result.bestEpoch).toBe(lines.indexOf(result.best!.loss) + 1);
    expect(lines.at(-1)!).toBeLessThan(0.9 * lines[0]);
    const { parameters } = await readCheckpoint(result.bestPath);
    const { model } = options('learned');
    const fresh = model.initialise(new Initialiser(1));
    const { fresh: kept, unused } = initialLeaves(flatten(fresh), flatten(parameters));
    expect(kept.map(({ path }) => path)).toEqual(['head.bias', 'head.weight']);
    expect(unused).toEqual(['reconstruction.bias', 'reconstruction.weight']);
    disposeTree(parameters);
    disposeTree(fresh);
  });

  it('resumes an interrupted run to the same weights', async () => {
    await pretrain(options('whole'));
    for (const stopAt of [1, 4]) {
      const controller = new AbortController();
      await expect(
        pretrain(
          options('broken', {
            signal: controller.signal,
            onStep: ({ step }) => step >= stopAt && controller.abort(),
          }),
        ),
      ).rejects.toMatchObject({ kind: 'interrupted' });
    }
    await pretrain(options('broken'));
    for (const name of ['last.safetensors', 'best.safetensors', 'metrics.jsonl']) {
      const [whole, broken] = ['whole', 'broken'].map((run) => readFile(join(folder, run, name)));
      expect((await broken).equals(await whole), name).toBe(true);
    }
  });

  it('refuses a network that makes no tokens', async () => {
    const model = createModel(modelSchema.parse({ kind: 'linear' }), movingDotsInput, 2);
    await expect(pretrain(options('linear', { model }))).rejects.toMatchObject({
      kind: 'config',
      place: { field: 'model.kind' },
    });
  });
});
