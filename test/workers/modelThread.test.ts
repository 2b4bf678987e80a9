import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { inference } from '../../models/context.js';
import type * as jobThread from '../../workers/jobThread.js';
import type * as modelThread from '../../workers/modelThread.js';
import { loadModel } from '../../workers/runs.js';
import { built } from '../built.js';
import { tinyExperiment, writeTinySet } from './tinySet.js';

let folder: string;
let run: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  run = join(folder, 'run');
  await writeTinySet(join(folder, 'data'));
});

afterAll(() => rm(folder, { recursive: true }));

describe('threads for a service', () => {
  it('train while the event loop turns, and predict as the model does here', async () => {
    const { runJobInThread } = await built<typeof jobThread>('workers/jobThread.js');
    const experiment = tinyExperiment(join(folder, 'data'));
    const phases = new Set<string>();
    const job = { experiment, folder: run, cacheFolder: join(folder, 'cache'), backend: 'wasm' };
    const outcome = await runJobInThread('trainJob', job, {
      onProgress: ({ phase }) => phases.add(phase),
    });
    expect(outcome.parameters).toBeGreaterThan(0);
    expect([...phases]).toEqual(expect.arrayContaining(['prepare', 'train']));

    const { ModelThread } = await built<typeof modelThread>('workers/modelThread.js');
    const model = await ModelThread.open({ path: run, backend: 'wasm' });
    const { classes, input, backend } = model.description;
    expect(classes).toEqual(['left', 'right']);
    expect(backend).toBe('wasm');
    const shape = [3, input.bins, input.channels, input.height, input.width];
    const random = createRandom(1, 'frames');
    const frames = Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () =>
      random.integer(2),
    );
    const there = await model.predict(frames, 3);

    await selectBackend('wasm');
    const loaded = await loadModel(run);
    const here = tf.tidy(() => {
      const { logits } = loaded.model.apply(
        loaded.parameters,
        tf.tensor(frames, shape),
        undefined,
        inference,
      );
      return tf.softmax(tf.slice(logits, [0, input.bins - 1], [3, 1])).dataSync() as never;
    }) as Float32Array;
    expect(there).toEqual(here);

    await expect(model.predict(new Float32Array(5))).rejects.toMatchObject({
      name: 'SaccadeError',
      kind: 'input',
      place: { field: 'values' },
    });
    const owed = model.predict(frames, 3, true);
    expect(frames).toHaveLength(0);
    const outcomeOfOwed = Promise.allSettled([owed]);
    await model.close();
    expect((await outcomeOfOwed)[0]).toMatchObject({ status: 'rejected' });
  });

  it('pass on what goes wrong', async () => {
    const { ModelThread } = await built<typeof modelThread>('workers/modelThread.js');
    const missing = join(folder, 'missing');
    await expect(ModelThread.open({ path: missing, backend: 'wasm' })).rejects.toMatchObject({
      name: 'SaccadeError',
      kind: 'input',
      place: { file: missing },
    });
  });
});
