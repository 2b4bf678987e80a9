import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { trainJob } from '../../workers/train.js';
import { withPathsFrom } from '../../workers/experiment.js';
import { tinyExperiment, writeTinySet } from './tinySet.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  await writeTinySet(join(folder, 'data'));
});
afterAll(() => rm(folder, { recursive: true }));

const experiment = (mixer: object | undefined, training: object, model: object = {}) => {
  const tiny = tinyExperiment(join(folder, 'data'));
  return tinyExperiment(join(folder, 'data'), {
    model: { ...tiny.model, ...(mixer && { mixer }), ...model },
    training: { ...tiny.training, epochs: 1, ...training },
  });
};

describe('training.distil', () => {
  it('lets the mixers learn from those of a trained network, then trains it from its weights', async () => {
    const cacheFolder = join(folder, 'cache');
    const teacher = join(folder, 'teacher');
    const softmax = { name: 'softmaxAttention', context: 4 };
    await trainJob({ experiment: experiment(softmax, {}), folder: teacher, cacheFolder });
    const messages: string[] = [];
    const phases = new Set<string>();
    const training = { distil: { teacher: 'teacher', steps: 6 } };
    const student = withPathsFrom(folder, experiment({ name: 'hedgehog' }, training));
    const outcome = await trainJob(
      { experiment: student, folder: join(folder, 'student'), cacheFolder },
      {
        onMessage: (message) => messages.push(message),
        onProgress: ({ phase }) => phases.add(phase),
      },
    );
    expect(phases).toContain('distil');
    expect(messages.some((message) => /distilled \d+ weights from .*teacher/.test(message))).toBe(
      true,
    );
    expect(outcome.initialised!.fresh.every((name) => name.includes('featureMap'))).toBe(true);
    const job = (changed: ReturnType<typeof experiment>, name: string) =>
      trainJob({
        experiment: withPathsFrom(folder, changed),
        folder: join(folder, name),
        cacheFolder,
      });
    // Without a mixer that could learn, and without a teacher.
    await expect(job(experiment(softmax, training), 'same')).rejects.toMatchObject({
      kind: 'config',
      place: { field: 'training.distil' },
    });
    const absent = { distil: { teacher: 'absent' } };
    await expect(job(experiment({ name: 'hedgehog' }, absent), 'none')).rejects.toThrow(/no such/);
  });
});
