import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import { type FrameOptions, simulateFrames } from '../../ingest/simulator/index.js';
import { collect } from './streams.js';

const size = { width: 16, height: 8 };
const quiet = { thresholdMismatch: 0, refractoryUs: 0, shotNoiseHz: 0, leakHz: 0 };

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** A picture that is grey, but bright in one column. */
async function picture(name: string, column: number): Promise<void> {
  const grey = Buffer.alloc(size.width * size.height, 60);
  for (let y = 0; y < size.height; y++) grey[y * size.width + column] = 220;
  await sharp(grey, { raw: { ...size, channels: 1 } })
    .png()
    .toFile(join(folder, name));
}

async function simulate(options: Partial<FrameOptions> = {}): Promise<EventBatch> {
  const frames = simulateFrames({ folder, framesPerSecond: 100, noise: quiet, ...options });
  return concatBatches(await collect(frames), size);
}

describe('simulateFrames', () => {
  it('gives ON events where it gets brighter and OFF events where it gets darker, in order', async () => {
    await picture('frame2.png', 3);
    await picture('frame10.png', 5); // behind frame2
    const { length, x, polarity, tUs, sensor } = await simulate();
    expect(sensor).toEqual(size);
    expect(length).toBeGreaterThan(2 * size.height);
    for (let i = 0; i < length; i++) {
      expect([x[i], polarity[i]]).toEqual(x[i] === 5 ? [5, 1] : [3, 0]);
      expect(tUs[i] >= (tUs[i - 1] ?? 0) && tUs[i] <= 10_000).toBe(true);
    }
  });

  it('gives the same events for the same seed, and none of a still', async () => {
    await picture('a.png', 3);
    await picture('b.png', 3);
    expect((await simulate()).length).toBe(0);
    await picture('c.png', 9);
    const noisy = { noise: { shotNoiseHz: 50 } };
    expect(await simulate({ ...noisy, seed: 3 })).toEqual(await simulate({ ...noisy, seed: 3 }));
    expect(await simulate({ ...noisy, seed: 3 })).not.toEqual(
      await simulate({ ...noisy, seed: 4 }),
    );
  });

  it('names what cannot be read', async () => {
    await picture('a.png', 3);
    await expect(simulate()).rejects.toThrow(/1 pictures .*expected two or more/);
    await writeFile(join(folder, 'b.png'), 'no picture');
    await expect(simulate()).rejects.toThrow(/b\.png: cannot be read as a picture/);
    await expect(simulate({ framesPerSecond: 0 })).rejects.toMatchObject({ kind: 'usage' });
    await expect(simulate({ folder: join(folder, 'none') })).rejects.toThrow(
      /cannot read the folder/,
    );
  });
});
