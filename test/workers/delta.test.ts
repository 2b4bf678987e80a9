import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { deltaUnits } from '../../models/runtime/deltaModel.js';
import { evaluateJob } from '../../workers/evaluate.js';
import { trainJob } from '../../workers/train.js';
import { tinyExperiment, trainTinyRun } from './tinySet.js';

let folder: string;
let data: string;
let cacheFolder: string;
let run: string;

beforeAll(async () => {
  ({ folder, data, cacheFolder, run } = await trainTinyRun());
});
afterAll(() => rm(folder, { recursive: true }));

describe('accuracy by delta inference', () => {
  it.each(deltaUnits)(
    'loses nothing at threshold 0 and saves more at higher ones, by %s',
    async (unit) => {
      const delta = { thresholds: [0, 0.2, 1e6], unit };
      const { selected } = await evaluateJob({ path: run, cacheFolder, part: 'test', delta });
      const [exact, some, blind] = selected.delta!;
      expect(exact).toMatchObject({ threshold: 0, unit, drop: 0, agreement: 1 });
      expect(exact.accuracy).toEqual(selected.accuracy);
      expect(exact.work.macs).toBeLessThanOrEqual(exact.work.denseMacs);
      expect(some.work.macs).toBeLessThan(exact.work.macs);
      expect(some.work.denseMacs).toBe(exact.work.denseMacs);
      // Nothing is ever computed, so that every clip gets the same answer.
      expect(blind.work.macs).toBe(0);
      const clipsOf = selected.confusion.map((row) => row.reduce((a, b) => a + b, 0));
      expect(clipsOf).toContain(blind.accuracy.correct);
      for (const { drop, accuracy } of [some, blind]) {
        expect(drop).toBeCloseTo(selected.accuracy.value! - accuracy.value!, 10);
      }
    },
  );

  it('is refused where there is nothing to leave out', async () => {
    const experiment = tinyExperiment(data, { model: { kind: 'linear' }, training: { epochs: 1 } });
    const linear = join(folder, 'linear');
    await trainJob({ experiment, folder: linear, cacheFolder });
    const delta = { thresholds: [0] };
    await expect(
      evaluateJob({ path: linear, cacheFolder, part: 'test', delta }),
    ).rejects.toMatchObject({ kind: 'usage' });
  });
});
