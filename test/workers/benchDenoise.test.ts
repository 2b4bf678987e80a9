import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeRecording } from '../../ingest/recording.js';
import { benchDenoise, type BenchDenoiseJob } from '../../workers/benchDenoise.js';
import { rocPicture } from '../../workers/rocPicture.js';
import { batchOf, type EventRow, streamOf } from '../ingest/streams.js';

const sensor = { width: 32, height: 24 };
const job = {
  files: [],
  shotHz: 20,
  hotPixels: 5,
  hotHz: 300,
  seed: 1,
  maxEvents: 5000,
  packet: 1000,
} satisfies BenchDenoiseJob;

let folder: string;
let bar: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-denoise-'));
  bar = join(folder, 'bar.es');
  // A bar of the sensor's height that moves a column every 10 ms.
  const rows = Array.from({ length: 6000 }, (_, i): EventRow => {
    return [i * 50, Math.floor(i / 200) % 32, (i * 7) % 24, i % 2];
  });
  await writeRecording(bar, streamOf([batchOf(sensor, rows)]), { sensor });
});
afterAll(() => rm(folder, { recursive: true }));

describe('benchDenoise', () => {
  it('measures every filter on a recording; a clear bar is told from noise', async () => {
    const [result] = await benchDenoise({ ...job, files: [bar] });
    expect(result.events.signal).toBe(5000);
    expect(result.events.shot).toBeGreaterThan(0);
    expect(result.events.hot).toBeGreaterThan(0);
    expect(result.mesr.signal).toBeGreaterThan(0);
    expect(result.mesr.noisy).toBeGreaterThan(0);
    for (const { filter, auc, points, best } of result.curves) {
      expect(points).toContain(best);
      // Most of the noise is no business of hotPixels.
      if (filter !== 'hotPixels') expect(auc).toBeGreaterThan(0.55);
    }
    const stcf = result.curves.find((curve) => curve.filter === 'spatiotemporalCorrelation')!;
    expect(stcf.auc).toBeGreaterThan(0.8);
    expect(stcf.best.kept.signal!).toBeGreaterThan(0.8);
    expect(stcf.best.kept.noise!).toBeLessThan(0.2);
  });

  it('takes a simulated gesture where there is no recording, the same each time', async () => {
    const few = { ...job, maxEvents: 500 };
    const [result] = await benchDenoise(few);
    expect(result.source).toBe('synthetic');
    expect(result.assumed).toMatch(/without noise/);
    expect(await benchDenoise(few)).toEqual([result]);
  });

  it('says what is wrong', async () => {
    const run = (changes: Partial<BenchDenoiseJob>) =>
      benchDenoise({ ...job, files: [bar], ...changes });
    await expect(run({ shotHz: 0, hotHz: 0 })).rejects.toThrow(/about 0 events.*expected 1 to/);
    await expect(run({ shotHz: 1e5 * 1e3 })).rejects.toThrow(/expected 1 to 10000000/);
    await expect(run({ hotPixels: 1000 })).rejects.toThrow(/1000 hot pixels are more than the 768/);
    await expect(run({ files: [join(folder, 'none.es')] })).rejects.toThrow(/none.es/);
    const still = join(folder, 'still.es');
    await writeRecording(
      still,
      streamOf([
        batchOf(sensor, [
          [5, 1, 1, 1],
          [5, 2, 1, 1],
        ]),
      ]),
      { sensor },
    );
    await expect(run({ files: [still] })).rejects.toThrow(
      /still.es: has no events at different times/,
    );
  });

  it('stops when it should', async () => {
    const signal = AbortSignal.abort();
    await expect(benchDenoise(job, { signal })).rejects.toMatchObject({ kind: 'interrupted' });
  });
});

describe('rocPicture', () => {
  it('is a PNG with a line in the colour of each filter', async () => {
    const [{ curves }] = await benchDenoise({ ...job, files: [bar] });
    const { data, info } = await sharp(await rocPicture('a bar', curves.slice(0, 2)))
      .raw()
      .toBuffer({ resolveWithObject: true });
    const found = new Set<number>();
    for (let at = 0; at < data.length; at += info.channels) found.add(data.readUIntBE(at, 3));
    expect(found.has(0x0072b2)).toBe(true);
    expect(found.has(0xd55e00)).toBe(true);
    expect(found.has(0x009e73)).toBe(false);
  });
});
