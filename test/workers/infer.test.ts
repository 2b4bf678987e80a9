import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { inferJob } from '../../workers/infer.js';
import { trainJob } from '../../workers/train.js';
import { tinyExperiment, writeTinySet } from './tinySet.js';

let folder: string;
let checkpoint: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-infer-'));
  await writeTinySet(join(folder, 'data'));
  checkpoint = join(folder, 'run');
  const experiment = tinyExperiment(join(folder, 'data'), {
    model: { kind: 'linear' },
    training: { epochs: 1 },
  });
  await trainJob({ experiment, folder: checkpoint, cacheFolder: join(folder, 'cache') });
});
afterAll(() => rm(folder, { recursive: true }));

describe('inferJob', () => {
  it('names the class of each window and of all, and leaves them in a file', async () => {
    const job = {
      checkpoint,
      file: join(folder, 'data', 'left', '0.es'),
      out: join(folder, 'predictions.json'),
    };
    const outcome = await inferJob(job);
    const { classes, windows, prediction, probabilities } = outcome;
    expect(classes).toEqual(['left', 'right']);
    expect(windows).toHaveLength(2);
    for (const window of windows) {
      const best = window.probabilities.indexOf(Math.max(...window.probabilities));
      expect(window.prediction).toBe(classes[best]);
    }
    const means = classes.map(
      (_, c) => (windows[0].probabilities[c] + windows[1].probabilities[c]) / 2,
    );
    expect(probabilities).toEqual(means);
    expect(prediction).toBe(classes[means.indexOf(Math.max(...means))]);
    const text = await readFile(job.out, 'utf8');
    expect(JSON.parse(text)).toEqual(outcome);
    await inferJob(job);
    expect(await readFile(job.out, 'utf8')).toBe(text);
  });
});
