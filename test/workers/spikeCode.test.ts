import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { spikeCodes, type SpikeCodingConfig } from '../../models/neurons/spikeCoding.js';
import { evaluateJob } from '../../workers/evaluate.js';
import type { SpikeCodeEvaluation } from '../../workers/spikeCode.js';
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

async function evaluated(spikeCode: SpikeCodingConfig): Promise<SpikeCodeEvaluation> {
  const { selected } = await evaluateJob({ path: run, cacheFolder, part: 'test', spikeCode });
  const found = selected.spikeCode!;
  expect(found.drop).toBeCloseTo(selected.accuracy.value! - found.accuracy.value!, 10);
  return found;
}

describe('a trained model by spikes', () => {
  it('says the same where counts are fine, whatever the code', async () => {
    const found = await evaluated({ code: 'bitwise', resolution: 10_000 });
    expect(found).toMatchObject({ drop: 0, agreement: 1, clippedShare: 0 });
    expect(found.accuracy.total).toBe(8);
    expect(Object.keys(found.layers)).toContain('embedding.projection');
    const coarse = await Promise.all(
      spikeCodes.map(async (code) => evaluated({ code, resolution: 3 })),
    );
    const [binary, ternary, bitwise] = coarse;
    expect(new Set(coarse.map(({ accuracy }) => accuracy.correct)).size).toBe(1);
    expect(new Set(coarse.map(({ zeroShare }) => zeroShare)).size).toBe(1);
    expect(bitwise.steps).toBe(Math.ceil(Math.log2(ternary.steps + 1)));
    expect(binary.steps).toBeGreaterThanOrEqual(ternary.steps);
    for (const { silentShare } of coarse) {
      expect(silentShare).toBeGreaterThan(0);
      expect(silentShare).toBeLessThan(1);
    }
  });

  it('cuts counts to the bits that it has, and says how many', async () => {
    const found = await evaluated({ code: 'ternary', resolution: 3, bits: 2 });
    expect(found.steps).toBe(3);
    expect(found.clippedShare).toBeGreaterThan(0);
    expect(found.clippedShare).toBeLessThan(1);
  });

  it('is refused where there is nothing to convert', async () => {
    const experiment = tinyExperiment(data, { model: { kind: 'linear' }, training: { epochs: 1 } });
    const linear = join(folder, 'linear');
    await trainJob({ experiment, folder: linear, cacheFolder });
    const spikeCode = { code: 'bitwise', resolution: 3 } as const;
    await expect(
      evaluateJob({ path: linear, cacheFolder, part: 'test', spikeCode }),
    ).rejects.toMatchObject({ kind: 'usage' });
  });
});
